"""A motion prepared for measuring: smoothed, in body heights, with derivatives and a body frame.

Motion (metres)  ->  Movement: tracks, velocities, accelerations and jerks of the landmarks (T, J, 3), forward and left directions (T, 3)

Only landmarks are measured, so bodies of different layouts can be compared and fingers do not outweigh the rest. J is their number.
Lengths are divided by the body's height, so an actor's size has no influence. The Savitzky-Golay filter (a polynomial fitted to the
frames around each frame) spans a fixed time, so neither the frame rate nor a sensor's noise has much.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.ndimage import correlate1d
from scipy.signal import savgol_coeffs

from emotion_llm.motion.layout import LANDMARKS
from emotion_llm.motion.motion import Motion

SMOOTHING_SECONDS = 0.36
"""Span of the filter: passes voluntary movement (up to about 5 Hz); 1 mm of noise causes less than 1 cm/s (our choice)."""
SMOOTHING_DEGREE = 3  # Lowest degree of a polynomial that has a third derivative
WINDOW_SECONDS = 1.0
"""Span over which jerk and the Laban efforts are measured: independent of the clip's length (our choice)."""
SMALLEST_LENGTH = 1e-9  # Metres or body heights: avoids NaN directions of vectors without length


@dataclass(frozen=True)
class Movement:
    """One motion, prepared for measuring. For a part of a clip, slice the motion's positions."""

    motion: Motion

    @cached_property
    def height(self) -> float:
        """Metres: ankle to knee to hip (mean of both sides), pelvis to neck to head; medians over the frames."""
        legs = ((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in (("hip", "knee"), ("knee", "ankle")))
        bones = {("pelvis", "neck"): 1.0, ("neck", "head"): 1.0, **dict.fromkeys(legs, 0.5)}
        tracks = {name: self.motion.layout.landmark(self.motion.positions, name) for name in LANDMARKS}
        lengths = [share * np.median(np.linalg.norm(tracks[a] - tracks[b], axis=1)) for (a, b), share in bones.items()]
        return max(float(sum(lengths)), SMALLEST_LENGTH)

    def derivative(self, order: int) -> np.ndarray:
        """Smoothed positions of LANDMARKS (order 0) or their time derivative, (T, J, 3) in heights per second ** order."""
        joints = [self.motion.layout.landmarks[name] for name in LANDMARKS]
        return self._smoothed(self.motion.positions[:, joints], order)

    def _smoothed(self, positions: np.ndarray, order: int = 0) -> np.ndarray:
        frames, rate = len(positions), self.motion.frames_per_second
        window = min(2 * round((SMOOTHING_SECONDS * rate - 1) / 2) + 1, frames - 1 + frames % 2)  # odd, no longer than the clip
        window = max(window, 1)
        degree = min(SMOOTHING_DEGREE, window - 1)
        if order > degree:
            return np.zeros_like(positions, dtype=float)
        places, half, x = _filters(window, degree, order, 1 / rate), window // 2, np.asarray(positions, dtype=float) / self.height
        smoothed = correlate1d(x, places[half], axis=0, mode="nearest")
        smoothed[:half] = np.tensordot(places[:half], x[:window], axes=1)
        smoothed[frames - half :] = np.tensordot(places[half + 1 :], x[frames - window :], axes=1)
        return smoothed

    @cached_property
    def positions(self) -> np.ndarray:
        """(T, J, 3) heights."""
        return self.derivative(0)

    @cached_property
    def velocity(self) -> np.ndarray:
        """(T, J, 3) heights/s."""
        return self.derivative(1)

    @cached_property
    def local_velocity(self) -> np.ndarray:
        """(T, J, 3) heights/s, relative to the pelvis: movement of the body without its travel."""
        return self.velocity - self.velocity[:, [LANDMARKS.index("pelvis")]]

    @cached_property
    def acceleration(self) -> np.ndarray:
        """(T, J, 3) heights/s²."""
        return self.derivative(2)

    @cached_property
    def jerk(self) -> np.ndarray:
        """(T, J, 3) heights/s³."""
        return self.derivative(3)

    def track(self, name: str) -> np.ndarray:
        """A landmark's positions (T, 3) in heights."""
        return self.positions[:, LANDMARKS.index(name)]

    def both(self, name: str) -> np.ndarray:
        """The positions (2, T, 3) in heights of a landmark on the left and on the right."""
        return np.stack([self.track(f"left_{name}"), self.track(f"right_{name}")])

    @cached_property
    def head_centre(self) -> np.ndarray:
        """(T, 3) heights: mean of the head landmark and the joints of the head that hang from it; in most BVH files the landmark itself
        is the top of the neck and does not move when the head nods."""
        layout, members = self.motion.layout, {self.motion.layout.landmarks["head"]}
        for joint in layout.parents_first:
            if layout.parents[joint] in members and layout.parts[joint] == "head":
                members.add(joint)
        return self._smoothed(self.motion.positions[:, sorted(members)].mean(axis=1))

    @cached_property
    def left(self) -> np.ndarray:
        """(T, 3) horizontal unit vectors from the body's right to its left: hips and shoulders together."""
        across = sum(self.track(f"left_{word}") - self.track(f"right_{word}") for word in ("hip", "shoulder"))
        return unit_vectors(across * (1, 0, 1))

    @cached_property
    def forward(self) -> np.ndarray:
        """(T, 3) horizontal unit vectors to where the body faces; Y is up and the axes are right-handed."""
        return np.cross(self.left, (0.0, 1.0, 0.0))

    @cached_property
    def spans(self) -> list[slice]:
        """Frames of WINDOW_SECONDS each, overlapping by half; the whole clip where it is shorter."""
        intervals, window = len(self.positions) - 1, max(1, round(WINDOW_SECONDS * self.motion.frames_per_second))
        return [slice(start, start + window + 1) for start in range(0, max(intervals - window, 0) + 1, max(window // 2, 1))]


@lru_cache(maxsize=64)
def _filters(window: int, degree: int, order: int, seconds: float) -> np.ndarray:
    """(window, window): in each row the filter of one place within the window; the middle one serves all frames but those at the ends.
    Equals scipy's savgol_filter, which solves for them anew in every call (a third of the time that `describe` took)."""
    return np.stack([savgol_coeffs(window, degree, order, seconds, pos=place, use="dot") for place in range(window)])


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) -> vectors of length one; one without length stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), SMALLEST_LENGTH)


def angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(T, 3), (T, 3) or (3,) -> degrees between them (T,), from 0 to 180; exact for small angles too."""
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(one, other), axis=-1), (one * other).sum(axis=-1)))
