"""Baselines: fitted on the training clips only, the same each time, and able to learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from emotion_llm.corpus.splits import random_split
from emotion_llm.corpus.store import open_corpus
from emotion_llm.evaluation.baselines import baseline_scores, motion_baselines, position_features
from emotion_llm.pretraining.trained_encoder import load_encoder
from emotion_llm.skeleton_tokens.encoded_corpus import encode_corpora


@pytest.fixture(scope="module")
def encoded(small_world):
    return encode_corpora(load_encoder(small_world.encoder), small_world.data, ("egbm",), "cpu")[0]


@pytest.fixture(scope="module")
def scores(encoded):
    return baseline_scores(encoded, encoded.split.held_out)


def test_every_baseline_answers_the_clips_asked_with_probabilities(encoded, scores):
    expected = {"majority", "kinematic_logistic", "kinematic_forest", "positions_logistic", "positions_forest", "encoder_probe"}
    assert scores.keys() == expected
    for baseline in scores.values():
        assert baseline.clips == encoded.split.held_out
        assert baseline.emotions == encoded.corpus.emotions
        torch.testing.assert_close(baseline.probabilities.sum(1), torch.ones(len(baseline.clips), dtype=torch.float64))
        assert [baseline.emotions[truth] for truth in baseline.truth] == [encoded.corpus.clip(clip).emotion for clip in baseline.clips]


def test_baselines_give_the_same_numbers_each_time(encoded, scores):
    again = baseline_scores(encoded, encoded.split.held_out)
    for name, baseline in scores.items():
        assert torch.equal(baseline.probabilities, again[name].probabilities)


def test_training_clips_are_learnt_and_held_out_clips_never_seen(encoded):
    """A forest knows its training clips by heart; the held-out clips' labels make no difference to it."""
    assert baseline_scores(encoded, encoded.split.train)["kinematic_forest"].accuracy == 1
    clips = np.array(encoded.corpus.clips)
    clips["emotion"][list(encoded.split.held_out)] = 0
    relabelled = replace(encoded.corpus)
    relabelled.__dict__["clips"] = clips  # fills the cached property
    before, after = (motion_baselines(corpus, encoded.split, encoded.split.held_out) for corpus in (encoded.corpus, relabelled))
    for name, baseline in before.items():
        assert torch.equal(baseline.probabilities, after[name].probabilities)


def test_an_emotion_without_training_clips_gets_probability_zero(small_world):
    corpus = open_corpus(small_world.data / "egbm")
    split = random_split(corpus, 0)
    missing = corpus.clips["emotion"][split.held_out[0]]
    train = tuple(clip for clip in range(len(corpus)) if corpus.clips["emotion"][clip] != missing)
    for baseline in motion_baselines(corpus, replace(split, train=train), split.held_out).values():
        assert (baseline.probabilities[:, int(missing)] == 0).all()
    one_emotion = tuple(clip for clip in train if corpus.clips["emotion"][clip] == corpus.clips["emotion"][train[0]])
    for baseline in motion_baselines(corpus, replace(split, train=one_emotion), split.held_out).values():
        assert (baseline.probabilities[:, int(corpus.clips["emotion"][train[0]])] == 1).all()


def test_position_features_are_means_deviations_and_speeds(small_world):
    corpus = open_corpus(small_world.data / "egbm")
    features, positions, joints = position_features(corpus)[0], corpus.positions(0), corpus.layout.joints
    assert features.shape == (7 * joints,)
    np.testing.assert_allclose(features[:3], positions[:, 0].mean(axis=0), rtol=1e-5, atol=1e-6)
    speed = np.linalg.norm(np.diff(positions[:, -1], axis=0), axis=1).mean() * corpus.frames_per_second
    assert features[-1] == pytest.approx(speed, rel=1e-4)
