"""Weights of tokens: exact in a model whose rule is known, and what the answer rests on."""

import pytest
import torch

from emotion_llm.inference import attribution
from emotion_llm.inference.attribution import attribute, attribute_recording, faithfulness
from emotion_llm.inference.trained_model import load
from emotion_llm.skeleton_tokens.encoded_corpus import encode_corpora
from emotion_llm.skeleton_tokens.unified import MotionFeatures

CPU = torch.device("cpu")


@pytest.fixture
def adds_up(monkeypatch):
    """A model in which the log-odds of joy are the sum over the tokens that are there."""

    def probabilities(model, prompts, motions, emotions, device):
        odds = torch.stack([motion.rows.double().sum() for motion in motions])
        return torch.stack([odds.sigmoid(), (-odds).sigmoid()], dim=1)

    monkeypatch.setattr(attribution, "emotion_probabilities", probabilities)


def test_a_token_that_decides_has_the_largest_weight_and_an_idle_one_none(adds_up):
    motion = MotionFeatures(torch.tensor([[0.0], [2.0], [0.0], [-1.0]]), 2, 1)
    weights = attribute(None, None, motion, ("joy", "anger"), "joy", CPU)
    assert weights[1] > 0.5
    assert weights[3] < 0
    assert weights[[0, 2]].abs().max() == 0
    assert torch.allclose(attribute(None, None, motion, ("joy", "anger"), "joy", CPU, groups=[[1]])[0], weights[1])
    together = attribute(None, None, motion, ("joy", "anger"), "joy", CPU, groups=[[1, 3]])
    assert 0 < together[0] < weights[1]


def test_removing_by_weight_is_faster_than_at_random(adds_up):
    motions = [MotionFeatures(torch.randn(20, 1) + 0.3, 9, 10) for _ in range(10)]
    curve = faithfulness(None, None, motions, ("joy", "anger"), CPU)
    assert curve["area"] > 0.1
    assert curve["by_weight"][0] == curve["at_random"][0] > 0.5
    assert curve["by_weight"][-1] == curve["at_random"][-1] == pytest.approx(0.5)


def test_a_recording_has_a_weight_per_joint_and_per_moment(small_world, recognition_run):
    run = load(recognition_run, None, CPU, torch.float32)
    encoded = encode_corpora(run.encoder, small_world.data, ("egbm",), "cpu")[0]
    windows = encoded.windows_of_clips([0])
    starts = encoded.windows["start"][windows].tolist()
    result = attribute_recording(
        run.model, run.prompts, [encoded.motion(window) for window in windows], starts, encoded.corpus.layout,
        encoded.corpus.frames_per_second, encoded.corpus.emotions, encoded.emotion(0), CPU,
    )  # fmt: skip
    assert tuple(result.joints) == encoded.corpus.layout.joint_names
    assert len(result.moments) == len(result.seconds)
    assert list(result.seconds) == sorted(set(result.seconds))
    assert max(result.seconds) < int(encoded.corpus.clips["frames"][0]) / 30
    assert any(weight != 0 for weight in result.moments)
