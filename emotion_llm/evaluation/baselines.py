"""What answers have to beat on the same split, and controls that must fail.

corpus, split  ->  baseline name -> CorpusScores of the held-out clips

    majority               the most frequent emotion of the training clips
    kinematic_logistic     logistic regression on the kinematic descriptors
    kinematic_forest       random forest on the same
    positions_logistic     logistic regression on mean, standard deviation and mean speed of every joint
    positions_forest       random forest on the same
    encoder_probe          logistic regression on the encoder's semantic features

TrainedModel, held-out clips  ->  control name -> CorpusScores of the LLM alone: one that reads movement is near chance

    shuffled_motion        every clip is answered from another clip's movement
    masked_motion          every feature is the mean of the training features: the LLM sees that there is a motion, and how long
    text_prior             no skeleton token at all: what the LLM answers to the question alone

EncodedCorpus  ->  identity probe: how well a linear model reads the actor from the encoder's semantic features

Baselines are fitted on the training clips only and give the same numbers each time. Their settings are fixed, not tuned on any corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emotion_llm.corpus.splits import Split
from emotion_llm.corpus.store import Corpus
from emotion_llm.inference.trained_model import TrainedModel
from emotion_llm.kinematics.descriptors import describe
from emotion_llm.language.label_scoring import CorpusScores, score_clips
from emotion_llm.runtime.console import progress
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus
from emotion_llm.skeleton_tokens.unified import MotionFeatures

Result = TypeVar("Result")
PROBE_FOLDS = 5
TREES = 500
ITERATIONS = 5000
"""Of the logistic regression's solver, at most; scaled features need a few hundred."""


def baseline_scores(encoded: EncodedCorpus, clips: Sequence[int]) -> dict[str, CorpusScores]:
    """Every baseline on these clips. Every rank must call it."""
    return motion_baselines(encoded.corpus, encoded.split, clips) | {"encoder_probe": encoder_probe(encoded, clips)}


def encoder_probe(encoded: EncodedCorpus, clips: Sequence[int]) -> CorpusScores:
    """Logistic regression on the encoder's semantic features. Every rank must call it."""
    return _from_first_rank(lambda: _fit(_logistic(), semantic_features(encoded), encoded.corpus, encoded.split, clips))


def motion_baselines(corpus: Corpus, split: Split, clips: Sequence[int]) -> dict[str, CorpusScores]:
    """The baselines that need no encoder. Every rank must call it."""
    return _from_first_rank(lambda: _motion_baselines(corpus, split, clips))


def _from_first_rank(compute: Callable[[], Result]) -> Result:
    return gather_over_processes(compute() if is_first_rank() else None)[0]


def _motion_baselines(corpus: Corpus, split: Split, clips: Sequence[int]) -> dict[str, CorpusScores]:
    features = {"kinematic": kinematic_features(corpus), "positions": position_features(corpus)}
    scores = {"majority": _fit(DummyClassifier(strategy="prior"), features["kinematic"], corpus, split, clips)}
    for name, values in features.items():
        scores[f"{name}_logistic"] = _fit(_logistic(), values, corpus, split, clips)
        scores[f"{name}_forest"] = _fit(RandomForestClassifier(TREES, random_state=0), values, corpus, split, clips)
    return scores


def kinematic_features(corpus: Corpus) -> np.ndarray:
    """(clips, descriptors)"""
    every = progress(range(len(corpus)), f"describing {corpus.name}", "clip")
    return np.stack([describe(corpus.motion(clip)) for clip in every])


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
    rows = [encoded.semantic_rows([clip])[:, : encoded.width].mean(axis=0) for clip in range(len(encoded.corpus))]
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


def control_scores(trained: TrainedModel, encoded: EncodedCorpus, clips: Sequence[int]) -> dict[str, CorpusScores]:
    """The controls' answers to these clips. Every rank must call it."""
    partner = _partners(clips)
    mean = trained.model.skeleton_tokenizer.feature_mean.cpu()  # (granularity, C + Q)

    def of_another_clip(window: int) -> MotionFeatures:
        clip = int(encoded.windows["clip"][window])
        own, others = encoded.windows_of_clips([clip]), encoded.windows_of_clips([partner[clip]])
        return encoded.motion(int(others[(window - own[0]) % len(others)]))

    def masked(window: int) -> MotionFeatures:
        motion = encoded.motion(window)
        return replace(motion, rows=mean[motion.granularities], words="")

    controls = {
        "shuffled_motion": of_another_clip,
        "masked_motion": masked,
        "text_prior": lambda window: replace(encoded.motion(window).keep([]), words=""),
    }
    return {name: score_clips(trained.model, trained.prompts, encoded, clips, trained.device, motion) for name, motion in controls.items()}


def _partners(clips: Sequence[int]) -> dict[int, int]:
    """Another clip for every clip, the same each time; a single clip is its own."""
    order = np.random.default_rng(0).permutation(clips).tolist()
    return dict(zip(order, order[1:] + order[:1], strict=True))


def identity_probe(encoded: EncodedCorpus) -> dict[str, Any] | None:
    """Accuracy of logistic regression that reads the actor from a clip's semantic feature, cross-validated over all clips, and how often
    the most frequent actor is right. None where fewer than two actors have PROBE_FOLDS clips.

    The nearer to chance, the less the embedding tells who moves.
    """
    actors = np.asarray(encoded.corpus.clips["actor"]).astype(int)
    frequent = [actor for actor in np.unique(actors[actors >= 0]) if (actors == actor).sum() >= PROBE_FOLDS]
    chosen = np.isin(actors, frequent)
    if len(frequent) < 2:
        return None
    features, folds = semantic_features(encoded)[chosen], StratifiedKFold(PROBE_FOLDS, shuffle=True, random_state=0)
    models = _logistic(), DummyClassifier()
    accuracy, chance = (float((cross_val_predict(model, features, actors[chosen], cv=folds) == actors[chosen]).mean()) for model in models)
    return {"accuracy": accuracy, "chance": chance, "actors": len(frequent), "clips": int(chosen.sum())}
