"""Mutation testing: small errors are put into the code, one at a time, and the tests named beside them must fail.

    python -m tests.mutation                   all mutants of tests/mutants.py
    python -m tests.mutation splits windows    those of files whose path contains one of the words

The tests run first without a mutant: if they fail, their mutants are reported as not tried; otherwise the mutants' limit is a multiple of
the time they took, and a run beyond it counts as killed. Works on temporary copies of the repository, one per core, in forks of a process
that has imported the libraries. Test data that all tests share are made once, by the code without mutants. Prints results as they come,
then the survivors; the exit status is 1 if fewer than 90 % are killed or mutants were not tried.
"""

import contextlib
import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

import pytest

from tests.mutants import MUTANTS

ROOT = Path(__file__).parents[1]
CORES = min(2, os.cpu_count() or 1)
LIMIT_FACTOR, LIMIT_EXTRA = 5, 60
"""A mutant's limit: so many times the seconds of the run without one, and so many seconds more."""
LEAST_KILLED = 0.9
SLOW_IMPORTS = (
    "torch.utils.tensorboard", "transformers.modeling_utils", "peft", "deepspeed", "sklearn.ensemble", "scipy.signal", "matplotlib.pyplot",
    "torchmetrics.text", "tyro", "pydantic", "safetensors.torch", "tensorboard.backend.event_processing.event_accumulator",
)  # fmt: skip
SHARED_DATA = ("tests/training/test_resuming.py", "tests/inference/test_interface.py")
"""Tests that use all the folders which tests/conftest.py makes once."""
Mutant = tuple[str, str, str]
"""File, old and new code."""


def main(words: list[str]) -> int:
    mutants: dict[str, list[Mutant]] = {}
    for file, tests, changes in MUTANTS:
        if not words or any(word in file for word in words):
            mutants.setdefault(tests, []).extend((file, old, new) for old, new in changes)
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    killed, survivors, not_tried = 0, [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(CORES, multiprocessing.get_context("fork"), initializer=_make_copy, initargs=[Path(folder)]) as pool,
    ):
        running = {pool.submit(run_tests, tests): (tests, None) for tests in mutants}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                (tests, mutant), (status, seconds, printed) = running.pop(future), future.result()
                if mutant is None and status == pytest.ExitCode.OK:
                    limit = LIMIT_FACTOR * seconds + LIMIT_EXTRA
                    running |= {pool.submit(run_tests, tests, mutant, limit): (tests, mutant) for mutant in mutants[tests]}
                    print(f"passed    {seconds:6.1f} s  {tests} without a mutant", flush=True)
                    continue
                if mutant is None or status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
                    not_tried += mutants[tests] if mutant is None else [mutant]
                    print(f"NOT TRIED: {tests} fail without a mutant:\n{printed}", flush=True)
                    continue
                words = "SURVIVED " if status == pytest.ExitCode.OK else "too slow " if status is None else "killed   "
                killed += status != pytest.ExitCode.OK
                survivors += [mutant] if status == pytest.ExitCode.OK else []
                print(f"{words} {seconds:6.1f} s  {describe(mutant)}", flush=True)
    total = killed + len(survivors)
    print(f"{killed} of {total} mutants killed ({killed / max(1, total):.1%})")
    for word, listed in (("survived", survivors), ("not tried", not_tried)):
        print("".join(f"{word}: {describe(mutant)}\n" for mutant in listed), end="")
    return int(killed < LEAST_KILLED * total or bool(not_tried))


def describe(mutant: Mutant) -> str:
    file, old, new = mutant
    return f"{file}: {old!r} -> {new!r}"


def _make_copy(folder: Path) -> None:
    """The copy of the repository of this process, and its shared test data."""
    global _copy
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _copy = Path(tempfile.mkdtemp(dir=folder))
    ignored = shutil.ignore_patterns(".git", ".venv", "data", "models", "runs", "__pycache__")
    shutil.copytree(ROOT, _copy / "repository", ignore=ignored)
    (_copy / "shared").mkdir()
    status, printed = _in_a_fork(["--setup-only", *SHARED_DATA], float("inf"))
    if status != pytest.ExitCode.OK:
        raise RuntimeError(printed)
    (_copy / "shared").rename(_copy / "unchanged")


def run_tests(tests: str, mutant: Mutant | None = None, limit: float = float("inf")) -> tuple[int | None, float, str]:
    """pytest's exit status, None if it took longer than the limit, its seconds, and the end of what it printed."""
    shutil.rmtree(_copy / "shared", ignore_errors=True)
    shutil.copytree(_copy / "unchanged", _copy / "shared", symlinks=True)
    file, old, new = mutant or ("README.md", "", "")
    path, begin = _copy / "repository" / file, time.monotonic()
    original = path.read_text(encoding="utf-8")
    path.write_text(original.replace(old, new) if mutant else original, encoding="utf-8")
    try:
        status, printed = _in_a_fork(tests.split(), limit)
    finally:
        path.write_text(original, encoding="utf-8")
    return status, time.monotonic() - begin, printed


def _in_a_fork(words: list[str], limit: float) -> tuple[int | None, str]:
    log, end = _copy / "log.txt", time.monotonic() + limit
    child = os.fork()
    if child == 0:
        _run_pytest(words, log)
    status = None
    try:
        while status is None and time.monotonic() < end:
            ended, how = os.waitpid(child, os.WNOHANG)
            status = os.waitstatus_to_exitcode(how) if ended else None
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # with the processes that it has started
        if status is None:
            os.waitpid(child, 0)
    return status, log.read_text(encoding="utf-8", errors="replace")[-3000:]


def _run_pytest(words: list[str], log: Path) -> None:
    """Ends this process with pytest's exit status; imports nothing of the repository but what is in this process's copy."""
    status = 1
    try:
        os.setsid()
        for descriptor, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)):
            os.dup2(os.open(path, flags), descriptor)
        os.dup2(1, 2)
        sys.stdout, sys.stderr = (open(descriptor, "w", encoding="utf-8", closefd=False) for descriptor in (1, 2))  # noqa: SIM115
        repository = _copy / "repository"
        os.chdir(repository)
        os.environ |= {
            "PYTHONPATH": str(repository), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
            "TESTS_SHARED_FOLDER": str(_copy / "shared"), "XDG_CACHE_HOME": str(_copy / "shared" / "cache"),
        }  # fmt: skip
        sys.dont_write_bytecode = True
        sys.path = [str(repository), *(path for path in sys.path if path and Path(path).resolve() != ROOT)]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("emotion_llm", "launch", "tests")]:
            del sys.modules[name]
        status = int(pytest.main(["-x", "-n", "0", "-p", "no:cacheprovider", "--basetemp", str(_copy / "tmp"), *words]))
        sys.stdout.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
