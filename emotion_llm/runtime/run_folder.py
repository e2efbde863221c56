"""Run folders: one job at a time, no leftovers of a killed one, and what made the results.

run folder  ->  <run>/.lock, held while the job lives
"""

import errno
import fcntl
import os
import platform
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path

from emotion_llm.runtime.console import is_first_rank, say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import remove_temporary

LOCK = ".lock"
WAIT_FOR_LOCK = 60.0  # Seconds to wait for a job that is about to exit, for example because its launcher was killed
UNSUPPORTED = (errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
"""How `flock` fails on file systems without locks (Lustre and NFS, depending on how they are mounted)."""


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of these packages, stored with every result."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Holds an exclusive lock on the run folder, and removes the temporary files of a killed job.

    The operating system releases the lock when the process exits, even if it is killed.

    Raises:
        UserError: another job works in the folder, or a file of it cannot be written, now or while the job runs.
    """
    try:
        with _lock(run) if is_first_rank() else nullcontext():
            yield
    except OSError as error:
        if error.filename is None or run.absolute() not in [(path := Path(str(error.filename)).absolute()), *path.parents]:
            raise
        raise UserError(
            f"{error.filename}: {error.strerror}; the run folder must exist and be writable as long as the job runs; make it so and run "
            "the same command again, or choose another --run folder"
        ) from None


@contextmanager
def _lock(run: Path) -> Iterator[None]:
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{run}: cannot be written ({error.strerror}); correct its permissions, or choose another --run folder") from None
    with lock as file:
        begin, told = time.monotonic(), False
        while not try_to_lock(file.fileno(), run):
            file.seek(0)
            holder = file.read().strip() or "another process"
            if time.monotonic() - begin > WAIT_FOR_LOCK:
                raise UserError(f"{run}: {holder} is training in this folder; wait for it, stop it, or choose another --run folder")
            if not told:
                say(f"{run}: {holder} is still working in this folder; waiting up to {WAIT_FOR_LOCK:.0f} s for it to exit")
                told = True
            time.sleep(0.2)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        for folder in (run, run / "encoder", run / "checkpoints"):
            remove_temporary(folder)
        yield


def try_to_lock(descriptor: int, run: Path) -> bool:
    """False if another process holds the lock; True, with a warning, if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        say(f"warning: {run}: this file system has no locks ({error.strerror}); do not start a second job in this folder")
    return True
