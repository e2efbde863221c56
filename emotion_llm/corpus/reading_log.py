"""What an import has read so far, on disk: an import that was killed goes on where it stopped.

Reading, positions (T, V, 3)  ->  <name>.partial/readings.jsonl, positions.f32  ->  Reading, positions (T, V, 3)

A line of readings.jsonl is written after its positions are; a torn last line, or positions that do not hash to what their line
says, count as not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import numpy as np

from emotion_llm.corpus.reading import Reading, is_unchanged
from emotion_llm.corpus.scan import SourceFile
from emotion_llm.corpus.store import Corpus, movement_hash


class ReadingLog:
    """The finished files of one import; a context manager, which closes them."""

    def __init__(self, folder: Path, fingerprint: str, joints: int) -> None:
        """`fingerprint`: of the settings that the files are read with; a log made with other ones is begun anew."""
        self.folder, self.joints = folder, joints
        self._found: dict[str, tuple[Reading, int]] = {}
        """Path -> its reading, and the row of positions.f32 where its positions begin."""
        folder.mkdir(parents=True, exist_ok=True)
        self._lines = (folder / "readings.jsonl").open("a+b", buffering=0)
        self._rows = (folder / "positions.f32").open("a+b", buffering=0)
        self._resume(fingerprint)

    def __enter__(self) -> ReadingLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in (self._lines, self._rows):
            file.close()

    def find(self, file: SourceFile, source: Path) -> Reading | None:
        """What was read from that file, if it has not changed since: same size, and same time of change or same content."""
        reading = self._found.get(file.path, (None, 0))[0]
        return reading if is_unchanged(file, reading, source) else None

    def add(self, reading: Reading, positions: np.ndarray | None) -> None:
        """Keeps one reading; `positions` (T, V, 3) float32, None for a file that could not be read."""
        row = self._next_row
        if positions is not None:
            _write_all(self._rows, np.ascontiguousarray(positions, dtype="<f4").tobytes())
        _write_all(self._lines, (json.dumps({"row": row, **asdict(reading)}) + "\n").encode())
        self._found[reading.path] = (reading, row)
        self._next_row += reading.frames

    def adopt(self, corpus: Corpus | None, readings: Iterable[Reading]) -> None:
        """Takes over what an earlier import of the same corpus read with the same settings."""
        row = 0
        for reading in readings:
            positions = corpus.all_positions[row : row + reading.frames] if reading.error is None else None
            row += reading.frames
            if reading.path not in self._found and (positions is None or movement_hash(positions) == reading.movement):
                self.add(reading, positions)

    def positions(self, path: str) -> np.ndarray:
        """(T, V, 3) float32 of a file that was read."""
        reading, row = self._found[path]
        self._rows.seek(row * self._row_bytes)
        raw = self._rows.read(reading.frames * self._row_bytes)
        return np.frombuffer(raw, dtype="<f4").reshape(reading.frames, self.joints, 3)  # (T, V, 3)

    @property
    def _row_bytes(self) -> int:
        return self.joints * 3 * 4

    def _resume(self, fingerprint: str) -> None:
        """Loads what is there; cuts off what does not belong to it."""
        self._lines.seek(0)
        whole, self._next_row = 0, 0
        for index, line in enumerate(self._lines.read().splitlines(keepends=True)):
            try:
                metadata = json.loads(line)
                if not line.endswith(b"\n") or (index == 0 and metadata != {"fingerprint": fingerprint}):
                    break
                if index > 0:
                    row = metadata.pop("row")
                    reading = Reading.from_dict(metadata)
                    self._found[reading.path] = (reading, row)
                    self._next_row = row + reading.frames
            except (ValueError, TypeError, KeyError, AttributeError):
                break
            whole += len(line)
        self._lines.truncate(whole)
        self._rows.truncate(self._next_row * self._row_bytes)  # where a power cut ate positions this fills up with zeros
        for path in [path for path, (reading, _) in self._found.items() if reading.error is None and not self._is_whole(path)]:
            del self._found[path]
        if whole == 0:
            _write_all(self._lines, (json.dumps({"fingerprint": fingerprint}) + "\n").encode())

    def _is_whole(self, path: str) -> bool:
        return movement_hash(self.positions(path)) == self._found[path][0].movement


def _write_all(file: object, data: bytes) -> None:
    """An unbuffered write may write less than asked for, as on a disk that fills up: then it goes on, and the next one fails."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
