"""Recognition by label scoring: the likelihood of every emotion of the label set, never parsed out of free text.

motion features, label set  ->  probability of each emotion (K,)
held-out clips of a corpus  ->  probabilities (clips, K), the same at any number of processes
the LLM's and the encoder's ->  the answer: their geometric mean (ours)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import Example, pack
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.runtime.console import progress
from emotion_llm.runtime.processes import process_count, process_rank, sum_over_processes
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus
from emotion_llm.skeleton_tokens.unified import MotionFeatures

WINDOWS_PER_ROW = 16
"""Windows per packed row, each with its whole label set."""


@dataclass(frozen=True)
class CorpusScores:
    """Probabilities of the emotions of some clips of one corpus."""

    emotions: tuple[str, ...]
    clips: tuple[int, ...]
    probabilities: Tensor
    """(clips, K) float64; rows sum to 1."""
    truth: Tensor
    """(clips,) int64."""

    def pooled_with(self, by_encoder: CorpusScores, encoder_share: float) -> CorpusScores:
        """The answers to the same clips, these being the LLM's; see `pooled`."""
        return replace(self, probabilities=pooled(self.probabilities, by_encoder.probabilities, encoder_share))

    @property
    def accuracy(self) -> float:
        return float((self.probabilities.argmax(1) == self.truth).double().mean())

    @property
    def never_answered(self) -> tuple[str, ...]:
        """Emotions that some of the clips show and that is the answer to none."""
        return tuple(self.emotions[index] for index in sorted(set(self.truth.tolist()) - set(self.probabilities.argmax(1).tolist())))

    @property
    def chance(self) -> float:
        """Accuracy of guessing uniformly."""
        return 1 / len(self.emotions)


@torch.inference_mode()
def emotion_probabilities(
    model: EmotionLLM, prompts: PromptWriter, motions: Sequence[MotionFeatures], emotions: Sequence[str], device: torch.device
) -> Tensor:
    """The likelihood of each emotion word as the answer, normalised over the label set.

    Shape:
        N windows, K emotions -> (N, K) float64 on the CPU
    """
    answers = tuple(prompts.answer(emotion) for emotion in emotions)
    scores = []
    for start in range(0, len(motions), WINDOWS_PER_ROW):
        examples = [Example(prompts.recognition(motion.words), motion, answers) for motion in motions[start : start + WINDOWS_PER_ROW]]
        likelihoods = model.answer_log_likelihoods(pack(examples, model.slots).to(device))  # (n K,)
        scores.append(likelihoods.view(len(examples), len(answers)).double().cpu())
    return torch.cat(scores).softmax(1)  # (N, K)


def pooled(by_llm: Tensor, by_encoder: Tensor, encoder_share: float) -> Tensor:
    """What the LLM and the encoder's classifier say together: their normalised, weighted geometric mean (ours). They err on different clips, so
    together they answer better, and are better calibrated, on people never seen (docs/generalisation.md).

    Args:
        encoder_share: weight of the classifier; 0 is the LLM's answer, 1 the classifier's.

    Shape:
        (..., K) each  ->  (..., K) float64; rows sum to 1
    """
    llm, encoder = (values.double().clamp(min=torch.finfo(torch.float64).tiny).log() for values in (by_llm, by_encoder))
    return llm.lerp(encoder, encoder_share).softmax(-1)


def score_clips(
    model: EmotionLLM,
    prompts: PromptWriter,
    encoded: EncodedCorpus,
    clips: Sequence[int],
    device: torch.device,
    motion: Callable[[int], MotionFeatures] | None = None,
) -> CorpusScores:
    """Mean probabilities over the windows of each clip. Every rank must call it: each scores a part of the clips, all get the result.

    Args:
        motion: what the model reads in place of a window's features.
    """
    motion = motion or encoded.motion
    emotions = encoded.corpus.emotions
    probabilities = torch.zeros(len(clips), len(emotions), dtype=torch.float64)
    windows = {place: encoded.windows_of_clips([clips[place]]) for place in range(process_rank(), len(clips), process_count())}
    flat = sorted(
        ((place, int(window)) for place in windows for window in windows[place]), key=lambda pair: encoded.skeleton_tokens(pair[1])
    )
    blocks = range(0, len(flat), WINDOWS_PER_ROW)
    with model.evaluating():
        for start in progress(blocks, f"scoring {encoded.corpus.name}", "batch") if len(blocks) > 20 else blocks:
            block = flat[start : start + WINDOWS_PER_ROW]
            rows = emotion_probabilities(model, prompts, [motion(window) for _, window in block], emotions, device)
            for (place, _), row in zip(block, rows, strict=True):
                probabilities[place] += row / len(windows[place])
    truth = torch.tensor([encoded.emotion_index(int(encoded.windows_of_clips([clip])[0])) for clip in clips])
    return CorpusScores(emotions, tuple(clips), sum_over_processes(probabilities), truth)
