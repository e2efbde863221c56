"""The fitted classifier: the best one of its kind, among each corpus's own emotions, the same at any number of processes."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.pretraining.classifier import fit_classifier, logistic_regression, training_features
from emotion_llm.pretraining.data import PretrainingData
from emotion_llm.pretraining.model import build_model
from emotion_llm.pretraining.settings import PretrainSettings
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings


@pytest.fixture
def data(two_corpora) -> PretrainingData:
    splits = [SplitSettings().of(corpus) for corpus in two_corpora]
    return PretrainingData(two_corpora, splits, window_frames=16, mirror_probability=0.5, seed=3)


def test_it_is_the_logistic_regression_of_scikit_learn_where_all_emotions_are_candidates():
    random = np.random.default_rng(0)
    features, emotion = random.normal(size=(80, 5)) * (1, 10, 0.1, 1, 3) + 2, random.integers(0, 3, 80)
    weight, bias = logistic_regression(torch.from_numpy(features), torch.from_numpy(emotion), torch.ones(80, 3, dtype=torch.bool), 4.0)
    scaler = StandardScaler().fit(features)
    reference = LogisticRegression(C=1 / 4.0, tol=1e-10, max_iter=5000).fit(scaler.transform(features), emotion)
    ours = torch.softmax(torch.from_numpy(features) @ weight.T + bias, dim=1)
    np.testing.assert_allclose(ours, reference.predict_proba(scaler.transform(features)), atol=1e-4)


def test_an_emotion_of_another_corpus_is_no_alternative():
    features, emotion = torch.randn(60, 4, dtype=torch.float64), torch.arange(60) % 3
    candidates = torch.ones(60, 4, dtype=torch.bool)
    candidates[:, 3] = False
    weight, bias = logistic_regression(features, emotion, candidates)
    assert (weight[3] == 0).all() and bias[3] == 0


def test_a_feature_without_variation_does_no_harm():
    features = torch.cat([torch.randn(30, 2, dtype=torch.float64), torch.full((30, 1), 7.0, dtype=torch.float64)], dim=1)
    weight, bias = logistic_regression(features, torch.arange(30) % 2, torch.ones(30, 2, dtype=torch.bool))
    assert weight.isfinite().all() and bias.isfinite().all() and (weight[:, 2] == 0).all()


def test_it_learns_from_training_windows_and_their_mirror_images_alone(data):
    model = build_model(PretrainSettings(encoder=CtrGcnSettings((4, 8), (2, 2)), contrastive_weight=0), data)
    semantic, emotion, candidates = training_features(model, data)
    assert len(semantic) == len(emotion) == len(candidates) == 2 * len(data.items)
    assert candidates[torch.arange(len(emotion)), emotion].all()
    plain = PretrainingData(data.corpora, data.splits, window_frames=16, mirror_probability=0, seed=3)
    once, emotions, _ = training_features(model, plain)
    of_first = int((data.items[:, 0] == 0).sum())
    torch.testing.assert_close(semantic[:of_first], once[:of_first], rtol=1e-4, atol=1e-5)
    assert torch.equal(emotion[:of_first], emotions[:of_first])
    assert not semantic[of_first : 2 * of_first].allclose(once[:of_first], rtol=1e-3)
    expected = [
        data.emotions.index(corpus.emotions[corpus.clips["emotion"][clip]])
        for index, clip, _ in data.items.tolist()
        for corpus in (data.corpora[index],)
    ]
    assert emotions.tolist() == expected


def test_it_lowers_the_loss_on_its_examples(data):
    model = build_model(PretrainSettings(encoder=CtrGcnSettings((4, 8), (2, 2)), contrastive_weight=0), data)
    semantic, emotion, candidates = training_features(model, data)

    def loss() -> float:
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(model.classifier(semantic.float(), candidates), emotion))

    before = loss()
    fit_classifier(model, data)
    assert loss() < before
