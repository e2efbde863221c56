"""Recognition metrics: equal to the libraries' definitions, with honest intervals, from predictions.jsonl alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from emotion_llm.evaluation.explanations import overlap
from emotion_llm.evaluation.metrics import (
    MethodAnswer,
    PredictionRecord,
    compare_predictions,
    metrics_from_predictions,
    recognition_metrics,
)
from emotion_llm.runtime.errors import UserError

EMOTIONS = ("anger", "joy", "neutral")


def records(clips: int, skill: float, actors: int = 0, seed: int = 0) -> list[PredictionRecord]:
    """Random answers; `skill` is the extra weight of the true emotion."""
    generator, made = np.random.default_rng(seed), []
    for clip in range(clips):
        truth = clip % len(EMOTIONS)
        weights = generator.dirichlet(np.ones(3)) + skill * np.eye(3)[truth]
        probabilities = dict(zip(EMOTIONS, (weights / weights.sum()).round(6).tolist(), strict=True))
        actor = f"actor {clip % actors}" if actors else None
        predicted = max(probabilities, key=probabilities.get)
        made.append(PredictionRecord(predicted, probabilities, "kdae", f"clip {clip}", actor, EMOTIONS[truth], {}))
    return made


def write(path: Path, made: list[PredictionRecord]) -> Path:
    path.write_text("".join(json.dumps(vars(record)) + "\n" for record in made), encoding="utf-8")
    return path


def test_metrics_equal_those_of_scikit_learn_and_torchmetrics():
    made = records(200, 0.3)
    truth, predicted = [record.emotion for record in made], [record.predicted for record in made]
    metrics = recognition_metrics(made)
    assert metrics["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, predicted))
    assert metrics["unweighted_average_recall"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(truth, predicted))
    assert metrics["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(truth, predicted, average="macro"))
    assert metrics["confusion"] == sklearn.metrics.confusion_matrix(truth, predicted, labels=EMOTIONS).tolist()
    probabilities = torch.tensor([list(record.probabilities.values()) for record in made])
    index = torch.tensor([EMOTIONS.index(emotion) for emotion in truth])
    assert metrics["calibration_error"] == pytest.approx(float(multiclass_calibration_error(probabilities, index, 3, n_bins=10)), abs=1e-5)


def test_an_emotion_without_held_out_clips_does_not_enter_the_recall():
    made = [record for record in records(60, 5.0) if record.emotion != "joy"]
    assert recognition_metrics(made)["unweighted_average_recall"] == recognition_metrics(made)["macro_f1"] == 1


def test_intervals_contain_the_value_and_shrink_with_more_clips():
    few, many = (recognition_metrics(records(clips, 0.3)) for clips in (30, 600))
    widths = []
    for metrics in (few, many):
        low, high = metrics["intervals"]["accuracy"]
        assert low < metrics["accuracy"] < high
        widths.append(high - low)
    expected = 2 * 1.96 * np.sqrt(many["accuracy"] * (1 - many["accuracy"]) / 600)  # of a binomial proportion
    assert widths[1] == pytest.approx(expected, rel=0.1)
    assert widths[0] > 3 * widths[1]


def test_clips_of_one_actor_are_resampled_together():
    """Ten copies of each clip, one actor each, hold no more information than one copy."""
    single = records(60, 0.3)
    copies = [
        PredictionRecord(record.predicted, record.probabilities, "kdae", f"{record.clip}.{copy}", record.clip, record.emotion, {})
        for record in single
        for copy in range(10)
    ]
    by_clip, by_actor = recognition_metrics(single), recognition_metrics(copies)
    assert by_clip["interval_clusters"] == {"kind": "clip", "count": 60}
    assert by_actor["interval_clusters"] == {"kind": "actor", "count": 60}
    width = [np.diff(metrics["intervals"]["accuracy"])[0] for metrics in (by_clip, by_actor)]
    assert width[1] == pytest.approx(width[0], rel=0.1)


@pytest.mark.parametrize("actors", [0, 12])
def test_a_paired_test_finds_a_real_difference_and_none_where_there_is_none(tmp_path, actors):
    good, same, bad = (write(tmp_path / str(seed), records(120, skill, actors, seed)) for seed, skill in enumerate((1.0, 1.0, 0.0)))
    better = compare_predictions(good, bad)["kdae"]
    assert better["accuracy_difference"] > 0.3
    assert better["interval"][0] > 0
    assert better["p_value"] < 0.01
    assert compare_predictions(bad, good)["kdae"]["accuracy_difference"] == -better["accuracy_difference"]
    assert compare_predictions(good, same)["kdae"]["p_value"] > 0.05
    assert compare_predictions(good, good)["kdae"]["p_value"] == 1


def test_runs_on_other_clips_are_not_compared(tmp_path):
    one, other = write(tmp_path / "one", records(10, 1.0)), write(tmp_path / "other", records(11, 1.0))
    with pytest.raises(UserError, match=r"do not hold the same clips, for example kdae/clip 10; compare runs of one split"):
        compare_predictions(one, other)
    with pytest.raises(UserError, match=r"no baseline 'forest' for clip clip 0; there are none"):
        compare_predictions(one, one, other_method="forest")


def test_a_file_that_holds_no_predictions_is_refused_with_the_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read .*; write it again with launch/evaluate.py"):
        metrics_from_predictions(tmp_path / "none")
    path = write(tmp_path / "predictions.jsonl", records(2, 1.0))
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(UserError, match=r"line 3: field 'predicted' is missing"):
        metrics_from_predictions(path)
    path.write_text("no JSON\n")
    with pytest.raises(UserError, match=r"line 1: not a JSON object"):
        metrics_from_predictions(path)
    path = write(path, [PredictionRecord("fear", {"joy": 1.0}, "kdae", "clip", None, "joy", {})])
    with pytest.raises(UserError, match=r"line 1: 'joy' or 'fear' has no probability"):
        metrics_from_predictions(path)


def test_a_baseline_has_metrics_of_its_own(tmp_path):
    made = [
        PredictionRecord(
            "joy", {"joy": 0.9, "anger": 0.1}, "kdae", str(clip), None, "joy", {"simple": MethodAnswer("anger", {"joy": 0.0, "anger": 1.0})}
        )
        for clip in range(4)
    ]
    assert recognition_metrics(made)["accuracy"] == 1
    assert recognition_metrics(made, "simple")["accuracy"] == 0


def test_a_repeated_description_scores_one_and_another_one_less():
    written = [["the head hangs and the steps are slow"], ["the arms swing wide", "a wide swing of both arms"]]
    assert overlap(["the head hangs and the steps are slow", "the arms swing wide"], written)["rouge_l"] == pytest.approx(1)
    assert overlap(["the head is up", "no arms"], written)["rouge_l"] < 0.6
    long = "the head is up and the arms are open"  # of its 9 words, 4 are the reference's: precision 4/9, recall 1
    assert overlap([long], [["the head is up"]])["rouge_l"] == pytest.approx(2 * 4 / 13)
