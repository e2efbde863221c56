"""Which clips train a model and which are held out to test it.

Corpus, seed  ->  Split (clip indices of both sides, hash)

Splits are over clips, never over windows of a clip. Clips that hold the same movement (duplicates in the source)
are always on the same side: a copy in the training set would give the answer away.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from emotion_llm.corpus.store import Corpus
from emotion_llm.runtime.errors import UserError


@dataclass(frozen=True)
class Split:
    """The two sides of one corpus."""

    kind: str
    """'random' or 'leave-actors-out'."""
    seed: int
    fold: int
    """Which of the `folds` of a leave-actors-out split is held out; 0 for a random split."""
    train: tuple[int, ...]
    """Clip indices, ascending."""
    held_out: tuple[int, ...]
    """Clip indices, ascending; none of them in `train`."""
    split_hash: str
    """Hash of kind, seed, fold and the clip names of both sides: two splits with one hash are the same split."""


def random_split(corpus: Corpus, seed: int, held_out_fraction: float = 0.2) -> Split:
    """A random share of the clips held out (paper: 4:1).

    Raises:
        UserError: a share that leaves one side empty.
    """
    if not 0 < held_out_fraction < 1:
        raise UserError(f"held-out share {held_out_fraction}: give a share between 0 and 1, for example 0.2")
    movements = np.asarray(corpus.clips["movement"])
    _, movement_of_clip, clips_of_movement = np.unique(movements, return_inverse=True, return_counts=True)
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(clips_of_movement))
    held_out_clips = np.cumsum(clips_of_movement[order]) - clips_of_movement[order]  # clips held out before this movement's turn
    held_out = np.isin(movement_of_clip, order[held_out_clips < round(held_out_fraction * len(corpus))])
    return _split(corpus, "random", seed, 0, held_out)


def leave_actors_out(corpus: Corpus, fold: int, folds: int, seed: int) -> Split:
    """All clips of one fold's actors held out; over all folds every actor is held out once.

    The actors are shuffled by the seed and dealt out, each to the fold that has the fewest clips so far.

    Raises:
        UserError: a corpus that does not say who acts, fewer actors than folds, or no such fold.
    """
    actors = np.asarray(corpus.clips["actor"])
    unnamed = int((actors < 0).sum())
    if unnamed:
        example = str(corpus.names[int(np.argmax(actors < 0))])
        raise UserError(
            f"corpus '{corpus.name}': {unnamed} of {len(corpus)} clips do not say who acts (for example {example}), so actors cannot be "
            "left out; use a random split, or name the actors in the corpus definition"
        )
    if not 2 <= folds <= len(corpus.actors):
        raise UserError(f"corpus '{corpus.name}': {folds} folds over {len(corpus.actors)} actors; choose from 2 to {len(corpus.actors)}")
    if not 0 <= fold < folds:
        raise UserError(f"fold {fold}: there are folds 0 to {folds - 1}")
    clips_of_actor = np.bincount(actors, minlength=len(corpus.actors))
    clips_of_fold, fold_of_actor = np.zeros(folds, int), np.zeros(len(corpus.actors), int)
    for actor in np.random.Generator(np.random.Philox(seed)).permutation(len(corpus.actors)):
        fold_of_actor[actor] = np.argmin(clips_of_fold)
        clips_of_fold[fold_of_actor[actor]] += clips_of_actor[actor]
    return _split(corpus, "leave-actors-out", seed, fold, fold_of_actor[actors] == fold)


def _split(corpus: Corpus, kind: str, seed: int, fold: int, held_out: np.ndarray) -> Split:
    """held_out: (clips,) bool."""
    sides = [tuple(np.flatnonzero(side).tolist()) for side in (~held_out, held_out)]
    if not all(sides):
        raise UserError(
            f"corpus '{corpus.name}': a {kind} split of {len(corpus)} clips leaves one side empty; import more, or hold out another share"
        )
    names = [[str(corpus.names[index]) for index in side] for side in sides]
    split_hash = hashlib.sha256(json.dumps([kind, seed, fold, *names]).encode()).hexdigest()
    return Split(kind, seed, fold, *sides, split_hash)
