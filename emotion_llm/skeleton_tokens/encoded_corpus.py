"""Encode once: the pooled features of every window of a corpus, kept on disk.

TrainedEncoder, corpora  ->  EncodedCorpus: MotionFeatures, emotion and name of every window

The encoder is frozen in both fine-tunes, so a window's features never change. They are computed once, shared among the
processes, and kept under a key of the encoder's hash, the data's hash and the window length: what is found is what would
be computed. A folder is renamed into place when it is whole; a half-written one is never read.

    <data>/features/<corpus>-<key>/
        windows.npy     one row per window (WINDOW_FIELDS)
        features.npy    (sum over windows of 1 + V + T', C) float32: semantic, spatial, temporal rows, window after window
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emotion_llm.corpus.provenance import corpus_record, data_differences
from emotion_llm.corpus.splits import Split
from emotion_llm.corpus.store import Corpus, open_corpus
from emotion_llm.corpus.windows import windows
from emotion_llm.pretraining.trained_encoder import TrainedEncoder
from emotion_llm.runtime.console import progress, say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes, process_count, process_rank
from emotion_llm.skeleton_encoder.batch import collate
from emotion_llm.skeleton_encoder.encoder import TEMPORAL_STRIDE, SkeletonEncoder
from emotion_llm.skeleton_encoder.pooling import pool
from emotion_llm.skeleton_tokens.unified import SEMANTIC, SPATIAL, TEMPORAL, MotionFeatures

WINDOW_FIELDS = np.dtype([("clip", np.int32), ("start", np.int32), ("frames", np.int32), ("row", np.int64)])
"""start, frames: where the window lies in its clip; row: its first row in features.npy."""
FORMAT = 1
"""Raised when these files, or what is computed, change their meaning: older folders are then left alone."""
WINDOWS_PER_BATCH = 64
DAY = 86_400
"""Seconds after which a folder left behind by a killed process is cleared away."""


@dataclass(frozen=True)
class EncodedCorpus:
    """A corpus as the fine-tunes see it: windows, each with its features and its emotion."""

    corpus: Corpus
    split: Split
    folder: Path

    @cached_property
    def windows(self) -> np.ndarray:
        """(windows,) records of WINDOW_FIELDS, clip after clip."""
        return np.load(self.folder / "windows.npy", allow_pickle=False)

    @cached_property
    def features(self) -> np.ndarray:
        """(rows, C) float32, memory-mapped."""
        return np.load(self.folder / "features.npy", mmap_mode="r", allow_pickle=False)

    @cached_property
    def _first_window(self) -> np.ndarray:
        return np.searchsorted(self.windows["clip"], np.arange(len(self.corpus) + 1))

    def __len__(self) -> int:
        return len(self.windows)

    def windows_of_clips(self, clips: Sequence[int]) -> np.ndarray:
        """Indices of the clips' windows, in the clips' order."""
        first = self._first_window
        return np.concatenate([np.arange(first[clip], first[clip + 1]) for clip in clips]) if len(clips) else np.zeros(0, np.int64)

    def emotion_index(self, window: int) -> int:
        """Index into the corpus's emotions."""
        return int(self.corpus.clips["emotion"][self.windows["clip"][window]])

    def emotion(self, window: int) -> str:
        return self.corpus.emotions[self.emotion_index(window)]

    def window_name(self, window: int) -> str:
        clip, start, frames, _ = self.windows[window]
        return f"{self.corpus.name}/{self.corpus.names[clip]}[{start}:{start + frames}]"

    def time_steps(self, window: int) -> int:
        """T' of a window."""
        return feature_frames(int(self.windows["frames"][window]))

    def skeleton_tokens(self, window: int) -> int:
        """1 + V + T' of a window."""
        return 1 + self.corpus.layout.joints + self.time_steps(window)

    def motion(self, window: int) -> MotionFeatures:
        """The window's features, copied out of the map."""
        row = self.windows["row"][window]
        rows = np.array(self.features[row : row + self.skeleton_tokens(window)])  # (1 + V + T', C)
        return MotionFeatures(torch.from_numpy(rows), self.corpus.layout.joints, self.time_steps(window))

    def training_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and mean square of each granularity's features over the training windows, each (3, C)."""
        total, square, count = (np.zeros((3, width)) for width in (self.features.shape[1], self.features.shape[1], 1))
        for window in self.windows_of_clips(self.split.train):
            row, joints, end = self.windows["row"][window], self.corpus.layout.joints, self.skeleton_tokens(window)
            rows = self.features[row : row + end].astype(np.float64)
            for granularity, part in ((SEMANTIC, rows[:1]), (SPATIAL, rows[1 : 1 + joints]), (TEMPORAL, rows[1 + joints :])):
                total[granularity] += part.sum(0)
                square[granularity] += (part**2).sum(0)
                count[granularity] += len(part)
        return torch.from_numpy(total / count).float(), torch.from_numpy(square / count).float()

    def classifier_probabilities(self, trained: TrainedEncoder, clip: int) -> Tensor:
        """What the encoder's own classifier says of a clip: the mean over its windows, (K,) float64."""
        semantic = self.features[self.windows["row"][self.windows_of_clips([clip])]]  # (windows, C)
        return trained.probabilities(torch.from_numpy(np.array(semantic)), self.corpus.emotions).mean(0)


