"""Scores in numbers: what goes into metrics.json.

predictions.jsonl (PredictionRecord per line)  ->  accuracy, unweighted average recall, macro F1, calibration error, confusion, intervals
two of them                                    ->  difference in accuracy, interval, p-value
explained clips                                ->  evaluation/explanations.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass as validated_dataclass

from emotion_llm.evaluation.attributions import faithfulness_metrics
from emotion_llm.evaluation.explanations import Explained, explanation_metrics
from emotion_llm.evaluation.uncertainty import RESAMPLES, Bootstrap, interval, with_temperature
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import validate_record

BINS = 10
"""Bins of equal width for the calibration error (Guo et al. 2017 use 15 for thousands of samples; ours are hundreds)."""
_AGAIN = "write it again with launch/evaluate.py"


@validated_dataclass(frozen=True)
class MethodAnswer:
    """What one method says of one clip."""

    predicted: str
    probabilities: dict[str, float]
    """Of the whole label set, in the corpus's order; six decimals."""
    temperature: Annotated[float, Field(gt=0)] | None = field(default=None, kw_only=True)
    """What calibrates them (evaluation/uncertainty.py); never fitted on held-out clips. None: nothing was fitted."""

    @property
    def confidence(self) -> float:
        """The probability of the answer given."""
        return self.probabilities[self.predicted]

    @property
    def calibrated_confidence(self) -> float:
        if self.temperature is None:
            return self.confidence
        row = with_temperature(np.array(list(self.probabilities.values())), self.temperature)
        return float(row[list(self.probabilities).index(self.predicted)])


@validated_dataclass(frozen=True)
class PredictionRecord(MethodAnswer):
    """The fields of a line of predictions.jsonl that the metrics are made of; `predicted` is the run's answer."""

    corpus: str
    clip: str
    actor: str | None
    emotion: str
    """The truth."""
    baselines: dict[str, MethodAnswer]
    """The answers of the simple models, of the LLM alone and of the encoder's classifier to the same clip."""
    action: str | None = None
    explained: Explained | None = None
    """The explanations, of a description run."""
    removal: dict[str, list[float]] | None = None
    """The LLM's probability of the answer while tokens are removed (evaluation/attributions.py)."""

    def answer(self, method: str | None) -> MethodAnswer:
        """Of a baseline, or the run's (None)."""
        if method is None:
            return self
        if method not in self.baselines:
            raise UserError(f"no baseline '{method}' for clip {self.clip}; there are {', '.join(self.baselines) or 'none'}")
        return self.baselines[method]


def read_predictions(path: Path) -> dict[str, list[PredictionRecord]]:
    """The records of a predictions.jsonl by corpus.

    Raises:
        UserError: not readable, or a line that is no record; names the line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {_AGAIN}") from None
    corpora: dict[str, list[PredictionRecord]] = {}
    for number, line in enumerate(lines, 1):
        try:
            value = TypeAdapter(dict).validate_json(line)
        except ValueError:
            raise UserError(f"{path}, line {number}: not a JSON object; {_AGAIN}") from None
        record = validate_record(PredictionRecord, value, f"{path}, line {number}")
        for answer in (record, *record.baselines.values()):
            if not {record.emotion, answer.predicted} <= answer.probabilities.keys():
                raise UserError(f"{path}, line {number}: '{record.emotion}' or '{answer.predicted}' has no probability; {_AGAIN}")
        corpora.setdefault(record.corpus, []).append(record)
    return corpora


def metrics_from_predictions(path: Path) -> dict[str, dict]:
    """What metrics.json says under `corpora`, from predictions.jsonl alone; raises as `read_predictions`."""
    return {corpus: corpus_metrics(records) for corpus, records in read_predictions(path).items()}


def corpus_metrics(records: Sequence[PredictionRecord]) -> dict:
    """The run's metrics on one corpus, and under `baselines` those of every other method on the same clips."""
    result = recognition_metrics(records) | {"baselines": {method: recognition_metrics(records, method) for method in records[0].baselines}}
    if told := [record for record in records if record.explained is not None]:
        explained, answered = [record.explained for record in told if record.explained], [record.predicted for record in told]
        result["description"] = explanation_metrics(explained, answered, list(records[0].probabilities), bootstrap_of(told))
    if weighed := [record for record in records if record.removal is not None]:
        result["faithfulness"] = faithfulness_metrics([record.removal for record in weighed if record.removal], bootstrap_of(weighed))
    return result


def recognition_metrics(records: Sequence[PredictionRecord], method: str | None = None) -> dict:
    """One method's metrics on the clips of one corpus; the run's where none is named."""
    emotions, bootstrap = list(records[0].probabilities), bootstrap_of(records)
    counts = counts_of_clips(records, method)  # (N, K K + 6 BINS)
    total = counts.sum(axis=0)
    return {
        "clips": len(records),
        "chance": 1 / len(emotions),
        **{name: float(value) for name, value in scores_of_counts(total, len(emotions)).items()},
        "intervals": {name: interval(values) for name, values in scores_of_counts(bootstrap.sums(counts), len(emotions)).items()},
        "interval_clusters": bootstrap.about,
        "temperature": records[0].answer(method).temperature,
        "reliability": reliability_curve(total, len(emotions)),
        "emotions": emotions,
        "confusion": total[: len(emotions) ** 2].reshape(len(emotions), -1).astype(int).tolist(),  # rows: truth, columns: answer
    }


