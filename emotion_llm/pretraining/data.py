"""Training data of pre-training: windows of all corpora, cut and mirrored at random in every epoch.

corpora, splits, seed, epoch, step  ->  PretrainBatch: MotionBatch, emotion (N,), candidates (N, E)

Order, cuts and mirroring depend on the seed and the epoch only, not on the number of processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from emotion_llm.corpus.provenance import open_verified
from emotion_llm.corpus.splits import Split
from emotion_llm.corpus.store import Corpus
from emotion_llm.corpus.windows import random_window, windows
from emotion_llm.kinematics.descriptors import DESCRIPTORS
from emotion_llm.motion.layout import Layout
from emotion_llm.pretraining.settings import PretrainSettings
from emotion_llm.runtime.console import progress
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.processes import gather_over_processes, process_count, process_rank
from emotion_llm.skeleton_encoder.batch import INPUT_CHANNELS, MotionBatch, collate, joint_inputs
from emotion_llm.skeleton_encoder.encoder import SkeletonEncoder
from emotion_llm.skeleton_encoder.statistics import STATISTICS, describe_windows, movement_statistics


@dataclass(frozen=True)
class PretrainBatch:
    """One process's part of a step."""

    motions: MotionBatch
    emotion: Tensor  # (N,) index into the emotions of all corpora
    candidates: Tensor  # (N, E) bool: the emotions of each motion's own corpus
    names: tuple[str, ...]  # Corpus, clip and frames of each window

    def to(self, device: torch.device) -> Self:
        return replace(self, motions=self.motions.to(device), emotion=self.emotion.to(device), candidates=self.candidates.to(device))


@dataclass(frozen=True)
class Epoch:
    """The training windows of one epoch in their order; determined by seed and epoch."""

    items: np.ndarray  # (items,) index into PretrainingData.items
    place: np.ndarray  # (items,) in [0, 1): where each window is cut from its clip
    mirrored: np.ndarray  # (items,) bool


class PretrainingData:
    """Several corpora joined: one list of layouts, one of emotions, one of training windows."""

    def __init__(
        self, corpora: Sequence[Corpus], splits: Sequence[Split], window_frames: int, mirror_probability: float, seed: int
    ) -> None:
        """Raises UserError: the corpora cannot be combined."""
        self.corpora, self.splits = tuple(corpora), tuple(splits)
        self.window_frames, self.mirror_probability, self.seed = window_frames, mirror_probability, seed
        check_alike(self.corpora)
        self.frames_per_second = self.corpora[0].frames_per_second
        layouts = {corpus.layout.name: corpus.layout for corpus in self.corpora}
        self.layouts = tuple(layouts.values())
        self.layout_index = tuple(list(layouts).index(corpus.layout.name) for corpus in self.corpora)
        self.emotions = tuple(sorted({emotion for corpus in self.corpora for emotion in corpus.emotions}))
        self.items = np.array(
            [
                (index, clip, start)
                for index, (corpus, split) in enumerate(zip(self.corpora, self.splits, strict=True))
                for clip in split.train
                for start, _ in windows(int(corpus.clips["frames"][clip]), window_frames)
            ]
        )  # (items, 3): corpus, clip, start of a window
        self._mirror_order = [mirror_order(layout) for layout in self.layouts]
        self._candidates = torch.tensor([[word in corpus.emotions for word in self.emotions] for corpus in self.corpora])  # (corpora, E)

    @cached_property
    def descriptors(self) -> Tensor:
        """The kinematic descriptors of every item's window as it lies, (items, Q): measured once, because that takes longer than a
        training step. A mirrored window has the same. Shared among the processes: every rank must ask for them."""
        own = []
        for index, clip, start in progress(self.items[process_rank() :: process_count()].tolist(), "measuring the movement", "window"):
            window = self.corpora[index].positions(clip)[start : start + self.window_frames]
            own.append(describe_windows([window], [self.corpora[index].layout], self.frames_per_second)[0])
        values = torch.empty(len(self.items), len(DESCRIPTORS))
        for rank, rows in enumerate(gather_over_processes(own)):
            if rows:
                values[rank :: process_count()] = torch.stack(rows)
        return values

    def epoch(self, epoch: int) -> Epoch:
        """The windows of an epoch, the same on every process."""
        random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        count = len(self.items)
        return Epoch(random.permutation(count), random.random(count), random.random(count) < self.mirror_probability)

    def batch(self, epoch: Epoch, chosen: range) -> PretrainBatch:
        """The windows at these positions of an epoch."""
        motions, corpus_index, emotions, names = [], [], [], []
        for place in chosen:
            index, clip, _ = self.items[epoch.items[place]].tolist()
            corpus = self.corpora[index]
            positions = corpus.positions(clip)
            start, frames = random_window(len(positions), self.window_frames, epoch.place[place])
            window = positions[start : start + frames]
            motions.append(mirror(window, self._mirror_order[self.layout_index[index]]) if epoch.mirrored[place] else window)
            corpus_index.append(index)
            emotions.append(self.emotions.index(corpus.emotions[corpus.clips["emotion"][clip]]))
            names.append(f"{corpus.name}/{corpus.names[clip]}[{start}:{start + len(window)}]")
        described = self.descriptors[epoch.items[chosen.start : chosen.stop]]
        batch = collate(motions, [self.layout_index[index] for index in corpus_index], self.frames_per_second, described)
        return PretrainBatch(batch, torch.tensor(emotions), self._candidates[torch.tensor(corpus_index)], tuple(names))


