"""Frames of a stream, and the window of the last seconds.

JSON lines  ->  Frame: time, positions (V, 3)  ->  SlidingWindow  ->  positions (T, V, 3) at an even rate

A line is one object. `positions` lists the joints in the layout's order, or `joints` names them; a missing coordinate is null. `time` is in
seconds of any clock; without it, frames count at the rate given.

    {"time": 12.34, "positions": [[0.0, 0.95, 0.0], ...]}
    {"time": 12.34, "joints": {"SpineBase": [0.0, 0.95, 0.0], ...}}
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from emotion_llm.motion.layout import MAX_JOINTS, Layout
from emotion_llm.motion.resampling import between_frames

MAX_FRAME_BYTES = 1_000_000
"""A longer line is no frame."""
MAX_FRAMES = 20_000
"""Kept at most, whatever the rate of the source."""
GAP_SECONDS = 0.5
"""After a longer silence, or a jump of the clock, the window starts again: shorter gaps are interpolated (as in canonical form)."""


class MalformedFrame(ValueError):
    """A line that is no frame, and why."""


@dataclass(frozen=True)
class Frame:
    """One moment of a stream."""

    seconds: float | None
    """Of the source's clock."""
    positions: np.ndarray
    """(V, 3) float64 in the source's unit and axes; NaN where a value is missing."""


def parse_frame(line: bytes | str, layouts: Mapping[str, Layout]) -> Frame:
    """Reads one line.

    Args:
        layouts: those that joint names may belong to; the frame's joints come in the order of the layout that they fit.

    Raises:
        MalformedFrame: no JSON object, joints of no layout, or values that are no numbers.
    """
    if len(line) > MAX_FRAME_BYTES:
        raise MalformedFrame(f"a line of more than {MAX_FRAME_BYTES:,} bytes")
    try:
        record = json.loads(line)
        seconds, rows = record.get("time"), record.get("positions")
        if rows is None:
            rows = _in_order(record["joints"], layouts)
        positions = np.array(rows, dtype=np.float64)  # null becomes NaN
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MalformedFrame(f'no frame such as {{"time": 0.1, "positions": [[x, y, z], ...]}} ({type(error).__name__}: {error})') from None
    if positions.ndim != 2 or positions.shape[1] != 3 or not 0 < len(positions) <= MAX_JOINTS:
        raise MalformedFrame(f"positions of shape {positions.shape}; give (joints, 3)")
    if seconds is not None and not (isinstance(seconds, int | float) and abs(seconds) < 1e15):
        raise MalformedFrame(f"time is {str(seconds)[:40]}; give seconds")
    return Frame(None if seconds is None else float(seconds), positions)


def _in_order(joints: Mapping[str, list[float]], layouts: Mapping[str, Layout]) -> list[list[float]]:
    for layout in layouts.values():
        named = {layout.aliases.get(name, name): position for name, position in joints.items()}
        if named.keys() == set(layout.joint_names):
            return [named[name] for name in layout.joint_names]
    raise MalformedFrame(f"its {len(joints)} joints are those of none of the layouts {', '.join(layouts)}")


class SlidingWindow:
    """The frames of the last seconds. Memory is bounded."""

    def __init__(self, seconds: float, frames_per_second: float) -> None:
        """
        Args:
            frames_per_second: of frames without a time.
        """
        self.seconds, self.frames_per_second = seconds, frames_per_second
        self.times: deque[float] = deque(maxlen=MAX_FRAMES)
        self.positions: deque[np.ndarray] = deque(maxlen=MAX_FRAMES)

    @property
    def now(self) -> float | None:
        """Time of the newest frame, in seconds of the source's clock."""
        return self.times[-1] if self.times else None

    @property
    def duration(self) -> float:
        """Seconds from the oldest frame to the newest."""
        return self.times[-1] - self.times[0] if self.times else 0.0

    def add(self, frame: Frame) -> str | None:
        """Adds a frame; returns a notice where the window had to start again.

        Raises:
            MalformedFrame: its time is not later than that of the frame before, or it has other joints; the frame is left out.
        """
        seconds, notice = frame.seconds, None
        if seconds is None:
            seconds = 0.0 if self.now is None else self.now + 1 / self.frames_per_second
        if self.now is not None:
            step = seconds - self.now
            if -GAP_SECONDS <= step <= 0:
                raise MalformedFrame(f"time {seconds:g} is not later than {self.now:g}, that of the frame before")
            if frame.positions.shape != self.positions[-1].shape:
                raise MalformedFrame(f"{len(frame.positions)} joints after frames of {len(self.positions[-1])}")
            if not 0 < step <= GAP_SECONDS:
                notice = f"{step:.2f} s from one frame to the next: the window starts again"
                self.times.clear()
                self.positions.clear()
        self.times.append(seconds)
        self.positions.append(frame.positions)
        while self.duration > self.seconds and len(self.times) > 2:
            self.times.popleft()
            self.positions.popleft()
        return notice

    def even(self) -> tuple[np.ndarray, float]:
        """The window at an even rate, the mean of its own.

        Shape:
            (T, V, 3), frames per second
        """
        times = np.array(self.times)
        rate = (len(times) - 1) / max(self.duration, 1e-9)
        at = np.interp(np.linspace(times[0], times[-1], len(times)), times, np.arange(len(times)))
        return between_frames(np.stack(self.positions), at), rate
