"""A folder of motion files becomes a corpus.

source folder, CorpusDefinition  ->  data/<name>/ (corpus/store.py), Report

The corpus is written to data/<name>.partial, flushed to the disk, and then renamed to data/<name>, after an older one was renamed to
data/<name>.old: at every moment either the old or the new corpus is there and complete. An interrupted import starts over;
importing again what has not changed writes nothing.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from emotion_llm.corpus.definition import CorpusDefinition
from emotion_llm.corpus.reading import Reading, ReadingSettings, is_unchanged, read_clips
from emotion_llm.corpus.report import Report, make_report, write_report
from emotion_llm.corpus.scan import Scan, scan_source
from emotion_llm.corpus.store import Corpus, StoredClip, check_content, open_corpus, write_corpus, write_positions
from emotion_llm.motion.canonical import CanonicalSettings
from emotion_llm.runtime.console import progress
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import flush
from emotion_llm.runtime.run_folder import try_to_lock


@dataclass(frozen=True)
class Imported:
    """One corpus, imported."""

    corpus: Corpus
    report: Report
    up_to_date: bool  # True: nothing had changed since the last import, nothing was written


def import_corpus(definition: CorpusDefinition, source: Path, output: Path, canonical: CanonicalSettings, workers: int) -> Imported:
    """Imports the source folder to output/<the definition's name>. The result does not depend on `workers`.

    Raises:
        UserError: nothing to import, nothing that can be read, no space on the disk, or a foreign folder in the way.
    """
    folder = output / definition.name
    scan = scan_source(definition, source)
    settings = ReadingSettings(definition, canonical)
    import_hash = _import_hash(scan, settings)
    with corpus_locked(folder) as partial:
        readings = _unchanged_readings(folder, scan, source, import_hash)
        if readings is not None:
            report = make_report(definition, scan, readings, canonical.frames_per_second, open_corpus(folder).data_hash)
        else:
            report = _write(partial / "corpus", scan, source, settings, import_hash, workers)
            _put_in_place(partial / "corpus", folder)
    return Imported(open_corpus(folder), report, up_to_date=readings is not None)


def check_corpus(definition: CorpusDefinition, source: Path, canonical: CanonicalSettings, workers: int) -> Report:
    """What an import of that folder would find: every file is read, nothing is written."""
    scan = scan_source(definition, source)
    clips = _read(scan, source, ReadingSettings(definition, canonical), workers)
    return make_report(definition, scan, {reading.path: reading for reading, _ in clips}, canonical.frames_per_second)


def _read(scan: Scan, source: Path, settings: ReadingSettings, workers: int) -> Generator[tuple[Reading, np.ndarray | None], None, None]:
    with closing(read_clips(source, scan.files, settings, workers)) as clips:
        yield from progress(clips, f"reading {settings.definition.name}", "file", total=len(scan.files))


def _write(folder: Path, scan: Scan, source: Path, settings: ReadingSettings, import_hash: str, workers: int) -> Report:
    """Reads all files and writes the corpus to a new folder, clips in the order of their paths, and flushes it to the disk."""
    shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted import
    folder.mkdir()
    definition, readings = settings.definition, dict[str, Reading]()

    def tracks() -> Generator[np.ndarray, None, None]:
        for reading, positions in _read(scan, source, settings, workers):
            readings[reading.path] = reading
            if positions is not None:
                yield positions

    with closing(tracks()) as positions:
        write_positions(folder / "positions.npy", positions, definition.layout.joints)
    kept = [(file, readings[file.path]) for file in scan.files if readings[file.path].error is None]
    if not kept:
        first = scan.files[0]
        raise UserError(f"none of the {len(scan.files)} files can be read; the first, {first.path}: {readings[first.path].error}")
    clips = [
        StoredClip(file.name, reading.frames, file.emotion, file.actor, file.action, file.take, reading.movement, file.texts)
        for file, reading in kept
    ]
    rate, about = settings.canonical.frames_per_second, {name: getattr(definition, name) for name in ("name", "title", "licence")}
    about |= {"reading": settings.conventions, "import_hash": import_hash}
    write_corpus(folder, definition.layout, definition.emotions, rate, asdict(settings.canonical), clips, **about)
    with (folder / "sources.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(asdict(readings[file.path])) + "\n" for file in scan.files)
    report = make_report(definition, scan, readings, rate, open_corpus(folder).data_hash)
    write_report(report, folder)
    for path in (*folder.iterdir(), folder):
        flush(path)
    return report


def _import_hash(scan: Scan, settings: ReadingSettings) -> str:
    """Hash of everything that the corpus depends on besides the content of its files."""
    definition = settings.definition
    files = [[file.path, file.emotion, file.actor, file.action, file.take, file.texts] for file in scan.files]
    left_out = [asdict(item) for item in scan.left_out]
    metadata = [definition.name, definition.title, definition.licence, definition.note, definition.emotions, settings.fingerprint]
    return hashlib.sha256(json.dumps([metadata, files, left_out, scan.missing]).encode()).hexdigest()


def _unchanged_readings(folder: Path, scan: Scan, source: Path, import_hash: str) -> dict[str, Reading] | None:
    """The readings of the corpus that is there; None if there is none, if it is damaged, or if anything has changed since its import."""
    set_aside = folder.with_name(folder.name + ".old")
    if set_aside.exists():  # an import was killed between or after its two renames
        shutil.rmtree(set_aside) if folder.exists() else set_aside.rename(folder)
    if not folder.exists():
        return None
    if not (folder / "corpus.json").is_file():
        raise UserError(f"{folder}: is not a corpus; move it away, or choose another --output")
    try:
        corpus = open_corpus(folder)
        check_content(corpus)
        lines = (folder / "sources.jsonl").read_text(encoding="utf-8").splitlines()
        readings = {reading.path: reading for reading in (Reading(**json.loads(line)) for line in lines)}
    except (UserError, OSError, ValueError, TypeError, KeyError):
        return None  # damaged: replaced
    unchanged = corpus.import_hash == import_hash and all(is_unchanged(file, readings.get(file.path), source) for file in scan.files)
    return readings if unchanged else None


def _put_in_place(new: Path, folder: Path) -> None:
    """Renames the new corpus to its place."""
    set_aside = folder.with_name(folder.name + ".old")
    if folder.exists():
        folder.rename(set_aside)
    new.rename(folder)
    flush(folder.parent)
    shutil.rmtree(set_aside, ignore_errors=True)


@contextmanager
def corpus_locked(folder: Path) -> Iterator[Path]:
    """One import or narration of a corpus at a time; the operating system releases the lock of a killed process.

    Yields the path of <folder>.partial, which is locked, and removed at the end.

    Raises:
        UserError: another process has the lock, or the disk cannot be written.
    """
    partial = folder.with_name(folder.name + ".partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        handle = os.open(partial, os.O_RDONLY)
        try:
            if not try_to_lock(handle, partial):
                raise UserError(f"{partial}: another process is importing this corpus; wait until it has finished")
            yield partial
            shutil.rmtree(partial)
        finally:
            os.close(handle)
    except OSError as error:
        raise UserError(
            f"{error.filename or partial}: cannot be written ({error.strerror}); free some space or choose another --output and run again; "
            "what was imported before is untouched"
        ) from None
