"""One motion file becomes one clip.

file, ReadingSettings  ->  Reading (length, hashes, findings, or why it cannot be read), canonical positions (T, V, 3)

Uses all cores; memory is bounded, whatever the number of files.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from emotion_llm.corpus.definition import CorpusDefinition
from emotion_llm.corpus.scan import SourceFile
from emotion_llm.corpus.store import movement_hash
from emotion_llm.motion.canonical import CanonicalSettings, canonicalise, to_motion
from emotion_llm.motion.checks import check_clip, gross_failure
from emotion_llm.motion.layout import layout_to_dict
from emotion_llm.motion.reading import read_motion_file
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import file_hash
from emotion_llm.runtime.output import printable

READING_VERSION = 3
"""Increases when the readers or the canonical form change the positions that a file becomes: corpora are then out of date."""
CHUNK_BYTES, CHUNK_FILES = 2_000_000, 200  # Small files are sent to a worker together, a larger one alone


@dataclass(frozen=True)
class ReadingSettings:
    """Everything that determines the positions that a file becomes."""

    definition: CorpusDefinition
    canonical: CanonicalSettings

    @property
    def conventions(self) -> dict:
        """How files of this corpus are read, as JSON: stored with the corpus, so that another clip can be read the same way."""
        how = {name: getattr(self.definition, name) for name in ("metres_per_unit", "up", "handedness", "frames_per_second")}
        return how | {"columns": asdict(self.definition.columns)}

    @property
    def fingerprint(self) -> str:
        """With the same fingerprint a file becomes the same positions."""
        layout, canonical = layout_to_dict(self.definition.layout), asdict(self.canonical)
        metadata = self.conventions | {"layout": layout, "canonical": canonical, "version": READING_VERSION}
        return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of one file."""

    path: str
    size: int
    modified: int
    content: str  # Hash of the file's bytes
    frames: int  # After resampling; 0 where it could not be read
    movement: str  # Hash of the canonical positions; empty where it could not be read
    findings: list[str]  # What looks wrong with the clip, which is kept all the same
    error: str | None  # Why it could not be read


def read_clip(source: Path, file: SourceFile, settings: ReadingSettings) -> tuple[Reading, np.ndarray | None]:
    """Reads one file; positions (T, V, 3) float32, or None if it cannot be read."""
    path = source / file.path
    content, frames, movement, error, positions = "", 0, "", None, None
    findings: list[str] = []
    definition = settings.definition
    try:
        content = file_hash(path)
        recorded = read_motion_file(path, definition.columns)
        units = definition.metres_per_unit, definition.up, definition.frames_per_second
        motion = to_motion(recorded, definition.layout, *units, place=str(path), handedness=definition.handedness)
        if failure := gross_failure(motion):
            raise UserError(failure)
        findings = [printable(text, keep="") for text in (*recorded.notes, *check_clip(motion))]
        positions = canonicalise(motion, settings.canonical, place=str(path)).positions.astype(np.float32)  # (T, V, 3)
        frames, movement = len(positions), movement_hash(positions)
    except UserError as wrong:  # a fault of the file; any other exception is a bug
        error = printable(str(wrong).removeprefix(f"{path}: "), keep="")
    except OSError as wrong:
        error = f"cannot be read ({wrong.strerror})"
    except Exception as bug:
        bug.add_note(f"while reading {path}")
        raise
    return Reading(file.path, file.size, file.modified, content, frames, movement, findings, error), positions


def read_clips(
    source: Path, files: Sequence[SourceFile], settings: ReadingSettings, workers: int
) -> Generator[tuple[Reading, np.ndarray | None], None, None]:
    """Reads the files with that many processes; results in the files' order. Raises UserError: the operating system killed a worker."""
    chunks = _chunks(files)
    if workers == 1 or len(chunks) < 2:
        for file in files:
            yield read_clip(source, file, settings)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(chunks)), context, initializer=_start_worker) as pool:
        try:
            running: deque[Future] = deque()
            for chunk in chunks:
                running.append(pool.submit(_read_chunk, source, chunk, settings))
                if len(running) == 2 * workers:  # so that few results wait in memory
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "the operating system killed a worker process, most often for lack of memory; run again with fewer --workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def is_unchanged(file: SourceFile, reading: Reading | None, source: Path) -> bool:
    """True if the file is still the one that was read: same size, and same modification time or else same content."""
    if reading is None or reading.size != file.size:
        return False
    try:
        return reading.modified == file.modified or reading.content == file_hash(source / file.path)
    except OSError:
        return False  # reading it again reports why


def _read_chunk(source: Path, chunk: list[SourceFile], settings: ReadingSettings) -> list[tuple[Reading, np.ndarray | None]]:
    return [read_clip(source, file, settings) for file in chunk]


def _chunks(files: Sequence[SourceFile]) -> list[list[SourceFile]]:
    chunks: list[list[SourceFile]] = []
    size = 0
    for file in files:
        if not chunks or size + file.size > CHUNK_BYTES or len(chunks[-1]) == CHUNK_FILES:
            chunks.append([])
            size = 0
        chunks[-1].append(file)
        size += file.size
    return chunks


def _start_worker() -> None:
    """One thread per worker; the parent handles Ctrl-C; a worker exits with its parent, even if that was killed."""
    threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
