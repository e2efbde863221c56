"""Clips with answers made for the tests of the report: bodies that move by formula, on every layout."""

from __future__ import annotations

import numpy as np

from emotion_llm.grounding.claims import Claim
from emotion_llm.grounding.judge import JudgedClaim
from emotion_llm.inference.answer import Answer, Attribution
from emotion_llm.inference.timeline import Segment, Timeline
from emotion_llm.motion.canonical import CanonicalSettings, canonicalise
from emotion_llm.motion.layout import read_layout
from emotion_llm.motion.motion import Motion
from emotion_llm.report.clip import ReportClip
from emotion_llm.synthetic.body import joint_angles, local_rotations, posed, rest_offsets, walked_root
from emotion_llm.synthetic.emotions import invited_actors, performance

RATE = 30.0
EXPLANATION = (
    "The hands are raised. At the end the head is bowed, the right arm is close to the body and the steps grow quick. A heavy mood."
)


def example_motion(
    layout_name: str = "kdae_72", frames: int = 150, emotion: str = "anger", action: str = "walking", seed: int = 0
) -> Motion:
    """A synthetic performance in canonical form; from 400 frames on, the same one again and again."""
    layout, rng = read_layout(layout_name), np.random.default_rng(seed)
    actor = invited_actors(("F01",), rng)[0]
    own = min(frames, 400)
    angles = joint_angles(performance(emotion, actor, rng), action, actor.right_handed, own, RATE, rng)
    offsets, rotations = rest_offsets(layout, actor.build), local_rotations(layout, angles, 0.0, 20.0)
    positions = posed(layout, offsets, rotations, walked_root(layout, offsets, rotations, np.zeros(2)))
    motion = canonicalise(Motion(layout, positions, RATE), CanonicalSettings(), place="example")
    return Motion(layout, np.resize(motion.positions, (frames, layout.joints, 3)), RATE)


def _claim(quality: str, direction: int, phrase: str, verdict: str, kind: str | None = None, **more) -> JudgedClaim:
    start = EXPLANATION.index(phrase)
    return JudgedClaim(Claim(quality, direction, span=(start, start + len(phrase)), **more), verdict, kind)


def example_answer(motion: Motion, clip: str = "F01A0V1", explanation: str = EXPLANATION) -> Answer:
    """An answer with one claim of each verdict and weights of either sign."""
    claims = (
        _claim("hand height", 1, "The hands are raised", "supported"),
        _claim("head pitch", 1, "the head is bowed", "contradicted", "temporal", moment="end"),
        _claim("arm opening", -1, "the right arm is close to the body", "indeterminate", side="right", moment="end"),
        _claim("cadence", 1, "the steps grow quick", "uncheckable", moment="increasing"),
    )
    weights = {"arm": 0.9, "leg": -0.55, "head": 0.5, "trunk": 0.15}
    joints = {name: weights[part.split("_")[-1]] for name, part in zip(motion.layout.joint_names, motion.layout.parts, strict=True)}
    starts = np.arange(0, motion.seconds, motion.seconds / 20)
    moments = np.sin(np.linspace(0.3, 5.5, len(starts)))
    probabilities = {
        "anger": 0.712, "fear": 0.104, "happiness": 0.071, "surprise": 0.049, "disgust": 0.031, "neutral": 0.021, "sadness": 0.012
    }  # fmt: skip
    attribution = Attribution(joints, tuple(starts.tolist()), tuple(moments.tolist()))
    return Answer(clip, "kdae", "anger", probabilities, explanation, claims, attribution, ("the right wrist jumps 0.3 m within one frame",))


def example_timeline(motion: Motion, clip: str = "F01A0V1") -> Timeline:
    """A smooth curve of four emotions, in two segments with the claims of EXPLANATION each."""
    seconds = np.linspace(0, motion.seconds, 40)
    phase = seconds / motion.seconds
    raw = np.stack([np.exp(2.5 * np.sin(4 * phase + shift)) for shift in (0.4, 2.6, 4.4, 5.6)], axis=1)
    rows = tuple(map(tuple, (raw / raw.sum(1, keepdims=True)).tolist()))
    half, claims = motion.seconds / 2, example_answer(motion).claims
    segments = (
        Segment(0.0, half, "anger", 0.8, EXPLANATION, claims),
        Segment(half, motion.seconds, "sadness", 0.7, EXPLANATION, claims),
    )
    return Timeline(clip, "kdae", ("anger", "happiness", "sadness", "neutral"), tuple(seconds.tolist()), rows, rows, segments)


def example_clip(layout_name: str = "kdae_72", frames: int = 150, name: str = "F01A0V1", long: bool = False, **choices) -> ReportClip:
    motion = example_motion(layout_name, frames, **choices)
    answer = example_timeline(motion, name) if long else example_answer(motion, name)
    return ReportClip(name, motion, answer, None if long else "anger", "kdae", "F01", "walking")
