"""A stream of frames answered again and again.

lines  ->  Stream: the window of the last seconds  ->  StreamAnswer: smoothed emotion, and an explanation when it changes

No threads and no clocks in this module: what is answered follows from the frames alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from emotion_llm.inference.answer import Answer, ranked
from emotion_llm.inference.recordings import ReadingChoices, open_recording
from emotion_llm.inference.trained_model import TrainedModel
from emotion_llm.streaming.frames import MalformedFrame, SlidingWindow, parse_frame

SMOOTHING_SECONDS = 2.0
"""Time constant of the exponential mean of the probabilities (our choice)."""
LEAST_SECONDS = 0.5
"""A window must be this long before it is answered (our choice)."""


@dataclass(frozen=True)
class StreamAnswer(Answer):
    """The answer at one moment of a stream: probabilities are smoothed over time; explained when the emotion changes, by the window that
    ends at this moment."""

    seconds: float = field(kw_only=True)
    """The source's time of the newest frame."""
    malformed: int = field(kw_only=True)
    """Lines that were no frames, since the answer before."""
    skipped: int = field(kw_only=True)
    """Moments since the answer before that were not answered, because the frames came faster than they could be."""
    delay: float | None = None
    """Seconds from the arrival of the newest frame to the answer."""


class Stream:
    """Frames of one person, and what the model says of the last seconds."""

    def __init__(self, model: TrainedModel, choices: ReadingChoices, every: float = 1.0, explain_every: float = 10.0) -> None:
        """
        Args:
            choices: its rate is that of frames without a time, by default the model's.
            every: seconds of the stream between answers.
            explain_every: seconds of the stream between explanations, at least; math.inf: none.
        """
        self.model, self.choices, self.every, self.explain_every = model, choices, every, explain_every
        record = model.encoder.record
        self.window = SlidingWindow(record.window_frames / record.frames_per_second, choices.frames_per_second or record.frames_per_second)
        self.malformed = 0
        self._smoothed: dict[str, float] = {}
        self._answered: float | None = None
        self._explained: tuple[float, str] | None = None

    def add(self, line: bytes | str) -> str | None:
        """Takes one line in; returns a notice where it could not be used, or the window started again."""
        try:
            notice = self.window.add(parse_frame(line, self.model.conventions.layouts))
        except MalformedFrame as error:
            self.malformed += 1
            return f"left out: {error}"
        if notice:
            self._smoothed, self._answered = {}, None
        return notice

    @property
    def is_due(self) -> bool:
        """Whether it is time for an answer."""
        if self.window.now is None or self.window.duration < LEAST_SECONDS:
            return False
        return self._answered is None or self.window.now - self._answered >= self.every - 1e-6

    @property
    def has_news(self) -> bool:
        """Whether frames came after the last answer, enough for another."""
        return self.window.duration >= LEAST_SECONDS and self.window.now != self._answered

    def answer(self) -> StreamAnswer:
        """The answer for the last seconds.

        Raises:
            UserError: the window cannot be read, for example because a joint is missing for too long.
        """
        now = self.window.now
        assert now is not None
        before, self._answered = self._answered, now
        positions, rate = self.window.even()
        choices = replace(self.choices, frames_per_second=rate)
        recording = open_recording(positions, self.model.conventions, choices, f"stream at {now:.2f} s")
        features = self.model.encode([recording])
        (answer,) = self.model.recognise([recording], features)
        probabilities = self._smooth(answer.probabilities, self.every if before is None else now - before)
        answer = replace(answer, emotion=next(iter(probabilities)), probabilities=probabilities)
        if self.model.explains and self._wants_explanation(now, answer.emotion):
            (answer,) = self.model.explain([answer], [recording], features)
            self._explained = now, answer.emotion
        malformed, self.malformed = self.malformed, 0
        skipped = 0 if before is None else max(0, math.floor((now - before) / self.every + 1e-6) - 1)
        return StreamAnswer(**vars(answer), seconds=now, malformed=malformed, skipped=skipped)

    def _smooth(self, found: dict[str, float], seconds: float) -> dict[str, float]:
        """The exponential mean; it starts with the first window."""
        share = math.exp(-seconds / SMOOTHING_SECONDS)
        before = self._smoothed or found
        self._smoothed = {emotion: share * before[emotion] + (1 - share) * value for emotion, value in found.items()}
        return ranked(list(self._smoothed), list(self._smoothed.values()))

    def _wants_explanation(self, now: float, emotion: str) -> bool:
        if self._explained is None:
            return self.explain_every < math.inf
        seconds, explained = self._explained
        return emotion != explained and (now - seconds >= self.explain_every or now < seconds)
