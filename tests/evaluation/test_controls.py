"""Controls: answers that cannot come from the clip's own movement; the actor in the embedding."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from emotion_llm.evaluation.baselines import _partners, control_scores, identity_probe
from emotion_llm.inference.trained_model import load
from emotion_llm.language.label_scoring import score_clips
from emotion_llm.pretraining.trained_encoder import load_encoder
from emotion_llm.skeleton_tokens.encoded_corpus import encode_corpora

CPU = torch.device("cpu")


@pytest.fixture
def encoded(small_world):
    return encode_corpora(load_encoder(small_world.encoder), small_world.data, ("egbm",), "cpu")[0]


def test_the_controls_answer_every_clip_without_its_movement(small_world, recognition_run, encoded):
    run = load(recognition_run, None, CPU, torch.float32)
    clips = encoded.split.held_out
    scores = control_scores(run, encoded, clips)
    assert scores.keys() == {"shuffled_motion", "masked_motion", "text_prior"}
    prior = scores["text_prior"].probabilities
    assert torch.allclose(prior, prior[:1].expand_as(prior), atol=1e-5)  # the question is all that there is
    plain = score_clips(run.model, run.prompts, encoded, clips, CPU).probabilities
    for control in scores.values():
        torch.testing.assert_close(control.probabilities.sum(1), torch.ones(len(clips), dtype=torch.float64))
        assert not torch.allclose(control.probabilities, plain, atol=1e-6)


def test_the_controls_of_a_run_on_words_read_another_clips_words_or_none(small_world, recognition_run, encoded):
    run = load(recognition_run, None, CPU, torch.float32)
    clips = encoded.split.held_out
    told = replace(encoded, words=tuple(f"speed {clip}" for clip in range(len(encoded.corpus))))
    scores = control_scores(run, told, clips)
    silent = control_scores(run, encoded, clips)["text_prior"].probabilities
    for control in ("masked_motion", "text_prior"):
        torch.testing.assert_close(scores[control].probabilities, silent, rtol=1e-4, atol=1e-6)
    of_clip = dict(zip(clips, score_clips(run.model, run.prompts, told, clips, CPU).probabilities, strict=True))
    others = torch.stack([of_clip[_partners(clips)[clip]] for clip in clips])
    torch.testing.assert_close(scores["shuffled_motion"].probabilities, others, rtol=1e-4, atol=1e-6)


def test_no_clip_is_its_own_partner():
    partners = _partners(range(5, 30))
    assert sorted(partners) == sorted(partners.values()) == list(range(5, 30))
    assert all(clip != partner for clip, partner in partners.items())


def test_the_identity_probe_finds_an_actor_who_is_in_the_features_and_none_who_is_not(encoded):
    def probe(signal: float):
        actors = np.asarray(encoded.corpus.clips["actor"])
        features = np.random.default_rng(0).normal(size=encoded.features.shape)
        for window, row in zip(encoded.windows, encoded.windows["row"], strict=True):
            features[row, 0] += signal * actors[window["clip"]]
        changed = replace(encoded)
        changed.__dict__["_views"] = [features]  # fills the cached property
        return identity_probe(changed)

    known, unknown = probe(20.0), probe(0.0)
    assert known["accuracy"] > 0.8 > unknown["accuracy"]
    assert 0 < known["chance"] < 0.8
