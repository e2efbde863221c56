"""Records of one recording.

RecordedMotion (what a file says: its own joints, unit and axes)  ->  Motion (metres, Y up, on a known layout)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emotion_llm.motion.layout import Layout
from emotion_llm.runtime.errors import UserError

FRAMES_PER_SECOND = (1.0, 100_000.0)  # Rates that motion capture can have


class MotionFileError(UserError):
    """A motion file that cannot be read: the only exception that readers raise."""

    def __init__(self, message: str) -> None:
        """The message may quote the file: unprintable characters are replaced."""
        super().__init__("".join(letter if letter.isprintable() else "?" for letter in message))


@dataclass(frozen=True)
class RecordedMotion:
    """The content of a motion file; its unit, axes and layout are not known yet."""

    joint_names: tuple[str, ...] | None
    """V names as the file spells them; a BVH End Site is named after its parent with `_end` appended. None for tables
    without a header and arrays: the layout's joints in its order."""
    parents: tuple[int, ...] | None  # Index of each joint's parent, -1 for the root; None for tables and arrays
    positions: np.ndarray
    """(T, V, 3) float64, world positions in the file's own unit and axes; NaN where a value is missing."""
    frames_per_second: float | None  # None if the file does not state it
    notes: tuple[str, ...] = ()  # What the reader corrected or did not use, in words for the import report


@dataclass(frozen=True)
class Motion:
    """One recording on a known layout."""

    layout: Layout
    positions: np.ndarray  # (T, V, 3) metres, Y up, right-handed; V follows `layout.joint_names`
    frames_per_second: float
    metres_per_unit: float = 1.0  # Of the file, for messages about a wrong unit

    def __post_init__(self) -> None:
        expected = (len(self.positions), self.layout.joints, 3)
        if self.positions.shape != expected:
            raise ValueError(f"positions of layout '{self.layout.name}' have shape {self.positions.shape}, expected {expected}")

    def bone_lengths(self, joints: Sequence[int]) -> np.ndarray:
        """(T, joints) metres from each of these joints to its parent; none is the root."""
        parents = [self.layout.parents[joint] for joint in joints]
        return np.linalg.norm(self.positions[:, list(joints)] - self.positions[:, parents], axis=2)

    @property
    def seconds(self) -> float:
        return len(self.positions) / self.frames_per_second
