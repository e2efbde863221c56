"""Evaluation on held-out motions during training.

model, encoded corpora, step  ->  accuracy per corpus, and one generated answer in TensorBoard
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from emotion_llm.language.explaining import explain, middle
from emotion_llm.language.label_scoring import score_clips
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.runtime.console import is_first_rank, say
from emotion_llm.runtime.processes import get_watchdog
from emotion_llm.runtime.tensorboard import Tag, TensorBoardWriter
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus


@dataclass(frozen=True)
class HeldOutEvaluation:
    """Scores a sample of each corpus's held-out clips. Every rank must call it."""

    model: EmotionLLM
    prompts: PromptWriter
    corpora: Sequence[EncodedCorpus]
    max_clips: int
    """Per corpus."""
    device: torch.device
    tensorboard: TensorBoardWriter

    def __call__(self, step: int) -> dict[str, float]:
        accuracies = {}
        for encoded in self.corpora:
            get_watchdog().at(step, 0, "evaluation")
            clips = encoded.split.held_out
            chosen = clips[:: max(1, -(-len(clips) // self.max_clips))]  # evenly spaced
            accuracies[encoded.corpus.name] = score_clips(self.model, self.prompts, encoded, chosen, self.device).accuracy
        say(f"step {step:,}: held-out accuracy " + ", ".join(f"{name} {value:.1%}" for name, value in accuracies.items()))
        if is_first_rank():  # one explanation to read; of another clip at each evaluation
            encoded = self.corpora[step % len(self.corpora)]
            window = middle(encoded.windows_of_clips([encoded.split.held_out[step % len(encoded.split.held_out)]]))
            emotion, name = encoded.emotion(window), encoded.window_name(window)
            answer = explain(self.model, self.prompts, [encoded.motion(window)], [emotion])[0]
            self.tensorboard.text(Tag.HELD_OUT_ANSWER, f"**{name}** ({emotion})\n\n{answer}", step)
        return accuracies
