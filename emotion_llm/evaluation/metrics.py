"""Scores in numbers: what goes into metrics.json.

probabilities (N, K) and truth (N,)  ->  accuracy, macro F1, calibration, confusion
generated and written texts          ->  ROUGE-L, BLEU
"""

from __future__ import annotations

from collections.abc import Sequence

from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)
from torchmetrics.functional.text import bleu_score, rouge_score

from emotion_llm.language.label_scoring import CorpusScores


def recognition_metrics(scores: CorpusScores) -> dict:
    """Accuracy and its companions for one corpus."""
    classes, probabilities = len(scores.emotions), scores.probabilities.float()
    confusion = multiclass_confusion_matrix(probabilities, scores.truth, classes)
    return {
        "clips": len(scores.clips),
        "accuracy": scores.accuracy,
        "chance": scores.chance,
        "balanced_accuracy": float(multiclass_accuracy(probabilities, scores.truth, classes, average="macro")),
        "macro_f1": float(multiclass_f1_score(probabilities, scores.truth, classes, average="macro")),
        "calibration_error": float(multiclass_calibration_error(probabilities, scores.truth, classes, n_bins=10)),
        "emotions": list(scores.emotions),
        "confusion": confusion.tolist(),  # rows: truth, columns: answer
    }


def description_metrics(generated: Sequence[str], written: Sequence[Sequence[str]]) -> dict:
    """Overlap of generated with written descriptions; each generated one is held against all written for its motion."""
    rouge = rouge_score(list(generated), [list(texts) for texts in written], rouge_keys="rougeL")
    return {
        "texts": len(generated),
        "rouge_l": float(rouge["rougeL_fmeasure"]),
        "bleu": float(bleu_score(list(generated), [list(texts) for texts in written])),
    }
