"""What a step learns from, and who computes which part of it.

seed, step  ->  the step's global batch of items  ->  this process's micro-batches

The global batch depends on the seed and the step alone: plain draws, the same at any number of processes, with nothing to save or restore.
Only its division into micro-batches looks at lengths: neighbours in length go together, so that all processes finish a micro-step at the
same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emotion_llm.corpus.sampling import MixtureSampler
from emotion_llm.language.packed import Example
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus
from emotion_llm.training.engine import ProcessShare
from emotion_llm.training.settings import FinetuneSettings


@dataclass(frozen=True)
class Item:
    """One thing to learn: a window of motion with its emotion, or with one of its descriptions."""

    corpus: int
    window: int
    text: str | None
    """A description; None: the emotion is to be named."""


class TrainingData:
    """The training side of the encoded corpora, as questions and answers."""

    def __init__(self, corpora: Sequence[EncodedCorpus], prompts: PromptWriter, settings: FinetuneSettings) -> None:
        """
        Raises:
            UserError: the description stage without a single description.
        """
        self.corpora, self.prompts, self.settings = corpora, prompts, settings
        self._recognition = [
            [Item(index, int(window), None) for window in encoded.windows_of_clips(encoded.split.train)]
            for index, encoded in enumerate(corpora)
        ]
        described = [
            [
                Item(index, int(window), text)
                for clip in encoded.split.train
                for text in encoded.corpus.clip(clip).texts
                for window in encoded.windows_of_clips([clip])
            ]
            for index, encoded in enumerate(corpora)
        ]
        self._description = [items for items in described if items]  # most corpora have none
        self._recognition_sampler = self._sampler(self._recognition, settings.seed)
        if settings.stage == "description":
            if not self._description:
                raise UserError(
                    f"{settings.data}: none of the corpora {', '.join(settings.corpora)} has descriptions to learn from; "
                    "name a descriptions table in the corpus definition and import again"
                )
            self._description_sampler = self._sampler(self._description, settings.seed + 1)

    def _sampler(self, items: list[list[Item]], seed: int) -> MixtureSampler:
        labels = [
            np.array([self.corpora[item.corpus].emotion_index(item.window) for item in of_corpus], dtype=np.int64) for of_corpus in items
        ]
        sampling = self.settings.sampling
        return MixtureSampler(labels, sampling.weighting, sampling.temperature, sampling.label_balanced, seed)

    def __len__(self) -> int:
        """Items of the stage: one epoch."""
        return sum(map(len, self._recognition if self.settings.stage == "recognition" else self._description))

    def draw(self, step: int) -> list[Item]:
        """The global batch of a step."""
        count = self.settings.global_batch
        if self.settings.stage == "recognition":
            return _take(self._recognition, self._recognition_sampler, step, count)
        rehearsed = round(count * self.settings.rehearsal)
        return _take(self._description, self._description_sampler, step, count - rehearsed) + (
            _take(self._recognition, self._recognition_sampler, step, rehearsed) if rehearsed else []
        )

    def example(self, item: Item) -> Example:
        """The item with its prompt, its motion's features and its one answer."""
        encoded = self.corpora[item.corpus]
        emotion = encoded.emotion(item.window)
        prompt = self.prompts.recognition() if item.text is None else self.prompts.description(emotion)
        return Example(prompt, encoded.motion(item.window), (self.prompts.answer(emotion if item.text is None else item.text),))

    def length(self, item: Item) -> int:
        """Tokens of the item's own in a packed row."""
        encoded = self.corpora[item.corpus]
        return encoded.skeleton_tokens(item.window) + self.answer_tokens(item)

    def answer_tokens(self, item: Item) -> int:
        """Tokens that carry loss."""
        return len(self.prompts.answer(self.corpora[item.corpus].emotion(item.window) if item.text is None else item.text))


def _take(items: list[list[Item]], sampler: MixtureSampler, step: int, count: int) -> list[Item]:
    corpus_index, item_index = sampler.draw(step, count)
    return [items[corpus][item] for corpus, item in zip(corpus_index.tolist(), item_index.tolist(), strict=True)]


def micro_batches(items: Sequence[Item], lengths: Sequence[int], share: ProcessShare, rank: int) -> list[list[Item]]:
    """This process's micro-batches of a step, one per micro-step.

    The batch is sorted by length and cut into blocks; in each micro-step the processes take neighbouring blocks.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    per_micro_step = share.processes * share.micro_batch
    starts = [micro_step * per_micro_step + rank * share.micro_batch for micro_step in range(share.accumulation)]
    return [[items[index] for index in order[start : start + share.micro_batch]] for start in starts]
