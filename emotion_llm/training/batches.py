"""Training samples of a step, and their division into micro-batches and processes.

seed, step  ->  the step's global batch of items  ->  this process's micro-batches, packed into rows

The global batch depends only on seed and step: it is the same at any number of processes, and there is no sampler state to save. It is
sorted by length before it is divided, so that all processes finish a micro-step at about the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import chain, groupby

import numpy as np

from emotion_llm.corpus.sampling import MixtureSampler
from emotion_llm.language.packed import Example, PackedRow, pack
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus
from emotion_llm.training.efficiency import FlopCount
from emotion_llm.training.engine import ProcessShare
from emotion_llm.training.settings import FinetuneSettings


@dataclass(frozen=True)
class Item:
    """One training sample: a window of motion with its emotion, or a whole clip with one of its descriptions."""

    corpus: int
    window: int
    """Of a whole clip the first one."""
    text: str | None
    """A description; None: the answer is the emotion."""
    view: int = 0
    """Which of the encoded views; a text, which may speak of left and right, belongs to the clip as it is."""
    kept: tuple[int, ...] | None = None
    """The skeleton tokens that the LLM sees; None: all."""


class TrainingData:
    """The training clips of the encoded corpora, as questions and answers."""

    def __init__(
        self,
        corpora: Sequence[EncodedCorpus],
        prompts: PromptWriter,
        settings: FinetuneSettings,
        own_texts: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    ) -> None:
        """
        Args:
            own_texts: corpus -> clip -> what is learnt in place of the corpora's descriptions (training/refinement.py).

        Raises:
            UserError: the description stage without any description.
        """
        self.corpora, self.prompts, self.settings = corpora, prompts, settings
        windows = [
            [Item(index, int(window), None) for window in encoded.windows_of_clips(encoded.split.train)]
            for index, encoded in enumerate(corpora)
        ]
        # What a step is drawn from: items by corpus, their sampler, and how many; the stage's own come first.
        batch = settings.global_batch
        if settings.stage == "recognition":
            self._sources = [(windows, self._sampler(windows, settings.seed), batch)]
            return
        described = self._described(own_texts)
        rehearsed = round(batch * settings.rehearsal)
        self._sources = [(described, self._sampler(described, settings.seed + 1), batch - rehearsed)]
        if rehearsed:
            self._sources.append((windows, self._sampler(windows, settings.seed), rehearsed))

    def _described(self, own_texts: Mapping[str, Mapping[str, Sequence[str]]] | None) -> list[list[Item]]:
        """An item per text of the chosen clips, by corpus."""

        def texts(encoded: EncodedCorpus, clip: int) -> Sequence[str]:
            about = encoded.corpus.clip(clip)
            return about.texts if own_texts is None else own_texts[encoded.corpus.name].get(about.name, ())

        items_of_clips = [
            [Item(index, int(encoded.windows_of_clips([clip])[0]), text) for text in texts(encoded, clip)]
            for index, encoded in enumerate(self.corpora)
            for clip in encoded.split.train
        ]
        items_of_clips = [items for items in items_of_clips if items]
        order = np.random.default_rng(self.settings.seed).permutation(len(items_of_clips))
        chosen = sorted(order[: self.settings.described_motions])  # a larger number adds motions to those of a smaller
        if not chosen:
            raise UserError(
                f"{self.settings.data}: none of the corpora {', '.join(self.settings.corpora)} has descriptions to learn from; "
                "name a descriptions table in the corpus definition and import again, or run launch/prepare.py --narrate"
            )
        items = chain.from_iterable(items_of_clips[place] for place in chosen)
        return [list(of_corpus) for _, of_corpus in groupby(items, key=lambda item: item.corpus)]  # most corpora have none

    def _sampler(self, items: list[list[Item]], seed: int) -> MixtureSampler:
        labels = tuple(
            np.array([self.corpora[item.corpus].emotion_index(item.window) for item in of_corpus], dtype=np.int64) for of_corpus in items
        )
        sampling = self.settings.sampling
        return MixtureSampler(labels, sampling.weighting, sampling.temperature, sampling.label_balanced, seed)

    def __len__(self) -> int:
        """Items per epoch of the stage."""
        return sum(map(len, self._sources[0][0]))

    def name(self, item: Item) -> str:
        """Of its window, or of the whole clip."""
        encoded = self.corpora[item.corpus]
        clip = encoded.corpus.names[encoded.windows["clip"][item.window]]
        return encoded.window_name(item.window) if item.text is None else f"{encoded.corpus.name}/{clip}"

    def draw(self, step: int) -> list[Item]:
        """The global batch of a step, with a view of each item and without the tokens that are dropped. Depends on seed and step alone."""
        random = np.random.default_rng([self.settings.seed, step])
        items = []
        for of_corpora, sampler, count in self._sources:
            corpora, places = sampler.draw(step, count)
            items += [self._varied(of_corpora[corpus][place], random) for corpus, place in zip(corpora, places, strict=True)]
        return items

    def _varied(self, item: Item, random: np.random.Generator) -> Item:
        view = int(random.integers(self.settings.views)) if item.text is None else 0
        kept = None
        if dropout := self.settings.token_dropout:
            remaining = random.random(self.corpora[item.corpus].skeleton_tokens(item.window)) >= dropout
            kept = tuple(np.flatnonzero(remaining).tolist())
        return replace(item, view=view, kept=kept)

    def example(self, item: Item) -> Example:
        """The item's prompt, motion features and answer."""
        encoded = self.corpora[item.corpus]
        motion = (
            encoded.motion(item.window, item.view) if item.text is None else encoded.clip_motion(int(encoded.windows["clip"][item.window]))
        )
        if item.kept is not None:
            motion = motion.keep(item.kept)
        prompts, words = self.prompts, motion.words
        prompt = prompts.recognition(words) if item.text is None else prompts.description(encoded.emotion(item.window), words)
        return Example(prompt, motion, (self._answer(item),))

    def length(self, item: Item) -> int:
        """Tokens that the item adds to a packed row."""
        tokens = self.corpora[item.corpus].skeleton_tokens(item.window) if item.kept is None else len(item.kept)
        return tokens + self.answer_tokens(item)

    def answer_tokens(self, item: Item) -> int:
        """Supervised tokens."""
        return len(self._answer(item))

    def _answer(self, item: Item) -> tuple[int, ...]:
        return self.prompts.answer(self.corpora[item.corpus].emotion(item.window) if item.text is None else item.text)


