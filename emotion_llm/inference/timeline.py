"""Long recordings: an emotion curve over time, and segments of one emotion.

window centres (W,), probabilities (W, E)  ->  smoothed curve (W, E)  ->  segments  ->  Timeline

Smoothing and segments are our choice; the paper answers short clips only. Imports no torch.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from emotion_llm.grounding.judge import JudgedClaim
from emotion_llm.inference.answer import Result

STEP_SECONDS = 1.0
"""From one window to the next."""
SMOOTHING_SECONDS = 1.5
"""Standard deviation of the Gaussian over time that smooths the probabilities."""
SHORTEST_SEGMENT = 3.0
"""Seconds; a shorter run of one emotion belongs to the neighbour whose emotion is likelier in it."""


@dataclass(frozen=True)
class Segment:
    """A part of a recording in which one emotion is the likeliest."""

    start: float
    """Seconds from the recording's start."""
    end: float
    emotion: str
    probability: float
    """Mean of the smoothed curve."""
    explanation: str | None = None
    """Rests on the window in the segment's middle."""
    claims: tuple[JudgedClaim, ...] = ()


@dataclass(frozen=True)
class Timeline(Result):
    """What the model says of a long recording."""

    corpus: str
    emotions: tuple[str, ...]
    """The label set; columns of the curves."""
    seconds: tuple[float, ...]
    """(W,) middle of each window."""
    probabilities: tuple[tuple[float, ...], ...]
    """(W, E) of each window alone; six decimals."""
    smoothed: tuple[tuple[float, ...], ...]
    """(W, E) smoothed over time; six decimals."""
    segments: tuple[Segment, ...]
    findings: tuple[str, ...] = ()

    probability = None
    """A long recording has none for its emotion."""

    @property
    def emotion(self) -> str:
        """The one that lasts longest."""
        lengths: dict[str, float] = defaultdict(float)
        for segment in self.segments:
            lengths[segment.emotion] += segment.end - segment.start
        return max(lengths, key=lengths.__getitem__)

    @property
    def explanations(self) -> list[str]:
        """Of the segments."""
        return [segment.explanation for segment in self.segments if segment.explanation]

    def text(self) -> str:
        """For people, one line per segment and its explanation."""
        lines = [f"{self.clip}:"]
        for segment in self.segments:
            lines.append(f"{segment.start:7.1f} - {segment.end:.1f} s  {segment.emotion} ({segment.probability:.1%})")
            if segment.explanation:
                lines.append(f"    {segment.explanation}")
        return "\n".join([*lines, *(f"note: {finding}" for finding in self.findings)])


def window_starts(frames: int, window: int, step: int) -> list[int]:
    """First frames of windows that cover a recording, one every `step` frames; the last ends with the recording."""
    if frames <= window:
        return [0]
    return [*range(0, frames - window, step), frames - window]


def smooth(seconds: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The mean of each window's neighbours, weighted by a Gaussian over time.

    Shape:
        (W,), (W, E)  ->  (W, E); rows sum to 1
    """
    weights = np.exp(-0.5 * ((seconds[:, None] - seconds[None, :]) / SMOOTHING_SECONDS) ** 2)  # (W, W)
    return weights / weights.sum(1, keepdims=True) @ probabilities


def segment(seconds: np.ndarray, curve: np.ndarray, begin: float, end: float) -> list[tuple[float, float, int]]:
    """Parts in which one emotion is the likeliest: start, end and emotion. They follow each other from `begin` to `end`.

    Shape:
        (W,), curve (W, E)
    """
    labels = curve.argmax(1)  # (W,)
    borders = [begin, *(seconds[1:] + seconds[:-1]) / 2, end]
    while True:
        runs = list(pairwise([0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]))
        lengths = [borders[stop] - borders[start] for start, stop in runs]
        place = int(np.argmin(lengths))
        if len(runs) == 1 or lengths[place] >= SHORTEST_SEGMENT:
            return [(float(borders[start]), float(borders[stop]), int(labels[start])) for start, stop in runs]
        start, stop = runs[place]
        beside = [labels[runs[other][0]] for other in (place - 1, place + 1) if 0 <= other < len(runs)]
        labels[start:stop] = max(beside, key=lambda emotion: curve[start:stop, emotion].mean())
