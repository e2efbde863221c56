"""Pooled features of every window of a corpus, encoded once and kept on disk.

TrainedEncoder, corpora  ->  EncodedCorpus: MotionFeatures, emotion and name of every window

The encoder is frozen in both fine-tunes, so a window's features never change. All processes encode a part of the windows. The folder's
name holds a hash of all inputs (encoder, data, window length), and checksums.json of what was written: changed or damaged features are
encoded again. A folder is renamed into place when it is complete, so a partial one is never read; it is
locked while it is written, so that those of killed jobs can be told and deleted.

    <data>/features/<corpus>-<key>/
        windows.npy     one row per window (WINDOW_FIELDS)
        features.npy    (sum over windows of 1 + V + T', C + Q) float32: semantic, spatial, temporal rows, window after window
        checksums.json  SHA-256 of both
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from emotion_llm.corpus.provenance import corpus_record, data_differences, open_verified
from emotion_llm.corpus.splits import Split
from emotion_llm.corpus.store import Corpus
from emotion_llm.corpus.windows import windows
from emotion_llm.pretraining.data import mirror, mirror_order
from emotion_llm.pretraining.trained_encoder import TrainedEncoder
from emotion_llm.runtime.console import progress, say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import content_hash, flush, write_json
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes, process_count, process_rank
from emotion_llm.skeleton_encoder.pooling import feature_frames, pooled_rows
from emotion_llm.skeleton_tokens.unified import MotionFeatures, whole_motion

WINDOW_FIELDS = np.dtype([("clip", np.int32), ("start", np.int32), ("frames", np.int32), ("row", np.int64)])
"""start, frames: the window's position in its clip; row: its first row in features.npy."""
FORMAT = 4
"""Increased when these files, or the computation, change; folders of another format are ignored."""
WINDOWS, FEATURES, CHECKSUMS = "windows.npy", "features.npy", "checksums.json"
Movement: TypeAlias = Literal["tokens", "words"]
"""What the LLM reads of a movement: its skeleton tokens, or its measured qualities in words (a baseline)."""


@dataclass(frozen=True)
class View:
    """How a window is seen before it is encoded."""

    mirrored: bool
    shifted: bool
    """Cut half a window's distance later; clips of one window stay as they are."""


VIEWS = (View(False, False), View(True, False), View(False, True), View(True, True))


@dataclass(frozen=True)
class EncodedCorpus:
    """A corpus as the fine-tunes use it: windows, each with its features and its emotion."""

    corpus: Corpus
    split: Split
    folders: tuple[Path, ...]
    """One per view (VIEWS); the first holds the windows as they are."""
    width: int
    """C: the encoder's features are the first so many numbers of a row; the descriptors follow."""
    words: tuple[str, ...] = ()
    """One per clip: what the LLM reads in place of the skeleton tokens of its windows; empty: it reads the tokens."""

    @cached_property
    def windows(self) -> np.ndarray:
        """(windows,) records of WINDOW_FIELDS, clip after clip."""
        return np.load(self.folders[0] / WINDOWS, allow_pickle=False)

    @cached_property
    def _views(self) -> list[np.ndarray]:
        return [np.load(folder / FEATURES, mmap_mode="r", allow_pickle=False) for folder in self.folders]

    @property
    def features(self) -> np.ndarray:
        """(rows, C + Q) float32 of the windows as they are, memory-mapped."""
        return self._views[0]

    @cached_property
    def _first_window(self) -> np.ndarray:
        return np.searchsorted(self.windows["clip"], np.arange(len(self.corpus) + 1))

    def __len__(self) -> int:
        return len(self.windows)

    def windows_of_clips(self, clips: Sequence[int]) -> np.ndarray:
        """Indices of the windows of these clips, in the order of the clips."""
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

    def skeleton_tokens(self, window: int) -> int:
        """1 + V + T' of a window."""
        return 1 + self.corpus.layout.joints + feature_frames(int(self.windows["frames"][window]))

    def motion(self, window: int, view: int = 0) -> MotionFeatures:
        """The window's features in one of the encoded views, copied from the memory map; or the clip's words and no features."""
        row, joints, tokens = self.windows["row"][window], self.corpus.layout.joints, self.skeleton_tokens(window)
        motion = MotionFeatures(torch.from_numpy(np.array(self._views[view][row : row + tokens])), joints, tokens - 1 - joints)
        return replace(motion.keep([]), words=self.words[self.windows["clip"][window]]) if self.words else motion

    def clip_motion(self, clip: int) -> MotionFeatures:
        """The features of a whole clip, as an explanation rests on them."""
        return whole_motion([self.motion(int(window)) for window in self.windows_of_clips([clip])])

    def semantic_rows(self, clips: Sequence[int]) -> np.ndarray:
        """(windows of the clips, C + Q) float32."""
        return self.features[self.windows["row"][self.windows_of_clips(clips)]]

    def training_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and mean square of each granularity's features over the training windows, each (3, C + Q)."""
        width = self.features.shape[1]
        total, square, count = (torch.zeros(3, size, dtype=torch.float64) for size in (width, width, 1))
        for window in self.windows_of_clips(self.split.train):
            motion = self.motion(window)
            rows = motion.rows.double()
            total.index_add_(0, motion.granularities, rows)
            square.index_add_(0, motion.granularities, rows**2)
            count.index_add_(0, motion.granularities, torch.ones(len(rows), 1, dtype=torch.float64))
        return (total / count).float(), (square / count).float()

    def classifier_probabilities(self, trained: TrainedEncoder, clip: int) -> Tensor:
        """The encoder's own prediction for a clip: mean probabilities over its windows, (E,) float64."""
        return trained.probabilities(torch.from_numpy(self.semantic_rows([clip])), self.corpus.emotions).mean(0)


