"""One job at a time works in a run folder."""

import errno
import os
import subprocess
import sys

import pytest

from emotion_llm.runtime import run_folder
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.run_folder import locked

HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.write("process 1 on elsewhere"); file.flush()
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""


def hold(run, seconds: float) -> subprocess.Popen:
    run.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, run / ".lock", str(seconds)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "locked\n"
    return holder


def test_a_folder_in_use_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "WAIT_FOR_LOCK", 0.3)
    with hold(tmp_path / "run", 60) as holder:
        said = r"run: process 1 on elsewhere is training in this folder; wait for it, stop it, or choose another --run folder"
        with pytest.raises(UserError, match=said), locked(tmp_path / "run"):
            pass
        holder.kill()


def test_a_job_that_is_just_ending_is_waited_for(tmp_path, capsys):
    with hold(tmp_path / "run", 0.5), locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    assert "process 1 on elsewhere is still working in this folder; waiting up to 60 s for it to exit" in capsys.readouterr().out


def test_the_lock_of_a_killed_job_is_no_obstacle(tmp_path):
    with hold(tmp_path / "run", 60) as holder:
        holder.kill()
    with locked(tmp_path / "run"), pytest.raises(BlockingIOError):
        raise BlockingIOError  # whatever happens inside passes through


def test_a_file_system_without_locks_is_a_warning(tmp_path, capsys, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(run_folder.fcntl, "flock", unsupported)
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    assert "this file system has no locks (Operation not supported); do not start a second job" in capsys.readouterr().out
