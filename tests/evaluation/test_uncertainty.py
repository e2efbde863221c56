"""Temperature scaling: recovers a known temperature, changes no answer."""

import numpy as np
import pytest
from scipy.special import softmax

from emotion_llm.evaluation.metrics import PredictionRecord, recognition_metrics
from emotion_llm.evaluation.uncertainty import BOUNDS, fit_temperature, with_temperature


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_again(factor):
    random = np.random.default_rng(0)
    logits = random.normal(size=(5000, 6)) * 2
    truth = np.array([random.choice(6, p=row) for row in softmax(logits, axis=1)])
    assert fit_temperature(softmax(factor * logits, axis=1), truth, clusters=5000) == pytest.approx(factor, rel=0.05)


def test_no_answer_changes_and_rows_sum_to_one():
    probabilities = np.random.default_rng(0).dirichlet(np.full(7, 0.3), size=100)
    for temperature in (*BOUNDS, 2.0):
        calibrated = with_temperature(probabilities, temperature)
        assert (calibrated.argmax(1) == probabilities.argmax(1)).all()
        np.testing.assert_allclose(calibrated.sum(1), 1)
    np.testing.assert_allclose(with_temperature(probabilities, 1.0), probabilities, atol=1e-6)


def test_clips_that_are_all_right_say_little_about_the_temperature():
    """Cross-entropy alone would ask for a temperature of zero."""
    assert 0.5 < fit_temperature(np.array([[0.9, 0.1], [1.0, 0.0]]), np.array([0, 0]), clusters=2) < 1


def test_the_fewer_actors_the_closer_the_temperature_stays_to_one():
    probabilities = np.full((40, 2), (0.99, 0.01))  # far too sure: two thirds are right
    truth = (np.arange(40) % 3 == 0).astype(int)
    few, some, many = (fit_temperature(probabilities, truth, clusters) for clusters in (1, 5, 1000))
    assert 1 < few < some < many
    assert with_temperature(probabilities, many)[0, 0] == pytest.approx(26 / 40, abs=0.05)


def test_metrics_give_the_calibration_error_before_and_after_the_temperature():
    def metrics(temperature):
        return recognition_metrics([
            PredictionRecord("joy", {"joy": 0.99, "anger": 0.01}, "kdae", str(clip), None, truth, {}, temperature=temperature)
            for clip, truth in enumerate(["joy", "anger"] * 10)
        ])  # fmt: skip

    plain, calibrated = metrics(None), metrics(10.0)
    assert plain["calibration_error"] == calibrated["calibration_error"] == pytest.approx(0.49)
    assert plain["calibration_error_after_temperature"] == plain["calibration_error"]
    assert calibrated["calibration_error_after_temperature"] == pytest.approx(0.113, abs=1e-3)
    assert (plain["temperature"], calibrated["temperature"]) == (None, 10.0)
