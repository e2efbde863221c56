"""Scores of the encoder's own classifier on held-out clips, and features to look at.

model, PretrainingData  ->  confusion counts (E, E) per corpus, the same at any number of processes
the same                ->  semantic features of clips (clips, C), with what is known of each
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from emotion_llm.corpus.windows import windows
from emotion_llm.pretraining.data import PretrainingData
from emotion_llm.pretraining.model import PretrainingModel
from emotion_llm.runtime.processes import process_count, process_rank, sum_over_processes
from emotion_llm.skeleton_encoder.pooling import pooled_rows

MAX_POINTS = 1000
"""Clips per corpus whose features are shown: more make TensorBoard's projector slow."""


def summary(confusion: np.ndarray) -> dict[str, float]:
    """The numbers in encoder.json; `chance` is the accuracy of a uniform guess."""
    clips = int(confusion.sum())
    return {"accuracy": float(np.trace(confusion) / clips), "clips": clips, "chance": 1 / len(confusion)}


@torch.inference_mode()
def held_out_confusion(model: PretrainingModel, data: PretrainingData) -> dict[str, np.ndarray]:
    """Classifies every held-out clip by the mean probability over its windows. Every rank must call it.

    Shape:
        corpus name -> (E, E) clips: rows are the true, columns the predicted emotions
    """
    was_training = model.training
    model.eval()
    scores = {}
    for place, (corpus, split) in enumerate(zip(data.corpora, data.splits, strict=True)):
        words = torch.tensor([data.emotions.index(emotion) for emotion in corpus.emotions])
        device = model.classifier.head.weight.device
        probabilities = torch.zeros(len(corpus), len(words), dtype=torch.float64)  # (clips, E): sums over windows
        for clip, semantic in _own_windows(model, data, place, split.held_out):
            probabilities[clip] += model.classifier.head(semantic.to(device)).cpu()[words].double().softmax(0)
        predicted = sum_over_processes(probabilities)[list(split.held_out)].argmax(1).numpy()  # the sum has the same argmax as the mean
        confusion = np.zeros((len(words), len(words)), dtype=np.int64)
        np.add.at(confusion, (np.asarray(corpus.clips["emotion"][list(split.held_out)], dtype=np.int64), predicted), 1)
        scores[corpus.name] = confusion
    model.train(was_training)
    return scores


@torch.inference_mode()
def semantic_features(model: PretrainingModel, data: PretrainingData) -> tuple[Tensor, dict[str, list[str]]]:
    """Mean semantic features of up to MAX_POINTS evenly spaced clips of each corpus, for TensorBoard's projector. Every rank must call it.

    Shape:
        (clips, C) float64, and columns of as many texts: emotion, corpus, actor, whether it was held out, and the clip
    """
    features: list[Tensor] = []
    columns: dict[str, list[str]] = {name: [] for name in ("emotion", "corpus", "actor", "part", "clip")}
    for place, (corpus, split) in enumerate(zip(data.corpora, data.splits, strict=True)):
        clips = range(0, len(corpus), -(-len(corpus) // MAX_POINTS))
        sums, counts = torch.zeros(len(corpus), model.encoder.width, dtype=torch.float64), torch.zeros(len(corpus), 1, dtype=torch.float64)
        for clip, semantic in _own_windows(model, data, place, clips):
            sums[clip] += semantic.double()
            counts[clip] += 1
        features.append((sum_over_processes(sums) / sum_over_processes(counts).clamp(min=1))[list(clips)])
        held_out = set(split.held_out)
        for clip in clips:
            about = corpus.clip(clip)
            known = (about.emotion, corpus.name, about.actor or "unknown", "held out" if clip in held_out else "training", about.name)
            for column, value in zip(columns.values(), known, strict=True):
                column.append(value)
    return torch.cat(features), columns


def _own_windows(model: PretrainingModel, data: PretrainingData, place: int, clips: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """This process's share of the clips of one corpus: clip and semantic features (C,) of every window."""
    corpus = data.corpora[place]
    parts = [
        (clip, corpus.positions(clip)[start : start + frames])
        for clip in clips[process_rank() :: process_count()]
        for start, frames in windows(int(corpus.clips["frames"][clip]), data.window_frames)
    ]
    for index, rows in pooled_rows(model.encoder, [part for _, part in parts], data.layout_index[place], data.frames_per_second):
        yield parts[index][0], rows[0, : model.encoder.width]
