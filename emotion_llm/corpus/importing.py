"""A folder of motion files becomes a corpus.

source folder, CorpusDefinition  ->  data/<name>/ (corpus/store.py), Report

Nothing half-made ever looks whole, and nothing whole is lost: files that were read are kept in data/<name>.partial until the corpus
is complete; the corpus is put together there, flushed to the disk, and only then renamed to data/<name>, after the one that
was there before was renamed to data/<name>.old. Importing again what has not changed writes nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from emotion_llm.corpus.definition import CorpusDefinition, natural_order
from emotion_llm.corpus.fields import read_json_object
from emotion_llm.corpus.reading import Reading, ReadingSettings, is_unchanged, load_readings, read_clips
from emotion_llm.corpus.reading_log import ReadingLog
from emotion_llm.corpus.report import Report, make_report, report_text, report_to_dict
from emotion_llm.corpus.scan import Scan, scan_source
from emotion_llm.corpus.store import CLIP_FIELDS, Corpus, clip_hash, data_hash, movement_number, open_corpus, write_corpus
from emotion_llm.motion.canonical import CanonicalSettings
from emotion_llm.motion.layout import layout_to_dict
from emotion_llm.runtime.console import progress
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import flush, write_json


@dataclass(frozen=True)
class PrepareSettings:
    """What launch/prepare.py is asked for."""

    corpus: str = ""
    """A corpus that ships (--list names them), or the path of a corpus definition of your own (*.json)."""
    source: Path | None = None
    """The folder that holds the corpus's files, as its owners send them."""
    output: Path = Path("data")
    """Corpora are written to OUTPUT/<name>, what TensorBoard shows of them to OUTPUT/tensorboard."""
    canonical: CanonicalSettings = field(default_factory=CanonicalSettings)
    """What a model may see of a motion; the same for all corpora that are to be trained on together."""
    workers: int = 0
    """Processes that read files; 0: one per core. The result is the same."""
    check: bool = False
    """Read and report, write nothing."""
    list: bool = False
    """Print the corpora and layouts that are known."""
    draw_layout: Path | None = None
    """Draw a layout from this motion file, to be looked through and used in a corpus definition of your own."""
    layout_file: Path = Path("layout.json")
    """Where the drawn layout is written."""
    metres_per_unit: float = 0.01
    """Of the motion file that a layout is drawn from: 0.01 for centimetres. (A corpus's files: its definition says.)"""
    synthetic_clips_per_emotion: int = 0
    """Above 0: three synthetic corpora of so many clips are written to OUTPUT/raw, and imported, instead of `source` (our choice)."""
    seed: int = 0
    """Of the synthetic corpora."""

    def __post_init__(self) -> None:
        for name in ("workers", "synthetic_clips_per_emotion", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: give a number from 0")


@dataclass(frozen=True)
class Imported:
    """One corpus, imported."""

    corpus: Corpus
    report: Report
    up_to_date: bool
    """True: it had been imported before, nothing had changed, nothing was written."""


def import_corpus(definition: CorpusDefinition, source: Path, output: Path, canonical: CanonicalSettings, workers: int) -> Imported:
    """Imports the source folder to output/<the definition's name>. The result does not depend on `workers`.

    Raises:
        UserError: nothing to import, nothing that can be read, no room on the disk, or something else lies in the way.
    """
    folder = output / definition.name
    partial = folder.with_name(folder.name + ".partial")
    scan = scan_source(definition, source)
    settings = ReadingSettings.of(definition, canonical)
    import_hash = _import_hash(definition, scan, settings)
    with _written_or_said(partial), _alone(partial):
        before, known = _imported_before(folder, settings)
        up_to_date = _hash_of(before) == import_hash and all(is_unchanged(file, known.get(file.path), source) for file in scan.files)
        if up_to_date:
            report = make_report(definition, scan, known, canonical.frames_per_second, before.data_hash)
        else:
            with ReadingLog(partial, settings.fingerprint, definition.layout.joints) as log:
                log.adopt(before, known.values())
                readings = read_files(definition, scan, source, settings, workers, log)
                report = _put_together(partial / "corpus", definition, scan, readings, settings, import_hash, log)
            _put_in_place(partial / "corpus", folder)
        shutil.rmtree(partial)
    return Imported(open_corpus(folder), report, up_to_date)


def check_corpus(definition: CorpusDefinition, source: Path, canonical: CanonicalSettings, workers: int) -> Report:
    """What an import of that folder would find: every file is read, nothing is written."""
    scan = scan_source(definition, source)
    readings = read_files(definition, scan, source, ReadingSettings.of(definition, canonical), workers, log=None)
    return make_report(definition, scan, readings, canonical.frames_per_second)


def read_files(
    definition: CorpusDefinition, scan: Scan, source: Path, settings: ReadingSettings, workers: int, log: ReadingLog | None
) -> dict[str, Reading]:
    """Path -> reading, of every file of the scan; a log keeps them, with their positions, and spares those it holds already."""
    readings = {}
    if log is not None:
        readings = {file.path: reading for file in scan.files if (reading := log.find(file, source))}
    fresh = [file for file in scan.files if file.path not in readings]
    with closing(read_clips(source, fresh, settings, workers)) as clips:
        for reading, positions in progress(clips, f"reading {definition.name}", "file", total=len(scan.files), start=len(readings)):
            if log is not None:
                log.add(reading, positions)
            readings[reading.path] = reading
    return readings


def _put_together(
    folder: Path,
    definition: CorpusDefinition,
    scan: Scan,
    readings: dict[str, Reading],
    settings: ReadingSettings,
    import_hash: str,
    log: ReadingLog,
) -> Report:
    """Writes the whole corpus to a folder of its own, clips in the order of their paths, and flushes it to the disk."""
    kept = [(file, readings[file.path]) for file in scan.files if readings[file.path].error is None]
    if not kept:
        first = scan.files[0]
        raise UserError(f"none of the {len(scan.files)} files can be read; the first, {first.path}: {readings[first.path].error}")
    emotions = definition.emotions
    actors = sorted({file.actor for file, _ in kept if file.actor is not None}, key=natural_order)
    actions = sorted({file.action for file, _ in kept if file.action is not None}, key=natural_order)
    index_of = [{word: index for index, word in enumerate(words)} | {None: -1} for words in (emotions, actors, actions)]
    rows, start = [], 0
    for file, reading in kept:
        labels = (index[word] for index, word in zip(index_of, (file.emotion, file.actor, file.action), strict=True))
        rows.append((start, reading.frames, *labels, file.take, movement_number(reading.movement)))
        start += reading.frames
    hashes = [clip_hash(file.emotion, file.actor, file.action, file.take, file.texts, reading.movement) for file, reading in kept]
    canonical, frames_per_second = asdict(settings.canonical), settings.canonical.frames_per_second
    whole_hash = data_hash(definition.layout, emotions, frames_per_second, canonical, hashes)
    report = make_report(definition, scan, readings, frames_per_second, whole_hash)
    metadata = {
        "name": definition.name, "title": definition.title, "licence": definition.licence,
        "clips": len(kept), "frames": start, "frames_per_second": frames_per_second,
        "emotions": emotions, "actors": actors, "actions": actions, "canonical": canonical, "layout": layout_to_dict(definition.layout),
        "reading": settings.conventions, "data_hash": whole_hash, "import_hash": import_hash, "reading_hash": settings.fingerprint,
    }  # fmt: skip
    names, tracks = [file.name for file, _ in kept], (log.positions(file.path) for file, _ in kept)
    shutil.rmtree(folder, ignore_errors=True)  # left over from an import that was killed here
    write_corpus(folder, metadata, np.array(rows, CLIP_FIELDS), names, tracks, {file.name: file.texts for file, _ in kept if file.texts})
    with (folder / "sources.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(asdict(readings[file.path])) + "\n" for file in scan.files)
    write_json(folder / "report.json", report_to_dict(report))
    (folder / "report.txt").write_text(report_text(report), encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        flush(path)
    return report


def _import_hash(definition: CorpusDefinition, scan: Scan, settings: ReadingSettings) -> str:
    """Hash of all that the corpus depends on besides the content of its files."""
    files = [[file.path, file.emotion, file.actor, file.action, file.take, file.texts] for file in scan.files]
    left_out = [asdict(item) for item in scan.left_out]
    metadata = [definition.name, definition.title, definition.licence, definition.note, definition.emotions, settings.fingerprint]
    return hashlib.sha256(json.dumps([metadata, files, left_out, scan.missing]).encode()).hexdigest()


def _imported_before(folder: Path, settings: ReadingSettings) -> tuple[Corpus | None, dict[str, Reading]]:
    """The whole corpus that lies there, and what its files became if they were read with these same settings."""
    set_aside = folder.with_name(folder.name + ".old")
    if set_aside.exists():  # an import was killed between or after its two renames
        shutil.rmtree(set_aside) if folder.exists() else set_aside.rename(folder)
    if not folder.exists():
        return None, {}
    if not (folder / "corpus.json").is_file():
        raise UserError(f"{folder}: holds something that is no corpus; move it away, or choose another --output")
    try:
        corpus = open_corpus(folder)
        same = read_json_object(folder / "corpus.json", "").get("reading_hash") == settings.fingerprint
        return corpus, load_readings(folder / "sources.jsonl") if same else {}
    except (UserError, OSError, ValueError):
        return None, {}  # damaged: it is replaced by the whole one that this import makes


def _hash_of(before: Corpus | None) -> str | None:
    return read_json_object(before.folder / "corpus.json", "").get("import_hash") if before else None


def _put_in_place(new: Path, folder: Path) -> None:
    """Renames the whole new corpus to its place. Killed at any point, either the old or the new one is there and whole."""
    set_aside = folder.with_name(folder.name + ".old")
    if folder.exists():
        folder.rename(set_aside)
    new.rename(folder)
    flush(folder.parent)
    shutil.rmtree(set_aside, ignore_errors=True)


@contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """One import of a corpus at a time; the system takes the lock back from a killed process."""
    partial.mkdir(parents=True, exist_ok=True)
    handle = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"{partial}: another process is importing this corpus; wait until it has ended") from None
    finally:
        os.close(handle)


@contextmanager
def _written_or_said(partial: Path) -> Iterator[None]:
    """An error of the disk in one line."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or partial}: cannot be written ({error.strerror}); make room or choose another --output and run again: "
            f"what was imported before is untouched, and what has been read so far is kept in {partial}"
        ) from None
