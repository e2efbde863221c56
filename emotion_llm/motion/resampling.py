"""Resampling in time; tempo is preserved.

tracks (T, ...) at frames 0, 1, 2, ...; times (S,) in frames  ->  tracks (S, ...)
"""

import math

import numpy as np


def between_frames(tracks: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Linear interpolation.

    Shape:
        tracks (T, ...), at (S,) from 0 to T - 1  ->  (S, ...)
    """
    before = np.clip(np.floor(at).astype(np.int64), 0, max(len(tracks) - 2, 0))
    after = np.minimum(before + 1, len(tracks) - 1)
    share = (at - before).reshape(-1, *[1] * (tracks.ndim - 1))
    return tracks[before] * (1 - share) + tracks[after] * share


def averaged(tracks: np.ndarray, at: np.ndarray, width: float) -> np.ndarray:
    """The mean over `width` frames around each time, a low-pass filter against aliasing; sampled at evenly spaced points.

    At both ends of the recording the window is smaller but stays centred, so nothing is shifted in time.

    Shape:
        tracks (T, ...), at (S,) from 0 to T - 1  ->  (S, ...)
    """
    half = np.minimum(np.minimum(at, len(tracks) - 1 - at), width / 2)  # (S,)
    points = 2 * math.ceil(width)
    offsets = (2 * np.arange(points) + 1 - points) / points  # in (-1, 1)
    total = np.zeros((len(at), *tracks.shape[1:]))
    for offset in offsets:
        total += between_frames(tracks, at + offset * half)
    return total / points
