"""What an attacker, or a bad disk, makes of a file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return (Path.touch, (self.proof,))


def mutated(content: bytes, dice: random.Random, words: Sequence[bytes], within: int | None = None) -> bytes:
    """The content with a few bytes changed, cut out, doubled, or replaced by words that mean something in its format.

    Args:
        within: only the first so many bytes are touched, where the headers lie.
    """
    changed = bytearray(content)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(min(len(changed), within or len(changed)) + 1)
        kind = dice.randrange(5)
        if kind == 0 and changed:
            changed[min(place, len(changed) - 1)] = dice.randrange(256)
        elif kind == 1:
            del changed[place : place + dice.randint(1, 64)]
        elif kind == 2:
            changed[place:place] = changed[place : place + dice.randint(1, 64)]
        elif kind == 3:
            changed[place:place] = dice.choice(words)
        else:
            changed[place:] = b""
    return bytes(changed)
