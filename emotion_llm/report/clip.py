"""One clip as the record that its page draws.

ReportClip (motion, answer)  ->  clip_record: JSON values, positions quantised to 16 bits
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emotion_llm.grounding.claims import MOMENTS, PARTS, QUALITIES
from emotion_llm.grounding.judge import JudgedClaim
from emotion_llm.inference.answer import Answer
from emotion_llm.inference.timeline import Timeline
from emotion_llm.motion.layout import Layout
from emotion_llm.motion.motion import Motion
from emotion_llm.runtime.output import printable

FORMAT = 1
"""Increases when the record changes: pages of different formats are not shown beside each other."""
STEPS = 32767
"""Positions are stored as int16: of a clip that reaches 10 m, to 0.15 mm."""
THICKNESS = {"trunk": 0.095, "head": 0.06, "left_arm": 0.06, "right_arm": 0.06, "left_leg": 0.075, "right_leg": 0.075}
HAND_METRES, FOOT_METRES = 0.026, 0.05
"""Thickness that bones are drawn with, below the wrist and below the ankle too (our choice)."""


@dataclass(frozen=True)
class ReportClip:
    """What is known of one clip."""

    name: str
    motion: Motion
    """In canonical form: the floor at height 0 (motion/canonical.py)."""
    answer: Answer | Timeline | None = None
    """A timeline for a long recording, None for a clip of a corpus that no model has seen."""
    truth: str | None = None
    """Its label, if it has one."""
    corpus: str | None = None
    actor: str | None = None
    action: str | None = None
    texts: tuple[str, ...] = ()
    """Descriptions that belong to it."""

    @property
    def judged(self) -> list[tuple[JudgedClaim, str, float, float]]:
        """All claims, each with its text and the share of the clip where what it was read from begins and ends."""
        if not isinstance(self.answer, Timeline):
            return [(claim, self.answer.explanation or "", 0.0, 1.0) for claim in self.answer.claims] if self.answer else []
        shares = [(segment, segment.start / self.motion.seconds, segment.end / self.motion.seconds) for segment in self.answer.segments]
        return [(claim, segment.explanation or "", begin, min(1.0, end)) for segment, begin, end in shares for claim in segment.claims]


def clip_record(clip: ReportClip) -> dict[str, Any]:
    """The clip as JSON values; all texts are one-line and without control characters.

    Raises:
        ValueError: a position is not a finite number.
    """
    motion, layout = clip.motion, clip.motion.layout
    answer = clip.answer if isinstance(clip.answer, Answer) else None
    known = [fact for fact in (clip.corpus, clip.actor, clip.action) if fact]
    about = [*known, layout.name, f"{motion.seconds:.1f} s", f"{motion.frames_per_second:g} frames/s"]
    return {
        "format": FORMAT,
        "name": line(clip.name),
        "about": [line(fact) for fact in about],
        "frames_per_second": motion.frames_per_second,
        "joints": list(layout.joint_names),
        "parents": list(layout.parents),
        "parts": list(layout.parts),
        "landmarks": layout.landmarks,
        "head": head_joints(layout),
        "widths": bone_widths(layout),
        **quantised(motion.positions),
        "truth": None if clip.truth is None else line(clip.truth),
        "emotion": line(answer.emotion) if answer else None,
        "probabilities": [[line(emotion), value] for emotion, value in answer.probabilities.items()] if answer else [],
        "explanation": _as_long(answer.explanation) if answer and answer.explanation else None,
        "claims": [claim_record(claim, layout, text, begin, end) for claim, text, begin, end in clip.judged],
        "attribution": _attribution(answer, layout) if answer else None,
        "texts": [line(text) for text in clip.texts],
        "findings": [line(finding) for finding in clip.answer.findings] if clip.answer else [],
        "curve": _curve(clip.answer) if isinstance(clip.answer, Timeline) else None,
    }


def line(text: str) -> str:
    """Text as one line in which nothing is invisible."""
    return printable(text, keep="")


def _as_long(text: str) -> str:
    """The text with one sign for each of its signs, so that the claims' spans stay true, and none invisible."""
    return "".join(sign if sign.isprintable() else " " if sign.isspace() else "\ufffd" for sign in text)


def quantised(positions: np.ndarray) -> dict[str, Any]:
    """Positions as base64 of little-endian int16 with `scale` (metres per step) and `centre` (metres).

    Shape:
        (T, V, 3) metres

    Raises:
        ValueError: a position is not a finite number.
    """
    if not np.isfinite(positions).all():
        raise ValueError("positions hold values that are not finite; canonicalise the motion first")
    low, high = positions.min(axis=(0, 1)), positions.max(axis=(0, 1))
    centre = (low + high) / 2
    scale = max(float((high - low).max()) / 2 / STEPS, 1e-9)
    steps = np.rint((positions - centre) / scale).astype("<i2")  # (T, V, 3)
    return {"centre": centre.tolist(), "scale": scale, "positions": base64.b64encode(steps.tobytes()).decode("ascii")}


