"""What simple models reach on the same split: the results that an encoder and an LLM have to beat.

corpus, split  ->  baseline name -> CorpusScores of the held-out clips

    majority               the most frequent emotion of the training clips
    kinematic_logistic     logistic regression on the kinematic descriptors
    kinematic_forest       random forest on the same
    positions_logistic     logistic regression on mean, standard deviation and mean speed of every joint
    positions_forest       random forest on the same
    encoder_probe          logistic regression on the encoder's semantic features

All are fitted on the training clips only and give the same numbers each time. Their settings are fixed, not tuned on any corpus.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emotion_llm.corpus.splits import Split
from emotion_llm.corpus.store import Corpus
from emotion_llm.kinematics.descriptors import describe
from emotion_llm.language.label_scoring import CorpusScores
from emotion_llm.motion.motion import Motion
from emotion_llm.runtime.console import progress
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus

TREES = 500
ITERATIONS = 5000
"""Of the logistic regression's solver, at most; scaled features need a few hundred."""


def baseline_scores(encoded: EncodedCorpus, clips: Sequence[int]) -> dict[str, CorpusScores]:
    """Every baseline on these clips. The first rank computes, every rank gets the scores and must call it."""
    scores = None
    if is_first_rank():
        scores = motion_baselines(encoded.corpus, encoded.split, clips)
        scores["encoder_probe"] = encoder_probe(encoded, clips)
    return gather_over_processes(scores)[0]


def encoder_probe(encoded: EncodedCorpus, clips: Sequence[int]) -> CorpusScores:
    """Logistic regression on the encoder's semantic features."""
    return _fit(_logistic(), semantic_features(encoded), encoded.corpus, encoded.split, clips)


def motion_baselines(corpus: Corpus, split: Split, clips: Sequence[int]) -> dict[str, CorpusScores]:
    """The baselines that need no encoder."""
    features = {"kinematic": kinematic_features(corpus), "positions": position_features(corpus)}
    scores = {"majority": _fit(DummyClassifier(strategy="prior"), features["kinematic"], corpus, split, clips)}
    for name, values in features.items():
        scores[f"{name}_logistic"] = _fit(_logistic(), values, corpus, split, clips)
        scores[f"{name}_forest"] = _fit(RandomForestClassifier(TREES, random_state=0), values, corpus, split, clips)
    return scores


def kinematic_features(corpus: Corpus) -> np.ndarray:
    """(clips, descriptors)"""
    every = progress(range(len(corpus)), f"describing {corpus.name}", "clip", total=len(corpus))
    return np.stack([describe(Motion(corpus.layout, corpus.positions(clip), corpus.frames_per_second)) for clip in every])


def position_features(corpus: Corpus) -> np.ndarray:
    """Mean and standard deviation of every joint's position (metres) and its mean speed (m/s), (clips, 7 V)."""
    rows = []
    for clip in range(len(corpus)):
        positions = np.asarray(corpus.positions(clip), dtype=float)  # (T, V, 3)
        steps = np.linalg.norm(np.diff(positions, axis=0), axis=2)  # (T - 1, V) metres per frame
        speeds = steps.mean(axis=0) * corpus.frames_per_second if len(steps) else np.zeros(positions.shape[1])
        rows.append(np.concatenate([positions.mean(axis=0).ravel(), positions.std(axis=0).ravel(), speeds]))
    return np.stack(rows)


def semantic_features(encoded: EncodedCorpus) -> np.ndarray:
    """The encoder's semantic feature of every clip, the mean over its windows, (clips, C)."""
    rows = [encoded.features[encoded.windows["row"][encoded.windows_of_clips([clip])]].mean(axis=0) for clip in range(len(encoded.corpus))]
    return np.stack(rows).astype(float)


def _logistic() -> ClassifierMixin:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS))


def _fit(model: ClassifierMixin, features: np.ndarray, corpus: Corpus, split: Split, clips: Sequence[int]) -> CorpusScores:
    """Fits on the training clips and scores others; an emotion without training clips gets probability 0."""
    emotions, train = np.asarray(corpus.clips["emotion"]).astype(int), list(split.train)
    if len(np.unique(emotions[train])) < 2:  # nothing to tell apart
        model = DummyClassifier(strategy="prior")
    model.fit(features[train], emotions[train])
    probabilities = np.zeros((len(clips), len(corpus.emotions)))
    probabilities[:, model.classes_] = model.predict_proba(features[list(clips)])
    return CorpusScores(corpus.emotions, tuple(clips), torch.from_numpy(probabilities), torch.from_numpy(emotions[list(clips)]))
