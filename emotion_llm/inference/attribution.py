"""What an answer rests on: the weight of every skeleton token, by removing it.

MotionFeatures, label set, emotion  ->  weights (1 + V + T',): semantic token, joints, moments
windows of a recording              ->  Attribution over joints and seconds
held-out clips                      ->  faithfulness: how fast the emotion's probability falls if tokens of large weight are removed first

A removed token is masked, exactly as an empty slot is, so nothing has to be filled in for it. What it told may still be found in other
tokens: the semantic token and all joints describe the same movement. Therefore a weight is the mean of two differences in the emotion's
log-probability: everything against everything but this token, and this token alone against none (the two ends of a Shapley value; our
choice).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emotion_llm.inference.answer import Attribution
from emotion_llm.language.label_scoring import emotion_probabilities
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.motion.layout import Layout
from emotion_llm.skeleton_encoder.encoder import TEMPORAL_STRIDE
from emotion_llm.skeleton_tokens.unified import MotionFeatures

FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Fractions of the tokens removed in the faithfulness curve."""


def attribute(
    model: EmotionLLM,
    prompts: PromptWriter,
    motion: MotionFeatures,
    emotions: Sequence[str],
    emotion: str,
    device: torch.device,
    groups: Sequence[Sequence[int]] | None = None,
) -> Tensor:
    """How much each token, or group of tokens, raises the log-probability of an emotion.

    Args:
        emotions: the label set.
        groups: tokens that are removed together, counted among the motion's 1 + V + T' (joint v is token 1 + v); by default each alone.

    Shape:
        one window  ->  (groups,) float64 nats; positive: speaks for the emotion
    """
    every = range(len(motion.rows))
    groups = [[token] for token in every] if groups is None else groups
    without = [motion.keep([token for token in every if token not in set(group)]) for group in groups]
    alone = [motion.keep(list(group)) for group in groups]
    probabilities = emotion_probabilities(model, prompts, [motion, motion.keep([]), *without, *alone], emotions, device)
    logarithm = probabilities[:, list(emotions).index(emotion)].clamp(min=torch.finfo(torch.float64).tiny).log()
    whole, nothing, rest = logarithm[0], logarithm[1], logarithm[2:]
    return (whole - rest[: len(groups)] + rest[len(groups) :] - nothing) / 2


def attribute_recording(
    model: EmotionLLM,
    prompts: PromptWriter,
    windows: Sequence[MotionFeatures],
    starts: Sequence[int],
    layout: Layout,
    frames_per_second: float,
    emotions: Sequence[str],
    emotion: str,
    device: torch.device,
) -> Attribution:
    """Weights of the joints, mean over the windows, and of the moments; where windows overlap, a moment's weight is their mean.

    Args:
        starts: first frame of each window.
    """
    joints = torch.zeros(layout.joints, dtype=torch.float64)
    moments: dict[int, list[float]] = {}
    for window, start in zip(windows, starts, strict=True):
        weights = attribute(model, prompts, window, emotions, emotion, device)
        joints += weights[1 : 1 + window.joints] / len(windows)
        for step, weight in enumerate(weights[1 + window.joints :].tolist()):
            moments.setdefault((start + step * TEMPORAL_STRIDE) // TEMPORAL_STRIDE, []).append(weight)
    seconds = {moment * TEMPORAL_STRIDE / frames_per_second: float(np.mean(values)) for moment, values in sorted(moments.items())}
    return Attribution(dict(zip(layout.joint_names, joints.tolist(), strict=True)), tuple(seconds), tuple(seconds.values()))


def faithfulness(
    model: EmotionLLM,
    prompts: PromptWriter,
    motions: Sequence[MotionFeatures],
    emotions: Sequence[str],
    device: torch.device,
    seed: int = 0,
) -> dict[str, Any]:
    """Mean probability of the answered emotion while its tokens are removed, those of the largest weight first, and in random order.

    Returns:
        `fractions` of the tokens removed, `by_weight` and `at_random` (a probability each), and `area`: how far the first curve lies
        below the second on average; above 0, the weights say what the answer rests on.
    """
    random = np.random.default_rng(seed)
    curves = np.zeros((2, len(FRACTIONS)))
    for motion in motions:
        answered = emotion_probabilities(model, prompts, [motion], emotions, device)[0].argmax()
        weights = attribute(model, prompts, motion, emotions, emotions[int(answered)], device).numpy()
        orders = (np.argsort(-weights, kind="stable"), random.permutation(len(weights)))
        left = [motion.keep(order[round(fraction * len(order)) :].tolist()) for order in orders for fraction in FRACTIONS]
        curves += emotion_probabilities(model, prompts, left, emotions, device)[:, answered].view(2, -1).numpy() / len(motions)
    area = float(np.trapezoid(curves[1] - curves[0], FRACTIONS))
    return {"fractions": list(FRACTIONS), "by_weight": curves[0].tolist(), "at_random": curves[1].tolist(), "area": area}