def encode_corpora(
    trained: TrainedEncoder, data: Path, names: Sequence[str], device: torch.device | str, accept_other_data: bool = False
) -> list[EncodedCorpus]:
    """The corpora with their features, computed where they are not there yet. Every rank must call it.

    The split is the one that the encoder was trained with.

    Raises:
        UserError: no such corpus, one of another layout than the encoder's, another rate, or (unless accepted) another data or split.
    """
    trained.encoder.to(device)
    encoded = []
    for name in names:
        corpus = open_corpus(data / name)
        trained.layout_index(corpus.layout)
        if corpus.frames_per_second != trained.frames_per_second:
            raise UserError(
                f"{corpus.folder}: {corpus.frames_per_second:g} frames per second, the encoder was trained at "
                f"{trained.frames_per_second:g}; prepare the corpus at that rate"
            )
        split = trained.split_settings.of(corpus)
        differences = data_differences(trained.metadata["corpora"], {name: corpus_record(corpus, split)})
        if differences and not accept_other_data:
            raise UserError(f"{'; '.join(differences)}; restore the data, or pre-train the encoder on these corpora")
        encoded.append(EncodedCorpus(corpus, split, _features_folder(trained, corpus, data / "features", device)))
    return encoded


def encode_motion(trained: TrainedEncoder, layout_index: int, positions: np.ndarray) -> list[MotionFeatures]:
    """The features of one canonical motion, window by window, on the encoder's device.

    Shape:
        (T, V, 3)  ->  ceil(T / window_frames) times (1 + V + T', C)
    """
    parts = [positions[start : start + frames] for start, frames in windows(len(positions), trained.window_frames)]
    rows = dict(pooled_rows(trained.encoder, parts, layout_index, trained.frames_per_second))
    return [MotionFeatures(rows[index], part.shape[1], feature_frames(len(part))) for index, part in enumerate(parts)]


@torch.inference_mode()
def pooled_rows(
    encoder: SkeletonEncoder, motions: Sequence[np.ndarray], layout_index: int, frames_per_second: float
) -> Iterator[tuple[int, Tensor]]:
    """The pooled features of each motion, in batches of like length, so not in order.

    Shape:
        M motions (T, V, 3)  ->  M times (index, (1 + V + T', C) float32 on the CPU)
    """
    device = next(encoder.parameters()).device
    encoder.eval()
    order = sorted(range(len(motions)), key=lambda index: len(motions[index]))
    for start in range(0, len(order), WINDOWS_PER_BATCH):
        batch = order[start : start + WINDOWS_PER_BATCH]
        pooled = pool(encoder(collate([motions[index] for index in batch], [layout_index] * len(batch), frames_per_second).to(device)))
        rows = torch.cat([pooled.semantic[:, None], pooled.spatial, pooled.temporal], dim=1).cpu()  # (N, 1 + V + T', C)
        for n, index in enumerate(batch):
            yield index, rows[n, : 1 + motions[index].shape[1] + feature_frames(len(motions[index]))].clone()


