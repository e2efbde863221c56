"""What the LLM's part of the answers to held-out clips rests on, and whether that is true of the model.

TrainedModel, EncodedCorpus, CorpusScores  ->  ClipAttribution per clip
removal curves of several clips            ->  what metrics.json says under `faithfulness`

Weights of tokens (inference/attribution.py) are faithful if removing those of the largest weight takes the answer away sooner than removing
others does: the deletion curve of Samek et al. 2017, "Evaluating the visualization of what a deep neural network has learned". A removed
token is masked, so nothing is filled in for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emotion_llm.evaluation.explanations import places_to_explain
from emotion_llm.evaluation.uncertainty import Bootstrap
from emotion_llm.inference.answer import Attribution
from emotion_llm.inference.attribution import attribute, over_recording
from emotion_llm.inference.trained_model import TrainedModel
from emotion_llm.language.label_scoring import CorpusScores, emotion_probabilities
from emotion_llm.runtime.processes import gather_over_processes, process_count, process_rank
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus
from emotion_llm.skeleton_tokens.unified import MotionFeatures

REMOVED_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Shares of a window's tokens that are removed."""
LARGEST, RANDOM, SMALLEST = "largest weight first", "at random", "smallest weight first"
RANDOM_ORDERS = 4
"""Whose mean is the curve of tokens removed at random."""


@dataclass(frozen=True)
class ClipAttribution:
    """Of one clip."""

    attribution: Attribution
    removal: dict[str, list[float]]
    """Order of removal -> the LLM's probability of the answered emotion after each of REMOVED_SHARES, for the clip's middle window."""


def attributions(trained: TrainedModel, encoded: EncodedCorpus, scores: CorpusScores, most: int) -> dict[int, ClipAttribution]:
    """Those of the clips that are explained, up to `most`. Every rank must call it."""
    own = {}
    for place in places_to_explain(encoded.corpus, scores.clips, most)[process_rank() :: process_count()]:
        clip, emotion = scores.clips[place], scores.emotions[int(scores.probabilities[place].argmax())]
        windows = encoded.windows_of_clips([clip])
        motions = [encoded.motion(window) for window in windows]
        weights = [attribute(trained.model, trained.prompts, motion, scores.emotions, emotion, trained.device) for motion in motions]
        found = over_recording(weights, encoded.windows["start"][windows].tolist(), encoded.corpus.layout, encoded.corpus.frames_per_second)
        chosen = len(windows) // 2
        own[clip] = ClipAttribution(found, removal_curves(trained, motions[chosen], weights[chosen], scores.emotions, emotion, seed=clip))
    return {clip: one for part in gather_over_processes(own) for clip, one in part.items()}


def removal_curves(
    trained: TrainedModel, motion: MotionFeatures, weights: Tensor, emotions: Sequence[str], emotion: str, seed: int
) -> dict[str, list[float]]:
    """The emotion's probability while the tokens of one window are removed, in three orders."""
    generator = torch.Generator().manual_seed(seed)
    falling = weights.argsort(descending=True)
    orders = [falling, falling.flip(0), *(torch.randperm(len(weights), generator=generator) for _ in range(RANDOM_ORDERS))]
    kept = [motion.keep(order[round(share * len(order)) :]) for order in orders for share in REMOVED_SHARES]
    rows = emotion_probabilities(trained.model, trained.prompts, kept, emotions, trained.device)
    curves = rows[:, list(emotions).index(emotion)].view(len(orders), -1)  # (orders, shares)
    of_order = ((LARGEST, curves[0]), (RANDOM, curves[2:].mean(0)), (SMALLEST, curves[1]))
    return {order: [round(value, 6) for value in curve.tolist()] for order, curve in of_order}


def faithfulness_metrics(removal: Sequence[Mapping[str, Sequence[float]]], bootstrap: Bootstrap) -> dict:
    """The mean curves of some clips, and by how much the largest weights matter more than tokens at random: the mean difference of the
    areas under the two curves, 0 for weights that tell nothing, with an interval."""
    curves = {order: np.array([one[order] for one in removal]) for order in removal[0]}  # (N, shares) each
    gain = np.trapezoid(curves[RANDOM] - curves[LARGEST], REMOVED_SHARES, axis=1)  # (N,)
    return {
        "clips": len(gain),
        "removed": list(REMOVED_SHARES),
        "probability": {order: curve.mean(axis=0).tolist() for order, curve in curves.items()},
        "gain": float(gain.mean()),
        "gain_interval": bootstrap.interval_of_mean(gain),
    }


def faithfulness_summary(metrics: Mapping) -> str:
    """In a line."""
    at = metrics["removed"].index(0.5)
    left = ", ".join(f"{order} {curve[at]:.0%}" for order, curve in metrics["probability"].items())
    low, high = metrics["gain_interval"]
    return (
        f"with half of the tokens removed, the LLM's probability of the answer: {left}; area gained over chance {metrics['gain']:.3f} "
        f"[{low:.3f}, {high:.3f}]"
    )
