"""SHA-256 of whole files, computed once per version of a file.

path  ->  hash of the content, cached by path, size and modification time in ~/.cache/emotion_llm/file_hashes.json
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from emotion_llm.runtime.files import file_hash, write_json

RECENT_NS = 2_000_000_000
"""A file modified so recently (nanoseconds) is hashed but not cached: it could change again within the clock's resolution."""


def cache_path() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emotion_llm" / "file_hashes.json"


def content_hash(path: Path) -> str:
    """SHA-256 of the file's bytes; read in full only if size or modification time differ from the cached ones.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    status = path.stat()
    version = [status.st_size, status.st_mtime_ns]
    cache = _read_cache()
    cached = cache.get(str(path))
    if isinstance(cached, list) and cached[:2] == version and isinstance(cached[-1], str):
        return cached[-1]
    digest = file_hash(path)
    if time.time_ns() - status.st_mtime_ns > RECENT_NS:
        entries = {name: entry for name, entry in _read_cache().items() if Path(name).is_file()}
        with contextlib.suppress(OSError):  # no home folder, or a full disk: the next start hashes again
            write_json(cache_path(), entries | {str(path): [*version, digest]})
    return digest


def _read_cache() -> dict[str, object]:
    try:
        cache = json.loads(cache_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return cache if isinstance(cache, dict) else {}