def open_data(settings: PretrainSettings) -> PretrainingData:
    """The corpora and their splits."""
    corpora = [open_verified(settings.data / name) for name in settings.corpora]
    splits = [settings.split.of(corpus) for corpus in corpora]
    return PretrainingData(corpora, splits, settings.window_frames, settings.mirror_probability, settings.seed)


def check_alike(corpora: Sequence[Corpus]) -> None:
    """Raises UserError: corpora differ in frame rate or canonical settings, or have different layouts of one name."""
    first = corpora[0]
    for corpus in corpora[1:]:
        for what in ("frames_per_second", "canonical"):
            if (before := getattr(first, what)) != (now := getattr(corpus, what)):
                raise UserError(f"corpora '{first.name}' and '{corpus.name}' differ in {what} ({before}, {now}); prepare one of them again")
    layouts: dict[str, Corpus] = {}
    for corpus in corpora:
        other = layouts.setdefault(corpus.layout.name, corpus)
        if other.layout != corpus.layout:
            raise UserError(
                f"corpora '{other.name}' and '{corpus.name}' differ in their layout '{corpus.layout.name}'; prepare one of them again"
            )


def mirror_order(layout: Layout) -> np.ndarray:
    """(V,) index of the joint on the other side of the body, for every joint."""
    order = np.arange(layout.joints)
    for left, right in layout.mirror_pairs:
        order[left], order[right] = right, left
    return order


def mirror(positions: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The mirrored motion: in canonical positions x is the lateral axis, so its sign changes. (T, V, 3)  ->  (T, V, 3)"""
    return positions[:, order] * np.array([-1, 1, 1], dtype=positions.dtype)


def count_steps(global_batch: int, items: int, processes: int) -> int:
    """Steps per epoch; the windows that do not fill the last batch are left out of this epoch.

    Raises:
        UserError: the batch cannot be divided among the processes, or is larger than an epoch.
    """
    if global_batch % processes:
        fitting = [count for count in range(1, global_batch + 1) if global_batch % count == 0]
        raise UserError(
            f"the batch of {global_batch} windows cannot be divided among {processes} processes; "
            f"start {', '.join(map(str, fitting[:-1]))} or {fitting[-1]} of them, or change --global-batch"
        )
    if items < global_batch:
        raise UserError(f"the corpora hold {items} training windows, fewer than --global-batch {global_batch}; choose a smaller one")
    return items // global_batch


def set_input_statistics(encoder: SkeletonEncoder, data: PretrainingData) -> None:
    """Sets every layout's input normalisation from its training clips, mirrored with the mirror probability."""
    for index, layout in enumerate(encoder.layouts):
        (total, square), count = torch.zeros(2, INPUT_CHANNELS, layout.joints, dtype=torch.float64), 0
        for corpus, split, its_layout in zip(data.corpora, data.splits, data.layout_index, strict=True):
            for clip in split.train if its_layout == index else ():
                positions = torch.from_numpy(np.array(corpus.positions(clip)))[None]  # (1, T, V, 3)
                frame_mask = torch.ones(positions.shape[:2], dtype=torch.bool)
                x = joint_inputs(positions, frame_mask, layout.landmarks["pelvis"], data.frames_per_second)[:, 0].double()  # (6, V, T)
                total, square, count = total + x.sum(-1), square + x.square().sum(-1), count + x.shape[-1]
        order, sign = mirror_order(layout), torch.tensor([-1.0, 1, 1, -1, 1, 1], dtype=torch.float64)[:, None]
        mean = torch.lerp(total, sign * total[:, order], data.mirror_probability) / count
        mean_square = torch.lerp(square, square[:, order], data.mirror_probability) / count
        encoder.set_input_statistics(index, mean, (mean_square - mean.square()).clamp(min=0).sqrt())


def set_movement_statistics(encoder: SkeletonEncoder, data: PretrainingData) -> None:
    """Sets every layout's mean and standard deviation of the movement statistics and of the descriptors from its training windows,
    mirrored with the mirror probability."""
    if encoder.statistics is None or encoder.descriptors is None:
        return
    layout_of_item = np.array(data.layout_index)[data.items[:, 0]]
    for index, layout in enumerate(data.layouts):
        described = data.descriptors[layout_of_item == index].double()
        encoder.descriptors.set_statistics(index, described.mean(0), described.std(0, correction=0))
        order, shares = mirror_order(layout), (1 - data.mirror_probability, data.mirror_probability)
        (total, square), count = torch.zeros(2, STATISTICS, layout.joints, dtype=torch.float64), 0
        for corpus, split, its_layout in zip(data.corpora, data.splits, data.layout_index, strict=True):
            for clip in split.train if its_layout == index else ():
                positions = corpus.positions(clip)
                parts = [positions[start : start + frames] for start, frames in windows(len(positions), data.window_frames)]
                for share, cut in zip(shares, (parts, [mirror(part, order) for part in parts]), strict=True):
                    batch = collate(cut, [index] * len(cut), data.frames_per_second)
                    values = movement_statistics(batch.positions, batch.frame_mask, layout.parents, data.frames_per_second).double()
                    total, square = total + share * values.sum(1), square + share * values.square().sum(1)  # (9, V)
                count += len(parts)
        mean = total / count
        encoder.statistics.set_statistics(index, mean, (square / count - mean.square()).clamp(min=0).sqrt())