def bone_widths(layout: Layout) -> list[float]:
    """Metres of thickness of each joint's bone to its parent."""
    widths = [THICKNESS[part] for part in layout.parts]
    for landmark, width in (("wrist", HAND_METRES), ("ankle", FOOT_METRES)):
        for side in ("left", "right"):
            top = layout.landmarks[f"{side}_{landmark}"]
            for joint in below(layout, [top]):
                widths[joint] = width if joint != top else widths[joint]
    return widths


def head_joints(layout: Layout) -> list[int]:
    """The joints at the bottom and the top of the head; one joint twice where the layout has only its middle."""
    head = layout.landmarks["head"]
    above = [joint for joint, parent in enumerate(layout.parents) if parent == head and layout.bone_lengths[joint] > 0]
    return [head, above[0] if above else head]


def below(layout: Layout, tops: Sequence[int]) -> list[int]:
    """These joints and all that hang from them."""
    found = set(tops)
    for joint in layout.parents_first:
        if layout.parents[joint] in found:
            found.add(joint)
    return sorted(found)


def claim_joints(layout: Layout, part: str, side: str | None) -> list[int]:
    """The joints that a claim about a body part is about."""
    sides = (side,) if side else ("left", "right")

    def marks(word: str) -> list[int]:
        return [layout.landmarks[f"{side}_{word}"] for side in sides]

    def limb(word: str) -> list[int]:
        return [joint for joint, name in enumerate(layout.parts) if name in [f"{side}_{word}" for side in sides]]

    whole = list(range(layout.joints))
    return {
        "head": [joint for joint, name in enumerate(layout.parts) if name == "head"],
        "trunk": [joint for joint, name in enumerate(layout.parts) if name == "trunk"],
        "shoulders": marks("shoulder"),
        "arms": limb("arm"),
        "hands": below(layout, marks("wrist")),
        "elbows": marks("elbow"),
        "hips": [*marks("hip"), layout.landmarks["pelvis"]],
        "legs": limb("leg"),
        "knees": marks("knee"),
        "feet": below(layout, marks("ankle")),
        "steps": limb("leg"),
    }.get(part, whole)


def claim_record(judged: JudgedClaim, layout: Layout, text: str = "", begin: float = 0.0, end: float = 1.0) -> dict[str, Any]:
    """A claim in the adjective of its text ("leaning back"), else in its pole's first word ("upright"), with its joints and its share of
    the clip; the text is about the share from `begin` to `end`."""
    claim = judged.claim
    pole = QUALITIES[claim.quality].pole(claim.direction)
    said = text[slice(*claim.span)].lower() if claim.span else ""
    words = max((word for word in pole.adjectives if word in said), key=len, default=(pole.adjectives or pole.verbs)[0])
    extent = {"slight": "slightly ", "strong": "very "}.get(claim.extent, "") if pole.adjectives else ""
    moment = MOMENTS.get(claim.moment, (0.0, 1.0))
    return {
        "about": f"{claim.side} {PARTS[claim.part][0]}" if claim.side else claim.part,
        "what": f"{'not ' if claim.negated else ''}{extent}{words}",
        "moment": claim.moment,
        "from": begin + moment[0] * (end - begin),
        "to": begin + moment[1] * (end - begin),
        "joints": claim_joints(layout, claim.part, claim.side),
        "span": list(claim.span) if claim.span else None,
        "verdict": judged.verdict,
        "kind": judged.kind,
    }


def _attribution(answer: Answer, layout: Layout) -> dict[str, Any] | None:
    """Weights on one scale, on which the largest of joints and moments has size 1; joints that it leaves out weigh nothing."""
    found = answer.attribution
    if found is None:
        return None
    weights = [found.joints.get(name, 0.0) for name in layout.joint_names] + list(found.moments)
    largest = max(map(abs, weights)) or 1.0
    scaled = [round(weight / largest, 4) for weight in weights]
    return {"joints": scaled[: layout.joints], "seconds": list(found.seconds), "moments": scaled[layout.joints :]}


def _curve(timeline: Timeline) -> dict[str, Any]:
    """The smoothed curve, one row per emotion, and the segments with the numbers of their claims among all."""
    numbers = itertools.count()
    segments = [
        {
            "from": segment.start,
            "to": segment.end,
            "emotion": line(segment.emotion),
            "probability": segment.probability,
            "explanation": _as_long(segment.explanation) if segment.explanation else None,
            "claims": [next(numbers) for _ in segment.claims],
        }
        for segment in timeline.segments
    ]
    return {
        "seconds": list(timeline.seconds),
        "emotions": [line(emotion) for emotion in timeline.emotions],
        "values": [[round(row[place], 4) for row in timeline.smoothed] for place in range(len(timeline.emotions))],
        "segments": segments,
    }
