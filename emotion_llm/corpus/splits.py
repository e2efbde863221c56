"""Which clips train a model and which are held out to test it.

Corpus, SplitSettings  ->  Split (clip indices of both sides, hash)

Splits are over clips, never over windows of a clip. Of a random split, clips that hold the same movement (duplicates in the
source) are always on the same side: a copy in the training set would give the answer away.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass

from emotion_llm.corpus.store import Corpus
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import STRICT


@dataclass(frozen=True)
class Split:
    """The two sides of one corpus."""

    train: tuple[int, ...]  # Clip indices, ascending
    held_out: tuple[int, ...]  # Clip indices, ascending; none of them in `train`
    split_hash: str  # Hash of kind, seed, fold and the clip names of both sides: two splits with one hash are the same split


@validated_dataclass(frozen=True, config=STRICT)
class SplitSettings:
    """Which clips are held out; decided once, by the encoder's pre-training, for all later stages."""

    kind: Literal["random", "leave-actors-out", "leave-actions-out"] = "random"
    """'random' (paper); 'leave-actors-out', because a random split lets a model recognise the performer; or 'leave-actions-out',
    which tests emotions in actions that were never trained on."""
    seed: int = 0  # Decides which clips, or which actors or actions, go together
    held_out_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Random split only: fraction of the clips held out (paper: 4:1)."""
    fold: Annotated[int, Field(ge=0)] = 0  # Leave-out splits only: which fold is held out
    folds: Annotated[int, Field(ge=2)] = 5  # Leave-out splits only: number of folds (our choice)

    def of(self, corpus: Corpus) -> Split:
        """The split of a corpus. Raises UserError: the corpus does not allow this split."""
        if self.kind == "random":
            return random_split(corpus, self.seed, self.held_out_fraction)
        return leave_out(corpus, "actor" if self.kind == "leave-actors-out" else "action", self.fold, self.folds, self.seed)


def random_split(corpus: Corpus, seed: int, held_out_fraction: float = 0.2) -> Split:
    """A random fraction of the clips held out (paper: 4:1). Raises UserError: one side would be empty."""
    movements = np.asarray(corpus.clips["movement"])
    _, movement_of_clip, clips_of_movement = np.unique(movements, return_inverse=True, return_counts=True)
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(clips_of_movement))
    held_out_clips = np.cumsum(clips_of_movement[order]) - clips_of_movement[order]  # clips held out before this movement's turn
    held_out = np.isin(movement_of_clip, order[held_out_clips < round(held_out_fraction * len(corpus))])
    return _split(corpus, "random", seed, 0, held_out)


def leave_out(corpus: Corpus, label: Literal["actor", "action"], fold: int, folds: int, seed: int) -> Split:
    """All clips of one fold's actors (or actions) held out; over all folds each of them is held out once.

    They are shuffled by the seed and dealt out, each to the fold that has the fewest clips so far.

    Raises:
        UserError: clips without that label, fewer actors (or actions) than folds, or no such fold.
    """
    labels, count = np.asarray(corpus.clips[label]), len(corpus.actors if label == "actor" else corpus.actions)
    unnamed = int((labels < 0).sum())
    if unnamed:
        example = str(corpus.names[int(np.argmax(labels < 0))])
        raise UserError(
            f"corpus '{corpus.name}': {unnamed} of {len(corpus)} clips have no {label} (for example {example}), so {label}s cannot be "
            f"left out; use a random split, or name the {label}s in the corpus definition"
        )
    if not 2 <= folds <= count:
        raise UserError(f"corpus '{corpus.name}': {folds} folds over {count} {label}s; choose from 2 to {count}")
    if not 0 <= fold < folds:
        raise UserError(f"fold {fold}: there are folds 0 to {folds - 1}")
    clips_of_label = np.bincount(labels, minlength=count)
    clips_of_fold, fold_of_label = np.zeros(folds, int), np.zeros(count, int)
    for index in np.random.Generator(np.random.Philox(seed)).permutation(count):
        fold_of_label[index] = np.argmin(clips_of_fold)
        clips_of_fold[fold_of_label[index]] += clips_of_label[index]
    return _split(corpus, f"leave-{label}s-out", seed, fold, fold_of_label[labels] == fold)


def _split(corpus: Corpus, kind: str, seed: int, fold: int, held_out: np.ndarray) -> Split:
    """held_out: (clips,) bool."""
    train, test = (tuple(np.flatnonzero(side).tolist()) for side in (~held_out, held_out))
    if not train or not test:
        raise UserError(
            f"corpus '{corpus.name}': a {kind} split of {len(corpus)} clips leaves one side empty; import more, or hold out another fraction"
        )
    names = [[str(corpus.names[index]) for index in side] for side in (train, test)]
    split_hash = hashlib.sha256(json.dumps([kind, seed, fold, *names]).encode()).hexdigest()
    return Split(train, test, split_hash)
