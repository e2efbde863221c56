"""One job at a time works in a run folder."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

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


def test_a_folder_that_cannot_be_made_or_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(
        UserError, match=r"file/run: cannot be written \(Not a directory\); correct its permissions, or choose another --run"
    ):
        locked(tmp_path / "file" / "run").__enter__()
    assert (tmp_path / "file").read_text() == "kept"

    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", read_only)
    with pytest.raises(UserError, match=r"run: cannot be written \(Read-only file system\)"):
        locked(tmp_path / "run").__enter__()


def test_temporary_files_of_a_killed_job_are_removed_at_the_next_start_and_no_others(tmp_path):
    run = tmp_path / "run"
    code = (
        "import os, signal, sys; from pathlib import Path; from emotion_llm.runtime.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as tmp: tmp.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    for path in (run / "state.safetensors", run / "encoder" / "encoder.json", run / "checkpoints" / "best.json"):
        assert subprocess.run([sys.executable, "-c", code, path]).returncode == -signal.SIGKILL
    others = [run / "notes.tmp", run / ".hidden.tmp", run / ".x.0123456789abcdef.tmp2"]
    for path in others:
        path.write_text("the user's")
    assert len(list(run.rglob(".*.tmp"))) == 4
    with locked(run):
        assert sorted(path for path in run.rglob("*") if path.is_file()) == sorted([*others, run / ".lock"])


def test_a_file_system_without_locks_is_a_warning(tmp_path, capsys, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(run_folder.fcntl, "flock", unsupported)
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    assert "this file system has no locks (Operation not supported); do not start a second job" in capsys.readouterr().out


def test_a_run_folder_that_cannot_be_made_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    said = r"file/run: cannot be written \(Not a directory\); correct its permissions, or choose another --run folder"
    with pytest.raises(UserError, match=said), locked(tmp_path / "file" / "run"):
        pass


def test_a_run_folder_that_becomes_read_only_is_said_in_one_line_and_other_folders_are_not_meant(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"run/preempted.json: Read-only file system; the run folder must"), locked(run):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(run / "preempted.json"))
    with pytest.raises(OSError, match="Read-only file system"), locked(run):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "run2" / "file"))
