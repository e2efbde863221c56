"""Files: atomic writes, and hashes of whole files.

content  ->  temporary file in the same folder, fsync, rename, fsync of the folder: a crash leaves the old or the new content
path     ->  SHA-256 of the content, cached by path, size and modification time in ~/.cache/emotion_llm/file_hashes.json
"""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

RECENT_NS = 2_000_000_000
"""A file modified so recently (nanoseconds) is hashed but not cached: it could change again within the clock's resolution."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields the path of an empty temporary file; at the end it replaces `path`. After an exception `path` is unchanged.

    The file is created exclusively under an unpredictable name, so it follows no symbolic link that somebody else has put there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
    tmp.touch(exist_ok=False)  # O_CREAT | O_EXCL, and the permissions that the umask grants
    try:
        yield tmp
        flush(tmp)
        tmp.replace(path)
        flush(path.parent)
    finally:
        tmp.unlink(missing_ok=True)


def remove_temporary(folder: Path) -> None:
    """Removes the temporary files that killed processes left in a folder; nobody else may be writing there."""
    for path in folder.glob(f".?*.{'[0-9a-f]' * 16}.tmp"):
        path.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Writes a value as JSON, atomically."""
    with atomic_write(path) as tmp:
        tmp.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_json_lines(path: Path, records: Iterable[object]) -> None:
    """Writes one JSON value per line, atomically."""
    with atomic_write(path) as tmp, tmp.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def flush(path: Path) -> None:
    """fsync: waits until a file's content, or a folder's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_hash(path: Path) -> str:
    """SHA-256 of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """SHA-256 of the file's bytes; read in full only if size or modification time differ from the cached ones.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    status = path.stat()
    version = [status.st_size, status.st_mtime_ns]
    cached = _read_cache().get(str(path))
    if isinstance(cached, list) and cached[:2] == version and isinstance(cached[-1], str):
        return cached[-1]
    digest = file_hash(path)
    if time.time_ns() - status.st_mtime_ns > RECENT_NS:
        entries = {name: entry for name, entry in _read_cache().items() if Path(name).is_file()}
        with suppress(OSError):  # no home folder, or a full disk: the next start hashes again
            write_json(cache_path(), entries | {str(path): [*version, digest]})
    return digest


def cache_path() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emotion_llm" / "file_hashes.json"


def _read_cache() -> dict[str, object]:
    try:
        cache = json.loads(cache_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return cache if isinstance(cache, dict) else {}
