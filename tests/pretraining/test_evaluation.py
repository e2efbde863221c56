"""Held-out scores and the features shown in TensorBoard: every clip once, among any number of processes, with what is known of it."""

import numpy as np
import pytest
import torch

from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.corpus.windows import windows
from emotion_llm.pretraining import evaluation
from emotion_llm.pretraining.data import PretrainingData
from emotion_llm.pretraining.model import PretrainingModel, build_model
from emotion_llm.pretraining.settings import PretrainSettings
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings
from emotion_llm.skeleton_encoder.pooling import pooled_rows


@pytest.fixture
def data(two_corpora) -> PretrainingData:
    splits = [SplitSettings().of(corpus) for corpus in two_corpora]
    return PretrainingData(two_corpora, splits, window_frames=16, mirror_probability=0.5, seed=3)


@pytest.fixture
def model(data) -> PretrainingModel:
    return build_model(PretrainSettings(encoder=CtrGcnSettings((4, 8), (2, 2)), contrastive_weight=0), data)


def test_rows_of_the_confusion_are_the_true_emotions_and_columns_the_predicted_ones(data, model):
    for corpus, split in zip(data.corpora, data.splits, strict=True):
        always = corpus.emotions[-1]
        with torch.no_grad():  # whatever it sees
            model.classifier.head.weight.zero_()
            model.classifier.head.bias.zero_()[data.emotions.index(always)] = 9.0
        confusion = evaluation.held_out_confusion(model, data)[corpus.name]
        true = np.bincount(corpus.clips["emotion"][list(split.held_out)].astype(int), minlength=len(corpus.emotions))
        assert confusion[:, corpus.emotions.index(always)].tolist() == true.tolist()
        assert confusion.sum() == len(split.held_out)
        summary = evaluation.summary(confusion)
        assert summary["chance"] == pytest.approx(1 / len(corpus.emotions)) and summary["clips"] == len(split.held_out)
        assert summary["accuracy"] == pytest.approx(true[-1] / true.sum())


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_processes_share_the_clips_and_leave_none_out(data, model, monkeypatch, processes):
    monkeypatch.setattr(evaluation, "process_count", lambda: processes)
    met = []
    for rank in range(processes):
        monkeypatch.setattr(evaluation, "process_rank", lambda rank=rank: rank)
        met += [clip for clip, _ in evaluation._own_windows(model, data, 0, data.splits[0].held_out)]
    corpus = data.corpora[0]
    assert sorted(met) == sorted(clip for clip in data.splits[0].held_out for _ in windows(int(corpus.clips["frames"][clip]), 16))


def test_every_clip_is_shown_with_its_mean_feature_and_what_is_known_of_it(data, model):
    features, columns = evaluation.semantic_features(model, data)
    assert len(features) == sum(map(len, data.corpora))
    at = len(data.corpora[0]) + 3  # the fourth clip of the second corpus
    corpus, split = data.corpora[1], data.splits[1]
    positions = corpus.positions(3)
    parts = [positions[start : start + frames] for start, frames in windows(len(positions), 16)]
    rows = dict(pooled_rows(model.encoder, parts, data.layout_index[1], data.frames_per_second))
    torch.testing.assert_close(
        features[at], torch.stack([row[0, : model.encoder.width].double() for row in rows.values()]).mean(0), rtol=1e-4, atol=1e-5
    )
    about = corpus.clip(3)
    assert {name: values[at] for name, values in columns.items()} == {
        "emotion": about.emotion, "corpus": corpus.name, "actor": about.actor or "unknown",
        "part": "held out" if 3 in split.held_out else "training", "clip": about.name,
    }  # fmt: skip
    assert columns["part"].count("held out") == sum(len(split.held_out) for split in data.splits)
