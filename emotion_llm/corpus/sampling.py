"""Which items of which corpora are in a step's batch.

labels of every corpus's items, weighting, seed  ->  draw(step, count)  ->  corpus index (count,), item index (count,)

A draw depends only on the seed and the step: there is no state between steps, so a resumed run continues exactly, and every
process draws the whole batch and takes its own part of it, whatever the number of processes. Draws are with replacement.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from emotion_llm.runtime.errors import UserError

Weighting = Literal["size", "equal", "temperature"]


@dataclass(frozen=True)
class MixtureSampler:
    """Draws items from several corpora.

    Raises:
        UserError: nothing to draw from, or a wrong setting.
    """

    label_of_item_per_corpus: tuple[np.ndarray, ...]  # per corpus: (items,) integer labels
    weighting: Weighting = "size"
    """How often each corpus is drawn from: 'size' in proportion to its items, 'equal' equally often, 'temperature' in
    proportion to items ** (1 / temperature), which lies between the two (our choice)."""
    temperature: float = 2.0
    """Only for the weighting of that name; 1 equals 'size', large values approach 'equal' (our choice)."""
    label_balanced: bool = False
    """True: within a corpus all labels are equally likely, however many items each has (our choice)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.label_of_item_per_corpus:
            raise UserError("no corpus to draw from; name at least one")
        for index, labels in enumerate(self.label_of_item_per_corpus):
            if len(labels) == 0:
                raise UserError(f"corpus {index} has no item to draw; remove it or import it again")

    @cached_property
    def corpus_weights(self) -> np.ndarray:
        """(corpora,) probability of drawing from each corpus."""
        sizes = np.array([len(labels) for labels in self.label_of_item_per_corpus], dtype=np.float64)
        exponent = {"size": 1.0, "equal": 0.0, "temperature": 1.0 / self.temperature}[self.weighting]
        weights = (sizes / sizes.max()) ** exponent
        return weights / weights.sum()

    @cached_property
    def _items(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Per corpus: (items,) item indices sorted by label; (labels that occur,) where each label starts there, and how many items it has."""
        items = []
        for labels in self.label_of_item_per_corpus:
            labels = np.asarray(labels) if self.label_balanced else np.zeros(len(labels), dtype=np.int64)
            _, first, count = np.unique(np.sort(labels), return_index=True, return_counts=True)
            items.append((np.argsort(labels, kind="stable"), first, count))
        return items

    def draw(self, step: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The items of one step: corpus index (count,), item index (count,); both int64."""
        if step < 0 or count < 1:
            raise ValueError(f"draw(step={step}, count={count}): steps start at 0, and a draw has at least one item")
        # The step is part of the counter-based generator's position, and raw bits do not depend on numpy's version.
        raw = np.random.Philox(key=self.seed, counter=[0, 0, step, 0]).random_raw(3 * count)
        chance = (raw >> np.uint64(11)).astype(np.float64).reshape(3, count) * 2.0**-53  # (3, count) in [0, 1)
        corpus_index = np.searchsorted(np.cumsum(self.corpus_weights)[:-1], chance[0], side="right")  # (count,)
        item_index = np.empty(count, dtype=np.int64)
        for corpus, (order, first, count_of_label) in enumerate(self._items):
            here = corpus_index == corpus
            label = (chance[1, here] * len(first)).astype(np.int64)
            place = first[label] + (chance[2, here] * count_of_label[label]).astype(np.int64)
            item_index[here] = order[place]
        return corpus_index, item_index
