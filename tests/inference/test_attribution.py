"""Weights of tokens: exact in a model whose rule is known, and what the answer rests on."""

import pytest
import torch

from emotion_llm.inference import attribution
from emotion_llm.inference.attribution import attribute, over_recording
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


def test_a_recording_has_a_weight_per_joint_and_per_moment(small_world, recognition_run):
    run = load(recognition_run, None, CPU, torch.float32)
    encoded = encode_corpora(run.encoder, small_world.data, ("egbm",), "cpu")[0]
    windows = encoded.windows_of_clips([0])
    starts = encoded.windows["start"][windows].tolist()
    motions = [encoded.motion(window) for window in windows]
    weights = [attribute(run.model, run.prompts, motion, encoded.corpus.emotions, encoded.emotion(0), CPU) for motion in motions]
    result = over_recording(weights, starts, encoded.corpus.layout, encoded.corpus.frames_per_second)
    assert tuple(result.joints) == encoded.corpus.layout.joint_names
    assert len(result.moments) == len(result.seconds)
    assert list(result.seconds) == sorted(set(result.seconds))
    assert max(result.seconds) < int(encoded.corpus.clips["frames"][0]) / 30
    assert any(weight != 0 for weight in result.moments)