def micro_batches(items: Sequence[Item], lengths: Sequence[int], share: ProcessShare, rank: int) -> list[list[Item]]:
    """This process's micro-batches of a step, one per micro-step.

    The batch is sorted by length and cut into blocks; in each micro-step the processes take adjacent blocks.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    per_micro_step = share.processes * share.micro_batch
    starts = [micro_step * per_micro_step + rank * share.micro_batch for micro_step in range(share.accumulation)]
    return [[items[index] for index in order[start : start + share.micro_batch]] for start in starts]


@dataclass(frozen=True)
class MicroBatch:
    """What one process computes in one micro-step."""

    items: list[Item]
    row: PackedRow
    """On the CPU."""
    operations: float
    """Useful floating point operations (training/efficiency.py)."""


@dataclass(frozen=True)
class StepData:
    """One process's data of one step."""

    answer_tokens: int
    """Of all processes."""
    micro_batches: list[MicroBatch]


def prepare_step(data: TrainingData, share: ProcessShare, rank: int, flops: FlopCount, step: int) -> StepData:
    """Draws the step's global batch and packs this process's part of it. Uses no random state."""
    items, settings = data.draw(step), data.settings
    divided = []
    for part in micro_batches(items, [data.length(item) for item in items], share, rank):
        row = pack([data.example(item) for item in part], settings.slots, settings.share_prefix)
        divided.append(MicroBatch(part, row, flops.of_row(row)))
    return StepData(sum(data.answer_tokens(item) for item in items), divided)


class Prefetch(ThreadPoolExecutor):
    """Prepares the next step in a background thread while the device computes the current one."""

    def __init__(self, prepare: Callable[[int], StepData], last_step: int) -> None:
        super().__init__(max_workers=1, thread_name_prefix="prefetch")
        self._prepare, self._last_step = prepare, last_step
        self._prepared: dict[int, Future[StepData]] = {}

    def take(self, step: int) -> StepData:
        """The data of a step. An error in the thread is raised here."""
        future = self._prepared.get(step) or self.submit(self._prepare, step)
        data = future.result()
        self._prepared = {step + 1: self.submit(self._prepare, step + 1)} if step < self._last_step else {}
        return data

    def wait_idle(self) -> None:
        """Waits for the thread: the text tokenizer must not be used by two threads at once."""
        wait(self._prepared.values())
