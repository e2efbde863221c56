"""Why: an explanation in words, resting on the emotion that was recognised.

motion features, emotion  ->  text
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import Example
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.skeleton_tokens.unified import MotionFeatures

MOTIONS_PER_BATCH = 16
MAX_NEW_TOKENS = 96
"""Longest explanation, in text tokens."""


def explain(
    model: EmotionLLM,
    prompts: PromptWriter,
    motions: Sequence[MotionFeatures],
    emotions: Sequence[str],
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> list[str]:
    """Greedy explanations of N windows of motion, each given its emotion."""
    was_training = model.training
    model.eval()
    examples = [Example(prompts.description(emotion), motion, answers=()) for motion, emotion in zip(motions, emotions, strict=True)]
    texts: list[str] = []
    for start in range(0, len(examples), MOTIONS_PER_BATCH):
        texts += [prompts.decode(tokens) for tokens in model.generate(examples[start : start + MOTIONS_PER_BATCH], max_new_tokens)]
    model.train(was_training)
    return texts


def middle(windows: Sequence[int] | np.ndarray) -> int:
    """The window that speaks for its clip when one has to be explained."""
    return int(windows[len(windows) // 2])
