"""Does the answer come from the movement, and does the embedding know who moves?

TrainedModel, held-out clips  ->  control name -> CorpusScores, reported like baselines

    shuffled_motion    every clip is answered from another clip's movement
    masked_motion      every feature is the mean of the training features: the LLM sees that there is a motion, and how long
    text_prior         no skeleton token at all: what the LLM answers to the question alone

A model that reads movement is near chance in all three.

EncodedCorpus  ->  identity probe: how well a linear model reads the actor from the encoder's semantic features
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emotion_llm.evaluation.baselines import ITERATIONS, semantic_features
from emotion_llm.inference.trained_model import TrainedModel
from emotion_llm.language.label_scoring import CorpusScores, score_clips
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus
from emotion_llm.skeleton_tokens.unified import MotionFeatures

PROBE_FOLDS = 5


def control_scores(trained: TrainedModel, encoded: EncodedCorpus, clips: Sequence[int], device: torch.device) -> dict[str, CorpusScores]:
    """The controls' answers to these clips. Every rank must call it."""
    partner = _partners(clips)
    mean = trained.model.skeleton_tokenizer.feature_mean.cpu()  # (granularity, C)

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
    return {name: score_clips(trained.model, trained.prompts, encoded, clips, device, motion) for name, motion in controls.items()}


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
    models = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS)), DummyClassifier()
    accuracy, chance = (float((cross_val_predict(model, features, actors[chosen], cv=folds) == actors[chosen]).mean()) for model in models)
    return {"accuracy": accuracy, "chance": chance, "actors": len(frequent), "clips": int(chosen.sum())}