def feature_frames(frames: int) -> int:
    """T' = ceil(T / 4)."""
    return -(-frames // TEMPORAL_STRIDE)


def _features_folder(trained: TrainedEncoder, corpus: Corpus, folder: Path, device: torch.device | str) -> Path:
    """The folder of a corpus's features; made by all ranks together where it is not there yet."""
    identity = [FORMAT, trained.encoder_hash, corpus.data_hash, trained.window_frames]
    target = folder / f"{corpus.name}-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]}"
    table = _window_table(corpus, trained.window_frames)
    there, token = gather_over_processes((target.is_dir() and _is_whole(target, table, corpus, trained.channels), uuid.uuid4().hex))[0]
    if there:
        return target
    tmp = folder / f"{target.name}.{token}.aside"
    tmp.mkdir(parents=True, exist_ok=True)
    share = np.array_split(np.arange(len(table)), process_count())[process_rank()]
    _encode_share(trained, corpus, table[share], tmp / f"features-{process_rank()}.npy")
    gather_over_processes(None)  # every share is written
    if is_first_rank():
        _join(tmp, trained.channels)
        np.save(tmp / "windows.npy", table)
        if target.is_dir() and not _is_whole(target, table, corpus, trained.channels):
            say(f"{target}: is damaged; encoded anew")
            target.rename(tmp.with_name(f"{target.name}.{token}.damaged.aside"))
        if not target.is_dir():  # another job may have been quicker
            tmp.rename(target)
        for left_behind in folder.glob(f"{target.name}.*.aside"):
            if left_behind.name.startswith(f"{target.name}.{token}.") or time.time() - left_behind.stat().st_mtime > DAY:
                shutil.rmtree(left_behind, ignore_errors=True)
    gather_over_processes(None)  # the folder is in place
    return target


def _window_table(corpus: Corpus, window_frames: int) -> np.ndarray:
    rows, row = [], 0
    for clip, clip_frames in enumerate(corpus.clips["frames"].tolist()):
        for start, frames in windows(clip_frames, window_frames):
            rows.append((clip, start, frames, row))
            row += _rows_of_window(corpus, frames)
    return np.array(rows, WINDOW_FIELDS)


def _is_whole(folder: Path, table: np.ndarray, corpus: Corpus, channels: int) -> bool:
    """Whether the folder holds these windows and as many features as they have. The features' numbers are not looked at."""
    rows = sum(_rows_of_window(corpus, frames) for frames in table["frames"].tolist())
    try:
        windows, features = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in ("windows.npy", "features.npy"))
        return np.array_equal(windows, table) and features.shape == (rows, channels) and features.dtype == np.float32
    except Exception:  # NumPy hands a damaged header to Python's own tokenizer, whose errors are of many kinds
        return False


def _rows_of_window(corpus: Corpus, frames: int) -> int:
    return 1 + corpus.layout.joints + feature_frames(frames)


def _encode_share(trained: TrainedEncoder, corpus: Corpus, table: np.ndarray, path: Path) -> None:
    """Writes the features of some neighbouring windows, (their rows, C)."""
    if len(table) == 0:  # more processes than windows
        np.save(path, np.zeros((0, trained.channels), np.float32))
        return
    first, last = table[0], table[-1]
    rows = int(last["row"] - first["row"]) + _rows_of_window(corpus, int(last["frames"]))
    features = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, trained.channels))
    motions = [corpus.positions(clip)[start : start + frames] for clip, start, frames, _ in table.tolist()]
    encoded = pooled_rows(trained.encoder, motions, trained.layout_index(corpus.layout), trained.frames_per_second)
    for index, part in progress(encoded, f"encoding {corpus.name}", "window", total=len(table)):
        row = int(table["row"][index] - first["row"])
        features[row : row + len(part)] = part.numpy()
    features.flush()


def _join(folder: Path, channels: int) -> None:
    """The shares, in rank order, become one array."""
    paths = [folder / f"features-{rank}.npy" for rank in range(process_count())]
    if len(paths) == 1:
        paths[0].rename(folder / "features.npy")
        return
    shares = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
    joined = np.lib.format.open_memmap(folder / "features.npy", mode="w+", dtype=np.float32, shape=(sum(map(len, shares)), channels))
    row = 0
    for share, path in zip(shares, paths, strict=True):
        joined[row : row + len(share)] = share
        row += len(share)
        path.unlink()
    joined.flush()
