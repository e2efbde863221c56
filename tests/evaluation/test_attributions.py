"""Removal curves: exact in a model whose rule is known, and what they say of weights."""

from types import SimpleNamespace

import pytest
import torch

from emotion_llm.evaluation import attributions
from emotion_llm.evaluation.attributions import LARGEST, RANDOM, REMOVED_SHARES, SMALLEST, faithfulness_metrics, removal_curves
from emotion_llm.evaluation.uncertainty import Bootstrap
from emotion_llm.skeleton_tokens.unified import MotionFeatures

EMOTIONS = ("anger", "joy")


@pytest.fixture
def adds_up(monkeypatch):
    """A model in which the log-odds of joy are the sum over the tokens that are there."""

    def probabilities(model, prompts, motions, emotions, device):
        odds = torch.stack([motion.rows.double().sum() for motion in motions])
        return torch.stack([(-odds).sigmoid(), odds.sigmoid()], dim=1)

    monkeypatch.setattr(attributions, "emotion_probabilities", probabilities)
    return SimpleNamespace(model=None, prompts=None, device=None)


def test_true_weights_take_the_answer_away_first_and_all_curves_share_their_ends(adds_up):
    for seed in range(10):
        motion = MotionFeatures(torch.randn(20, 1) + 0.3, 9, 10)
        curves = removal_curves(adds_up, motion, motion.rows[:, 0], EMOTIONS, "joy", seed)
        assert {order: (curve[0], curve[-1]) for order, curve in curves.items()} == dict.fromkeys(curves, (curves[LARGEST][0], 0.5))
        at = REMOVED_SHARES.index(0.5)
        assert curves[LARGEST][at] < curves[RANDOM][at] < curves[SMALLEST][at]
        assert curves[LARGEST][at] == pytest.approx(motion.rows[:, 0].sort().values[:10].sum().sigmoid().item(), abs=1e-5)


def test_weights_that_tell_nothing_gain_nothing_and_true_ones_do(adds_up):
    true, idle = [], []
    for seed in range(60):
        motion = MotionFeatures(torch.randn(20, 1) + 0.3, 9, 10)
        true.append(removal_curves(adds_up, motion, motion.rows[:, 0], EMOTIONS, "joy", seed))
        idle.append(removal_curves(adds_up, motion, torch.randn(20), EMOTIONS, "joy", seed))
    bootstrap = Bootstrap.of([str(clip) for clip in range(60)], [None] * 60, "actor")
    true_metrics, idle_metrics = (faithfulness_metrics(curves, bootstrap) for curves in (true, idle))
    assert true_metrics["gain_interval"][0] > 0.1
    assert idle_metrics["gain_interval"][0] < 0 < idle_metrics["gain_interval"][1]


def test_the_gain_is_the_area_between_the_curves():
    falls, stays = [1.0, *[0.0] * 6], [1.0] * 6 + [0.0]
    bootstrap = Bootstrap.of(["a"], [None], "actor")
    metrics = faithfulness_metrics([{LARGEST: falls, RANDOM: stays, SMALLEST: stays}], bootstrap)
    assert metrics["gain"] == pytest.approx(0.95 - 0.05)  # trapezoids: the last tenth falls to 0, and the first from 1
    assert metrics["probability"][LARGEST] == falls