def encode_corpora(
    trained: TrainedEncoder,
    data: Path,
    names: Sequence[str],
    device: torch.device | str,
    accept_other_data: bool = False,
    views: int = 1,
    movement: Movement = "tokens",
) -> list[EncodedCorpus]:
    """The corpora with their features, encoded if necessary, and the split that the encoder was trained with. Every rank must call it.

    Args:
        views: the first so many of VIEWS are encoded; the first is the window as it is.
        movement: with "words", every clip is measured and its windows have words in place of features.

    Raises:
        UserError: there is no such corpus, its layout or frame rate is not the encoder's, or (unless accepted) data or split differ.
    """
    trained.encoder.to(device)
    encoded = []
    for name in names:
        corpus = open_verified(data / name)
        trained.layout_index(corpus.layout)
        if corpus.frames_per_second != trained.record.frames_per_second:
            raise UserError(
                f"{corpus.folder}: {corpus.frames_per_second:g} frames per second, the encoder was trained at "
                f"{trained.record.frames_per_second:g}; prepare the corpus at that rate"
            )
        split = trained.record.split.of(corpus)
        differences = data_differences(trained.record.corpora, {name: corpus_record(corpus, split)})
        if differences and not accept_other_data:
            raise UserError(f"{'; '.join(differences)}; restore the data, or pre-train the encoder on these corpora")
        folders = tuple(_features_folder(trained, corpus, data / "features", view) for view in VIEWS[:views])
        words = _in_words(corpus, split) if movement == "words" else ()
        encoded.append(EncodedCorpus(corpus, split, folders, trained.encoder.width, words))
    return encoded


def _in_words(corpus: Corpus, split: Split) -> tuple[str, ...]:
    from emotion_llm.grounding.narrator import (  # scipy's signal processing, which a first answer need not wait for
        in_words,
        leaning_back,
        standing,
    )
    from emotion_llm.grounding.norms import make_norms, measure_corpus

    measured = measure_corpus(corpus)
    norms = make_norms(corpus, split, measured)
    return tuple(in_words(standing(clip, norms), leaning_back(clip)) for clip in measured)


def encode_motions(trained: TrainedEncoder, layout_index: int, motions: Sequence[np.ndarray]) -> list[list[MotionFeatures]]:
    """The features of canonical motions of one layout, window by window, computed on the encoder's device.

    Shape:
        each (T, V, 3)  ->  each ceil(T / window_frames) times (1 + V + T', C + Q)
    """
    cuts = [windows(len(positions), trained.record.window_frames) for positions in motions]
    parts = [positions[start : start + frames] for positions, cut in zip(motions, cuts, strict=True) for start, frames in cut]
    rows = dict(pooled_rows(trained.encoder, parts, layout_index, trained.record.frames_per_second))
    features = iter(MotionFeatures(rows[index], part.shape[1], feature_frames(len(part))) for index, part in enumerate(parts))
    return [[next(features) for _ in cut] for cut in cuts]


