"""Launch scripts run in a fork of this process: as a program, without the seconds that a program needs for its imports."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from emotion_llm.runtime import console, watchdog


def run_script(main: Callable[[], object], *arguments: object, seconds: float = 120) -> subprocess.CompletedProcess:
    """Runs a script's main function with these words on the command line.

    Returns:
        Exit status, standard output and standard error, as subprocess.run does.
    """
    command = [f"{main.__module__}.py", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / "stdout", Path(folder) / "stderr"]
        process = multiprocessing.get_context("fork").Process(target=_work, args=[main, command, streams])
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, seconds)
        return subprocess.CompletedProcess(command, process.exitcode, *(path.read_text(encoding="utf-8") for path in streams))


def _work(main: Callable[[], object], command: list[str], streams: list[Path]) -> None:
    for descriptor, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout, sys.stderr = (open(descriptor, "w", encoding="utf-8", closefd=False) for descriptor in (1, 2))  # noqa: SIM115 - until the end
    sys.argv = command
    watchdog._current = None  # of a fine-tune that a test ran in this process
    console.run(main)
