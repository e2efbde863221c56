"""Atomic writes: on disk before the rename, and never through somebody else's link."""

import os

import pytest

from emotion_llm.runtime.files import atomic_write, write_json


def test_file_is_synced_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    calls = []
    true_fsync, true_replace = os.fsync, os.replace

    def fsync(descriptor):
        calls.append(("fsync", os.path.realpath(f"/proc/self/fd/{descriptor}")))
        true_fsync(descriptor)

    def replace(source, target, **named):
        calls.append(("replace", os.fspath(source)))
        true_replace(source, target, **named)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_json(tmp_path / "a.json", 1)
    (first, tmp), renamed, last = calls
    assert (first, renamed, last) == ("fsync", ("replace", tmp), ("fsync", os.path.realpath(tmp_path)))


def test_the_temporary_file_is_new_and_lies_in_the_same_folder_under_a_name_that_nobody_can_predict(tmp_path):
    names = set()
    for _ in range(2):
        with atomic_write(tmp_path / "a.txt") as tmp:
            assert tmp.parent == tmp_path and not tmp.is_symlink() and tmp.stat().st_size == 0
            names.add(tmp.name)
    assert len(names) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_link_at_the_temporary_name_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    monkeypatch.setattr("emotion_llm.runtime.files.secrets.token_hex", lambda _: "guessed")
    (tmp_path / ".a.txt.guessed.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError), atomic_write(tmp_path / "a.txt"):
        pass
    assert victim.read_text() == "untouched"