def _features_folder(trained: TrainedEncoder, corpus: Corpus, folder: Path, view: View) -> Path:
    """The folder of a corpus's features in a view; all ranks write it together if it does not exist."""
    identity = [FORMAT, trained.encoder_hash, corpus.data_hash, trained.record.window_frames]
    if view != VIEWS[0]:
        identity.append(asdict(view))
    target = folder / f"{corpus.name}-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]}"
    table = _window_table(corpus, trained.record.window_frames, view.shifted)
    is_valid, token = gather_over_processes((is_first_rank() and _is_valid(target, table), uuid.uuid4().hex))[0]
    if is_valid:
        return target
    tmp = folder / f"{target.name}.{token}.tmp"
    with ExitStack() as lock:
        if is_first_rank():
            (unlocked := folder / f".{token}").mkdir(parents=True)
            lock.enter_context(_lock(unlocked))
            unlocked.rename(tmp)
            np.save(tmp / WINDOWS, table)
            rows = sum(1 + corpus.layout.joints + feature_frames(frames) for frames in table["frames"].tolist())
            np.lib.format.open_memmap(tmp / FEATURES, mode="w+", dtype=np.float32, shape=(rows, trained.channels)).flush()
        gather_over_processes(None)  # the file exists
        part = np.array_split(np.arange(len(table)), process_count())[process_rank()]
        _encode(trained, corpus, table[part], tmp / FEATURES, view.mirrored)
        gather_over_processes(None)  # every part is written
        if is_first_rank():
            write_json(tmp / CHECKSUMS, {name: content_hash(tmp / name) for name in (WINDOWS, FEATURES)})
            if target.is_dir() and not _is_valid(target, table):
                say(f"{target}: is damaged; encoded again")
                target.rename(folder / f"{target.name}.{token}.damaged.tmp")
            if not target.is_dir():  # another job may have written it meanwhile
                tmp.rename(target)
                flush(folder)
    for partial in folder.glob(f"{target.name}.*.tmp") if is_first_rank() else ():
        with _lock(partial) as unused:
            if unused:  # of a process that has ended, or not needed any more
                shutil.rmtree(partial, ignore_errors=True)
    gather_over_processes(None)  # the folder is complete
    return target


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Locks a folder, until the process ends at the latest; False if another one holds it, or the file system has no locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = True
    except OSError:
        locked = False
    try:
        yield locked
    finally:
        os.close(descriptor)


def _window_table(corpus: Corpus, window_frames: int, shifted: bool = False) -> np.ndarray:
    """The windows of every clip. Shifted ones begin half a window's distance later, the last one at most at the clip's end."""
    rows, row = [], 0
    for clip, clip_frames in enumerate(corpus.clips["frames"].tolist()):
        cut = windows(clip_frames, window_frames)
        shift = (cut[1][0] - cut[0][0]) // 2 if shifted and len(cut) > 1 else 0
        for start, frames in cut:
            start = start + shift if start + shift + frames <= clip_frames else start - shift
            rows.append((clip, start, frames, row))
            row += 1 + corpus.layout.joints + feature_frames(frames)
    return np.array(rows, WINDOW_FIELDS)


def _is_valid(folder: Path, table: np.ndarray) -> bool:
    """Whether the folder holds the features of these windows, unchanged since they were written."""
    try:
        checksums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        unchanged = checksums == {name: content_hash(folder / name) for name in (WINDOWS, FEATURES)}
        return unchanged and np.array_equal(np.load(folder / WINDOWS, allow_pickle=False), table)
    except (OSError, ValueError):
        return False


def _encode(trained: TrainedEncoder, corpus: Corpus, table: np.ndarray, path: Path, mirrored: bool) -> None:
    """Writes the features of some windows into the file that all ranks share. Ordinary writes, because the ranks of several machines
    would overwrite each other's rows in shared pages of a memory map."""
    motions = [corpus.positions(clip)[start : start + frames] for clip, start, frames, _ in table.tolist()]
    if mirrored:
        order = mirror_order(corpus.layout)
        motions = [mirror(positions, order) for positions in motions]
    encoded = pooled_rows(trained.encoder, motions, trained.layout_index(corpus.layout), trained.record.frames_per_second)
    begin = np.load(path, mmap_mode="r", allow_pickle=False).offset
    with path.open("r+b") as file:
        for index, rows in progress(encoded, f"encoding {corpus.name}", "window", total=len(table)):
            file.seek(begin + 4 * trained.channels * int(table["row"][index]))
            file.write(rows.numpy().tobytes())
    flush(path)
