"""Scores of the encoder's own classifier on held-out clips.

model, PretrainingData  ->  confusion counts (E, E) per corpus, the same at any number of processes
"""

import numpy as np
import torch

from emotion_llm.corpus.windows import windows
from emotion_llm.pretraining.data import PretrainingData
from emotion_llm.pretraining.model import PretrainingModel
from emotion_llm.runtime.processes import process_count, process_rank, sum_over_processes
from emotion_llm.skeleton_encoder.pooling import pooled_rows


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
        own = split.held_out[process_rank() :: process_count()]
        parts = [
            (clip, corpus.positions(clip)[start : start + frames])
            for clip in own
            for start, frames in windows(int(corpus.clips["frames"][clip]), data.window_frames)
        ]
        words = torch.tensor([data.emotions.index(emotion) for emotion in corpus.emotions])
        device = model.classifier.head.weight.device
        probabilities = torch.zeros(len(corpus), len(words), dtype=torch.float64)  # (clips, E): sums over windows
        for index, rows in pooled_rows(model.encoder, [part for _, part in parts], data.layout_index[place], data.frames_per_second):
            probabilities[parts[index][0]] += model.classifier.head(rows[0].to(device)).cpu()[words].double().softmax(0)
        predicted = sum_over_processes(probabilities)[list(split.held_out)].argmax(1).numpy()  # the sum has the same argmax as the mean
        confusion = np.zeros((len(words), len(words)), dtype=np.int64)
        np.add.at(confusion, (np.asarray(corpus.clips["emotion"][list(split.held_out)], dtype=np.int64), predicted), 1)
        scores[corpus.name] = confusion
    model.train(was_training)
    return scores
