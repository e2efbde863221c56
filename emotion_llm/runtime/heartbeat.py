"""Signs of life, and what they say of a job that does not get on.

place of a process, its main thread's stack  ->  Sign;  signs of all processes  ->  the one that is behind, in words
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

GO_ON = "run the same command again to go on from the newest checkpoint"
COLLECTIVES = ("/torch/distributed/", "/deepspeed/comm/")
"""Folders of the code that waits for other processes."""


@dataclass(frozen=True, order=True)
class Progress:
    """How far a process has come. Processes that wait for another stand at the same place as it, or further on."""

    step: int = 0
    micro_step: int = 0
    phase: int = 0
    """Index into PHASES."""

    def __str__(self) -> str:
        return f"step {self.step}, micro-step {self.micro_step}, {PHASES[self.phase]}"


PHASES = ("data", "forward", "backward", "optimizer", "checkpoint", "evaluation")
"""What a step does, in its order."""


@dataclass(frozen=True)
class Heartbeat:
    """What a process tells the others once a second."""

    count: int
    """Goes up with every sign."""
    place: tuple[int, int, int]
    still: float
    """Seconds for which the main thread has been at this place."""
    waits: bool
    """True where the main thread waits in a collective for the others."""
    stack: str
    """Where its main thread stands, once it has been still for long."""


def heartbeat_of(count: int, place: Progress, still: float, thread: int | None) -> Heartbeat:
    """The sign of this process.

    Args:
        thread: look where this thread stands.
    """
    frame = sys._current_frames().get(thread) if thread is not None else None
    stack = traceback.extract_stack(frame) if frame is not None else traceback.StackSummary()
    waits = any(folder in line.filename for line in stack for folder in COLLECTIVES)
    return Heartbeat(count, (place.step, place.micro_step, place.phase), still, waits, "".join(stack.format()[-5:]))


def gone_message(rank: int) -> str:
    return f"error: rank {rank} is gone without a word: killed from outside, or the machine's memory was full; {GO_ON}"


def hang_message(signs: Mapping[int, Heartbeat], silent: Mapping[int, float], patience: float) -> str:
    """Who is behind, and where.

    Args:
        silent: rank -> seconds, for processes that give no sign at all: frozen, or their machine is lost.
    """
    begin = f"error: the job hangs: no step has got on for {patience:g} s (--hang-timeout-seconds); "
    if silent:
        which = ", ".join(f"rank {rank} (no sign of life for {seconds:.0f} s)" for rank, seconds in sorted(silent.items()))
        return f"{begin}behind: {which}; {GO_ON}"
    # At one place, who waits for others is further than who does not.
    places = {rank: (Progress(*sign.place), sign.waits) for rank, sign in signs.items()}
    first, last = min(places.values()), max(places.values())
    behind = sorted(rank for rank, place in places.items() if place == first)
    if first == last and len(places) > 1:
        who = f"all ranks stand at {first[0]}; is the network up?"
    else:
        who = f"behind: {', '.join(f'rank {rank}' for rank in behind)} at {first[0]}"
        who += f"; the others wait at {last[0]}" if first != last else ""
    stack = signs[behind[0]].stack
    where = f"\nrank {behind[0]} stands at\n{stack}" if stack else " "
    return f"{begin}{who}{where}{GO_ON}"
