"""Evaluation on held-out motions during training.

model, encoded corpora, step  ->  accuracy of the LLM alone per corpus, and a generated answer of each in TensorBoard
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from emotion_llm.grounding.examples import Example, example_figure, examples_table
from emotion_llm.grounding.judge import standing
from emotion_llm.grounding.norms import Norms, measure
from emotion_llm.language.explaining import explain
from emotion_llm.language.label_scoring import CorpusScores, score_clips
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
    norms: Mapping[str, Norms]
    """By corpus: what the answers in TensorBoard are held against; empty for none."""

    def __call__(self, step: int) -> dict[str, float]:
        accuracies, examples = {}, []
        for encoded in self.corpora:
            get_watchdog().at(step, 0, "evaluation")
            clips = encoded.split.held_out
            chosen = clips[:: -(-len(clips) // self.max_clips)]  # evenly spaced
            scores = score_clips(self.model, self.prompts, encoded, chosen, self.device)
            accuracies[encoded.corpus.name] = scores.accuracy
            if is_first_rank():
                examples.append(self._example(encoded, scores, step % len(chosen)))  # another clip at each evaluation
        say(f"step {step:,}: held-out accuracy of the LLM " + ", ".join(f"{name} {value:.1%}" for name, value in accuracies.items()))
        for example in examples:
            self.tensorboard.figure(Tag.EXAMPLES.of(example.corpus.name), example_figure(example), step)
        if examples:
            self.tensorboard.text(Tag.ANSWERS, examples_table(examples), step)
        return accuracies

    def _example(self, encoded: EncodedCorpus, scores: CorpusScores, place: int) -> Example:
        """The greedy explanation of the answered emotion of one scored clip."""
        corpus, clip = encoded.corpus, scores.clips[place]
        row = scores.probabilities[place]
        emotion = scores.emotions[int(row.argmax())]
        text = explain(self.model, self.prompts, [encoded.clip_motion(clip)], [emotion])[0]
        norms, motion = self.norms.get(corpus.name), corpus.motion(clip)
        return Example(corpus, clip, emotion, float(row.max()), text, standing(measure(motion), norms) if norms else None)
