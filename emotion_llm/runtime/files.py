"""Atomic file writes: after a crash a file holds its old content or its new content, never a part.

content  ->  temporary file in the same folder, fsync, rename, fsync of the folder
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


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


def write_json(path: Path, value: object) -> None:
    """Writes a value as JSON, atomically."""
    with atomic_write(path) as tmp:
        tmp.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def file_hash(path: Path) -> str:
    """SHA-256 of the file's bytes; `content_hash` of file_hashes.py remembers it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
