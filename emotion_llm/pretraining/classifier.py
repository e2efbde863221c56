"""The classifier, fitted again once the encoder is trained (our choice).

frozen encoder, training windows  ->  logistic regression on their semantic features  ->  weights of the classifier

The head that SGD trained beside the encoder depends on the schedule and is too sure of itself. On frozen features the best head has one
answer, which keeps its weights small (Kang et al. 2020, "Decoupling representation and classifier", arXiv 1910.09217, do so for rare
classes; docs/generalisation.md has the gain).
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from emotion_llm.pretraining.data import PretrainingData, mirror, mirror_order
from emotion_llm.pretraining.model import PretrainingModel
from emotion_llm.runtime.console import progress
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes, process_count, process_rank
from emotion_llm.skeleton_encoder.pooling import pooled_rows

SHRINKAGE = 10.0
"""Weight of half the squared weights beside the summed cross-entropy."""
MOST_ITERATIONS = 1000


def fit_classifier(model: PretrainingModel, data: PretrainingData) -> None:
    """Replaces the classifier's weights. Every rank must call it; the first one fits, all get the same weights."""
    semantic, emotion, candidates = training_features(model, data)
    head = model.classifier.head
    fitted = logistic_regression(semantic, emotion, candidates) if is_first_rank() else None
    weight, bias = gather_over_processes(fitted)[0]
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def training_features(model: PretrainingModel, data: PretrainingData) -> tuple[Tensor, Tensor, Tensor]:
    """Of every training window as it lies, and of its mirror image if training mirrors.

    Returns:
        semantic features (N, C) float64, emotions (N,), the emotions of each one's corpus (N, E); the same on every rank
    """
    parts = []
    for place, corpus in enumerate(data.corpora):
        mine = data.items[:, 0] == place
        (_, clips, starts), descriptors = data.items[mine].T, data.descriptors[mine]
        windows = [corpus.positions(clip)[start : start + data.window_frames] for clip, start in zip(clips, starts, strict=True)]
        if data.mirror_probability > 0:
            order = mirror_order(corpus.layout)
            windows, clips = windows + [mirror(window, order) for window in windows], np.tile(clips, 2)
            descriptors = descriptors.repeat(2, 1)
        own = range(process_rank(), len(windows), process_count())
        chosen = [windows[index] for index in own]
        rows = pooled_rows(model.encoder, chosen, data.layout_index[place], data.frames_per_second, descriptors[own])
        rows = progress(rows, f"encoding {corpus.name}", "window", total=len(own))
        encoded = {own[index]: row[0, : model.encoder.width].double() for index, row in rows}
        encoded = {index: row for share in gather_over_processes(encoded) for index, row in share.items()}
        words = torch.tensor([data.emotions.index(word) for word in corpus.emotions])
        emotion = words[torch.from_numpy(corpus.clips["emotion"][clips].astype(np.int64))]
        candidates = torch.zeros(len(windows), len(data.emotions), dtype=torch.bool).index_fill(1, words, True)
        parts.append((torch.stack([encoded[index] for index in range(len(windows))]), emotion, candidates))
    semantic, emotion, candidates = (torch.cat(part) for part in zip(*parts, strict=True))
    return semantic, emotion, candidates


def logistic_regression(features: Tensor, emotion: Tensor, candidates: Tensor, shrinkage: float = SHRINKAGE) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression in which every example is told apart from the emotions of its own corpus only, on standardised
    features.

    Shape:
        features (N, C) float64, emotion (N,), candidates (N, E) bool  ->  weight (E, C), bias (E,) for features as they are
    """
    std, mean = torch.std_mean(features, dim=0, correction=0)
    std = std.clamp(min=torch.finfo(torch.float32).eps)
    standard = (features - mean) / std
    weight = features.new_zeros(candidates.shape[1], features.shape[1]).requires_grad_()
    bias = features.new_zeros(candidates.shape[1]).requires_grad_()
    solver = torch.optim.LBFGS([weight, bias], max_iter=MOST_ITERATIONS, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        logits = F.linear(standard, weight, bias).masked_fill(~candidates, -torch.inf)
        value = F.cross_entropy(logits, emotion, reduction="sum") + shrinkage / 2 * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    scaled = weight.detach() / std
    return scaled, bias.detach() - scaled @ mean
