"""The records of one recording.

RecordedMotion (what a file says: its own joints, unit and axes)  ->  Motion (metres, Y up, on a known layout)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emotion_llm.motion.layout import Layout
from emotion_llm.runtime.errors import UserError

FRAMES_PER_SECOND = (1.0, 100_000.0)
"""Rates that motion capture can have."""


class MotionFileError(UserError):
    """A motion file that cannot be read: the only error a reader lets out."""

    def __init__(self, message: str) -> None:
        """What a file says may stand in the message: it is kept to one line that any terminal can show."""
        super().__init__("".join(letter if letter.isprintable() else "?" for letter in message))


@dataclass(frozen=True)
class RecordedMotion:
    """What a motion file says, before anyone has told us its unit, its axes or its layout."""

    joint_names: tuple[str, ...] | None
    """V names as the file spells them; a BVH End Site is named after its parent with `_end` appended. None where the format does not
    tell (tables without a header, arrays): the layout's joints in its order."""
    parents: tuple[int, ...] | None
    """Index of each joint's parent, -1 for the root; None where the format does not tell (tables)."""
    positions: np.ndarray
    """(T, V, 3) float64, world positions in the file's own unit and axes; NaN where a value is missing."""
    frames_per_second: float | None
    """None where the format does not tell (tables)."""
    notes: tuple[str, ...] = ()
    """What the reader met and put right, in words for the import report; empty for a file without oddities."""


@dataclass(frozen=True)
class Motion:
    """One recording, ready to be looked at."""

    layout: Layout
    positions: np.ndarray
    """(T, V, 3) metres, Y up, right-handed; V follows `layout.joint_names`."""
    frames_per_second: float

    def __post_init__(self) -> None:
        expected = (len(self.positions), len(self.layout.joint_names), 3)
        if self.positions.shape != expected:
            raise ValueError(f"positions of layout '{self.layout.name}' have shape {self.positions.shape}, expected {expected}")

    @property
    def seconds(self) -> float:
        return len(self.positions) / self.frames_per_second
