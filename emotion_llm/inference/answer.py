"""What the model says of one recording.

scores, explanation, claims, attribution, findings  ->  Answer  ->  text, JSON

Imports no torch, so that answers can be read, printed and drawn quickly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from emotion_llm.grounding.judge import JudgedClaim

NO_EXPLANATION = "(no explanation: this run has learnt recognition only; fine-tune it with --stage description)"


@dataclass(frozen=True)
class Attribution:
    """How much each joint and each moment speaks for the emotion (inference/attribution.py); positive: for it."""

    joints: dict[str, float]
    """Joint name -> weight, in the layout's order."""
    seconds: tuple[float, ...]
    """Beginning of each moment, in seconds from the recording's start."""
    moments: tuple[float, ...]
    """Weight of each moment."""


@dataclass(frozen=True)
class Result:
    """What is said of one clip."""

    clip: str
    """The file, or the name that the caller gave."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Answer(Result):
    """The model's answer for one recording."""

    corpus: str
    """The training corpus whose label set was scored."""
    emotion: str
    probabilities: dict[str, float]
    """Of the whole label set, likeliest first; six decimals."""
    explanation: str | None
    """None if the run was trained for recognition only, or no explanation was asked for."""
    claims: tuple[JudgedClaim, ...] = ()
    """What the explanation says about the movement, each claim held against the measured movement."""
    attribution: Attribution | None = None
    """None unless it was asked for."""
    findings: tuple[str, ...] = ()
    """What looks wrong with the recording, in words."""

    @property
    def probability(self) -> float:
        """Of the emotion."""
        return self.probabilities[self.emotion]

    @property
    def explanations(self) -> list[str]:
        """None or one."""
        return [self.explanation] if self.explanation else []

    def text(self) -> str:
        """For people, over several lines."""
        return "\n".join([self.heading(), self.explanation or NO_EXPLANATION, *self.remarks()])

    def heading(self) -> str:
        """The clip, its emotion and all probabilities, in one line."""
        others = ", ".join(f"{emotion} {value:.1%}" for emotion, value in list(self.probabilities.items())[1:])
        return f"{self.clip}: {self.emotion} ({self.probability:.1%}; {others})"

    def remarks(self) -> list[str]:
        """What the movement contradicts in the explanation, and the findings, as lines."""
        contradicted = [
            f"note: the movement contradicts {self.explanation[slice(*judged.claim.span)]!r}"
            for judged in self.claims
            if self.explanation and judged.verdict == "contradicted" and judged.claim.span
        ]
        return [*contradicted, *(f"note: {finding}" for finding in self.findings)]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return super().to_dict() | {"probability": self.probability}


@dataclass(frozen=True)
class Unread(Result):
    """A file that could not be read, and why."""

    error: str


def ranked(emotions: tuple[str, ...] | list[str], probabilities: list[float]) -> dict[str, float]:
    """Label set and probabilities, likeliest first, with six decimals; among equals the label set's order decides."""
    pairs = sorted(zip(emotions, probabilities, strict=True), key=lambda pair: -pair[1])
    return {emotion: round(value, 6) for emotion, value in pairs}
