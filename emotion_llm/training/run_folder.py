"""A run folder: one job at a time works in it, and it needs nothing beside it.

settings, encoder  ->  <run>/settings.json, <run>/encoder, a lock while the job lives
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emotion_llm.pretraining.trained_encoder import ABOUT, WEIGHTS
from emotion_llm.runtime.console import is_first_rank, say, settings_to_dict
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import atomic_write, write_json
from emotion_llm.runtime.stopping import remove_marker
from emotion_llm.training.settings import FinetuneSettings

LOCK = ".lock"
WAIT_FOR_LOCK = 60.0
"""Seconds granted to a job that is just ending, as after its launcher was killed."""


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keeps every other job out of the run folder; the operating system opens the lock when this process ends, however it ends.

    Raises:
        UserError: another job works there.
    """
    if not is_first_rank():
        yield
        return
    run.mkdir(parents=True, exist_ok=True)
    with (run / LOCK).open("a+", encoding="utf-8") as file:
        begin, told = time.monotonic(), False
        while not _try_to_lock(file.fileno()):
            file.seek(0)
            holder = file.read().strip() or "another process"
            if time.monotonic() - begin > WAIT_FOR_LOCK:
                raise UserError(f"{run}: {holder} is training in this folder; wait for it, stop it, or choose another --run folder")
            if not told:
                say(f"{run}: {holder} is still working in this folder; waiting up to {WAIT_FOR_LOCK:.0f} s for its end")
                told = True
            time.sleep(0.2)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def open_run_folder(settings: FinetuneSettings) -> None:
    """What evaluation and prediction need is copied into the folder before the first step."""
    if is_first_rank():
        remove_marker(settings.run)
        write_json(settings.run / "settings.json", settings_to_dict(settings))
        for name in (WEIGHTS, ABOUT):
            _copy(settings.encoder / name, settings.run / "encoder" / name)


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as tmp:
        shutil.copyfile(source, tmp)


def _try_to_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