def compare_predictions(path: Path, other: Path, method: str | None = None, other_method: str | None = None) -> dict[str, dict]:
    """A paired test of two runs, or of two methods, on the clips that both answered; per corpus.

    accuracy_difference is the first's accuracy minus the other's, with a bootstrap interval. The p-value is that of a permutation test
    that swaps the two on whole clusters: actors where they are known, else clips. With G clusters it is at least about 2^(1 - G).

    Raises:
        UserError: a file that cannot be read, other clips, or no such method.
    """
    first, second = read_predictions(path), read_predictions(other)
    keys = [{(record.corpus, record.clip, record.emotion) for part in runs.values() for record in part} for runs in (first, second)]
    if keys[0] != keys[1]:
        differing = min(keys[0] ^ keys[1])
        raise UserError(f"{path} and {other} do not hold the same clips, for example {'/'.join(differing[:2])}; compare runs of one split")
    result = {}
    for corpus, records in first.items():
        of_clip = {record.clip: record for record in second[corpus]}
        won = [record.answer(method).predicted == record.emotion for record in records]
        lost = [of_clip[record.clip].answer(other_method).predicted == record.emotion for record in records]
        bootstrap, differences = bootstrap_of(records), np.subtract(won, lost, dtype=float)  # (N,)
        sums = bootstrap.by_cluster(differences[:, None])[:, 0]  # (G,)
        signs = np.random.default_rng(1).choice((-1.0, 1.0), size=(RESAMPLES, len(sums)))
        extreme = int((np.abs(signs @ sums) >= abs(sums.sum())).sum())  # sums of integers: exact
        result[corpus] = {
            "clips": len(records),
            "accuracy_difference": float(differences.mean()),
            "interval": bootstrap.interval_of_mean(differences),
            "p_value": (1 + extreme) / (1 + RESAMPLES),
            "interval_clusters": bootstrap.about,
        }
    return result


def bootstrap_of(records: Sequence[PredictionRecord], by: Literal["actor", "action"] = "actor") -> Bootstrap:
    """Resamples of the clips of one corpus."""
    return Bootstrap.of([record.clip for record in records], [getattr(record, by) for record in records], by)


def counts_of_clips(records: Sequence[PredictionRecord], method: str | None = None) -> np.ndarray:
    """Per clip its place in the confusion matrix and, per bin of confidence, one clip, its confidence and whether it is right, before and
    after the temperature: (N, K K + 6 BINS)."""
    index = {emotion: place for place, emotion in enumerate(records[0].probabilities)}
    classes = len(index)
    counts = np.zeros((len(records), classes**2 + 6 * BINS))
    for row, record in zip(counts, records, strict=True):
        answer = record.answer(method)
        row[index[record.emotion] * classes + index[answer.predicted]] = 1
        for begin, confidence in ((classes**2, answer.confidence), (classes**2 + 3 * BINS, answer.calibrated_confidence)):
            place = begin + 3 * min(int(confidence * BINS), BINS - 1)
            row[place : place + 3] = 1, confidence, answer.predicted == record.emotion
    return counts


def scores_of_counts(counts: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """The metrics of summed counts; an emotion without clips (recall), or without clips and answers (F1), does not enter a mean.

    Shape:
        (..., K K + 6 BINS)  ->  (...) each
    """
    confusion = counts[..., : classes**2].reshape(*counts.shape[:-1], classes, classes)
    bins = counts[..., classes**2 :].reshape(*counts.shape[:-1], 2, BINS, 3)  # before and after the temperature
    hits, truths, answers = np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1), confusion.sum(axis=-2)
    total = truths.sum(axis=-1)
    errors = np.abs(bins[..., 1] - bins[..., 2]).sum(axis=-1) / total[..., None]  # (..., 2)
    return {
        "accuracy": hits.sum(axis=-1) / total,
        "unweighted_average_recall": _mean_ratio(hits, truths),
        "macro_f1": _mean_ratio(2 * hits, truths + answers),
        "calibration_error": errors[..., 0],
        "calibration_error_after_temperature": errors[..., 1],
    }


def reliability_curve(counts: np.ndarray, classes: int) -> list[dict[str, float]]:
    """Per bin of confidence that holds clips: their number, mean confidence and accuracy; after the temperature, if there is one.

    Shape:
        (K K + 6 BINS,)  ->  up to BINS entries
    """
    bins = counts[classes**2 + 3 * BINS :].reshape(BINS, 3)
    return [
        {"clips": int(clips), "confidence": float(confidence / clips), "accuracy": float(right / clips)}
        for clips, confidence, right in bins[bins[:, 0] > 0]
    ]


def _mean_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return (numerator / np.maximum(denominator, 1)).sum(axis=-1) / (denominator > 0).sum(axis=-1)
