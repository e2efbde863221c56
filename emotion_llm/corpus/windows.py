"""Clips cut into windows of bounded length.

frames of a clip, frames of a window  ->  [(start, frames), ...] that cover the clip, or the start of a random one
"""

import math


def windows(frames: int, window_frames: int) -> list[tuple[int, int]]:
    """Windows that together cover the clip from its first frame to its last.

    A clip no longer than a window is one window. A longer one is cut into as few windows of `window_frames` as cover it,
    evenly spaced, the first at the clip's start and the last at its end; they overlap where the lengths do not divide.
    Splits are over clips (splits.py), so all windows of a clip are on the same side.
    """
    if frames < 1 or window_frames < 1:
        raise ValueError(f"a clip of {frames} frames cannot be cut into windows of {window_frames}; both are at least 1")
    if frames <= window_frames:
        return [(0, frames)]
    count = math.ceil(frames / window_frames)
    last = frames - window_frames
    return [(index * last // (count - 1), window_frames) for index in range(count)]


def random_window(frames: int, window_frames: int, chance: float) -> tuple[int, int]:
    """(start, frames) of a training window; for a random `chance` in [0, 1), all starts at which a whole window fits are equally likely."""
    return int(chance * (max(0, frames - window_frames) + 1)), min(frames, window_frames)
