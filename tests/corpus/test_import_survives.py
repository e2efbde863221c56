"""Killed, interrupted or out of room: an incomplete corpus is never taken for a complete one, and none is lost."""

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from emotion_llm.corpus import importing, report, store
from emotion_llm.corpus.store import open_corpus
from emotion_llm.runtime.errors import UserError
from emotion_llm.synthetic.corpora import write_egbm
from tests.helpers.import_examples import content, recomputed_hash, run

IMPORT = """
import sys
from pathlib import Path
from emotion_llm.corpus.definition import read_definition
from emotion_llm.corpus.importing import import_corpus
from emotion_llm.motion.canonical import CanonicalSettings
if __name__ == "__main__":
    print("ready", flush=True)
    import_corpus(read_definition("egbm"), Path(sys.argv[1]), Path(sys.argv[2]), CanonicalSettings(), int(sys.argv[3]))
"""


def test_an_interrupted_import_starts_over_and_ends_the_same(source, tmp_path, files_read, monkeypatch, whole):
    with monkeypatch.context() as interrupted:
        interrupted.setattr(importing, "write_corpus", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(source, tmp_path / "data")
    assert not (tmp_path / "data/egbm").exists()
    assert len(files_read) == 14
    positions = tmp_path / "data/egbm.partial/corpus/positions.npy"
    positions.write_bytes(positions.read_bytes()[:-5000])  # whatever it left does not matter
    run(source, tmp_path / "data")
    assert len(files_read) == 28
    assert content(tmp_path / "data/egbm") == whole
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["egbm"]


def in_a_fork(action) -> int:
    """Runs the action in a copy of this process; its exit status, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except UserError as error:
            sys.stderr.write(str(error))
            os._exit(2)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def smaller(source, tmp_path) -> Path:
    """The same source, a file fewer."""
    folder = Path(shutil.copytree(source, tmp_path / "smaller"))
    min(folder.glob("*_*_*.csv")).unlink()
    return folder


@pytest.mark.parametrize("replacing", [False, True])
def test_killed_at_any_step_of_the_writing_either_the_old_or_the_new_corpus_is_there_and_whole(
    source, smaller, tmp_path, whole, replacing, monkeypatch
):
    folder = tmp_path / "data" / "egbm"
    old = content(run(smaller, tmp_path / "data").corpus.folder) if replacing else None
    steps = 0

    def counted(really, kill_at):
        def call(*arguments, **options):
            nonlocal steps
            steps += 1
            if steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return really(*arguments, **options)

        return call

    def killed_import(kill_at):
        for holder, name in (
            (importing, "flush"),
            (report, "write_json"),
            (store, "write_json"),
            (Path, "rename"),
            (shutil, "rmtree"),
            (np, "save"),
        ):
            monkeypatch.setattr(holder, name, counted(getattr(holder, name), kill_at))
        run(source, tmp_path / "data")

    for kill_at in range(1, 100):
        status = in_a_fork(partial(killed_import, kill_at))
        if replacing or folder.exists():
            there = content(open_corpus(folder).folder)
            assert there in (old, whole)
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert kill_at > 15
    assert content(folder) == whole
    run(source, tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["egbm"]


def killed_at_random(source: Path, output: Path, moments: list[float], workers: int) -> int:
    """Starts the import again and again, kills it after each of those seconds of work; how often it was killed in time."""
    kills = 0
    for seconds in moments:
        child = subprocess.Popen(
            [sys.executable, "-c", IMPORT, source, output, str(workers)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        child.stdout.readline()
        time.sleep(seconds)
        child.kill()
        killed = child.wait() == -signal.SIGKILL
        child.stdout.close()
        if (output / "egbm").exists():
            corpus = open_corpus(output / "egbm")
            assert recomputed_hash(corpus) == corpus.data_hash
        if killed:
            kills += 1
        else:
            shutil.rmtree(output)  # it was done in time: begin again
    return kills


def test_an_import_that_is_killed_at_random_moments_ends_up_the_same(source, tmp_path, whole):
    rng = random.Random(0)
    assert killed_at_random(source, tmp_path / "data", [rng.uniform(0, 0.25) for _ in range(3)], workers=1) > 0
    run(source, tmp_path / "data")
    assert content(tmp_path / "data/egbm") == whole


@pytest.mark.slow
def test_an_import_that_is_killed_again_and_again_ends_up_the_same(tmp_path):
    write_egbm(tmp_path / "source", clips_per_emotion=40, seed=0)
    rng = random.Random(1)
    assert killed_at_random(tmp_path / "source", tmp_path / "data", [rng.uniform(0, 2.5) for _ in range(40)], workers=2) >= 20
    run(tmp_path / "source", tmp_path / "data")
    run(tmp_path / "source", tmp_path / "unbroken", workers=2)
    assert content(tmp_path / "data/egbm") == content(tmp_path / "unbroken/egbm")


def test_workers_end_with_a_parent_that_was_killed(source, tmp_path):
    for number in range(60):
        for path in list(source.glob("*_*_1.csv"))[:5]:
            shutil.copy(path, source / f"P{number}_{path.stem.split('_')[1]}_{number}.csv")
    child = subprocess.Popen(
        [sys.executable, "-c", IMPORT, source, tmp_path / "data", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    child.stdout.readline()
    time.sleep(1.0)
    child.kill()
    child.wait()
    child.stdout.close()
    for _ in range(100):
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(child.pid, signal.SIGKILL)
    raise AssertionError("workers outlived their parent by ten seconds")


@pytest.mark.parametrize("replacing", [False, True])
def test_a_full_disk_is_said_in_one_line_and_costs_nothing(source, smaller, tmp_path, whole, replacing, capfd):
    folder = tmp_path / "data" / "egbm"
    old = content(run(smaller, tmp_path / "data").corpus.folder) if replacing else None

    def with_a_small_disk(limit: int):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing beyond the limit then fails as it does on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        run(source, tmp_path / "data")

    size = len(whole["positions.npy"])
    for limit in (1000, size // 3, size - 1):  # full at once, while reading, while putting together
        assert in_a_fork(partial(with_a_small_disk, limit)) == 2
        said = capfd.readouterr().err
        assert "cannot be written (File too large); free some space or choose another --output and run again" in said
        assert "what was imported before is untouched" in said
        assert replacing == folder.exists()
        if replacing:
            assert content(open_corpus(folder).folder) == old
    run(source, tmp_path / "data")
    assert content(folder) == whole


def test_no_space_left_on_the_device_is_said_too(source, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "write_positions", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.raises(UserError, match=r"egbm.partial: cannot be written \(No space left on device\); free some space"):
        run(source, tmp_path / "data")
