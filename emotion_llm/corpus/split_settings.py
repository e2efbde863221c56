"""How the corpora are split, as a setting.

SplitSettings, Corpus  ->  Split
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from emotion_llm.corpus.splits import Split, leave_actors_out, random_split
from emotion_llm.corpus.store import Corpus


@dataclass(frozen=True)
class SplitSettings:
    """Which clips are held out; decided once, by the encoder's pre-training, for all stages after it."""

    kind: Literal["random", "leave-actors-out"] = "random"
    """'random' (paper), or 'leave-actors-out': a random split lets a model recognise the performer."""
    seed: int = 0
    """Decides which clips, or which actors, go together."""
    held_out_fraction: float = 0.2
    """Random split only: share of the clips held out (paper: 4:1)."""
    fold: int = 0
    """Leave-actors-out only: which fold is held out."""
    folds: int = 5
    """Leave-actors-out only: number of folds (our choice)."""

    def of(self, corpus: Corpus) -> Split:
        """The split of a corpus.

        Raises:
            UserError: a split that this corpus does not allow.
        """
        if self.kind == "random":
            return random_split(corpus, self.seed, self.held_out_fraction)
        return leave_actors_out(corpus, self.fold, self.folds, self.seed)
