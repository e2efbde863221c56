"""What the LLM's part of an answer rests on: the weight of every skeleton token, by removing it.

MotionFeatures, label set, emotion       ->  weights (1 + V + T',): semantic token, joints, moments
weights of a recording's windows         ->  Attribution over joints and seconds

A removed token is masked, exactly as an empty slot is, so nothing has to be filled in for it. What it told may still be found in other
tokens: the semantic token and all joints describe the same movement, and what was measured of all body parts stands in the semantic and
every temporal token. Therefore a weight is the mean of two differences in the emotion's
log-probability: everything against everything but this token, and this token alone against none (the two ends of a Shapley value; our
choice).
"""

from __future__ import annotations

from collections.abc import Sequence

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


def attribute(
    model: EmotionLLM, prompts: PromptWriter, motion: MotionFeatures, emotions: Sequence[str], emotion: str, device: torch.device
) -> Tensor:
    """How much each token raises the log-probability of one emotion of the label set `emotions`.

    Shape:
        one window  ->  (1 + V + T',) float64 nats; positive: speaks for the emotion
    """
    every = range(len(motion.rows))
    without = [motion.keep([other for other in every if other != token]) for token in every]
    alone = [motion.keep([token]) for token in every]
    probabilities = emotion_probabilities(model, prompts, [motion, motion.keep([]), *without, *alone], emotions, device)
    logarithm = probabilities[:, list(emotions).index(emotion)].clamp(min=torch.finfo(torch.float64).tiny).log()
    whole, nothing, rest = logarithm[0], logarithm[1], logarithm[2:].view(2, -1)
    return (whole - rest[0] + rest[1] - nothing) / 2


def over_recording(weights: Sequence[Tensor], starts: Sequence[int], layout: Layout, frames_per_second: float) -> Attribution:
    """Weights of the joints, mean over the windows of a recording, and of the moments; where windows overlap, a moment's weight is their
    mean.

    Args:
        weights: of each window's tokens.
        starts: first frame of each window.
    """
    joints = torch.stack([window[1 : 1 + layout.joints] for window in weights]).mean(0)
    moments: dict[int, list[float]] = {}
    for window, start in zip(weights, starts, strict=True):
        for moment, weight in enumerate(window[1 + layout.joints :].tolist(), start // TEMPORAL_STRIDE):
            moments.setdefault(moment, []).append(weight)
    seconds = {moment * TEMPORAL_STRIDE / frames_per_second: float(np.mean(values)) for moment, values in sorted(moments.items())}
    return Attribution(dict(zip(layout.joint_names, joints.tolist(), strict=True)), tuple(seconds), tuple(seconds.values()))
