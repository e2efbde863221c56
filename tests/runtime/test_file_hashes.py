"""Files are hashed in full, and only once per version."""

import hashlib
import os
import time

import pytest

from emotion_llm.runtime import files
from emotion_llm.runtime.files import cache_path, content_hash


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def old_file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(5_000_000))
    hour_ago = time.time_ns() - 3600 * 10**9
    os.utime(path, ns=(hour_ago, hour_ago))
    return path


def test_a_single_byte_anywhere_in_the_file_changes_the_hash(old_file):
    assert content_hash(old_file) == hashlib.sha256(bytes(5_000_000)).hexdigest()
    with old_file.open("r+b") as file:
        file.seek(4_000_000)
        file.write(b"\1")
    assert content_hash(old_file) == hashlib.sha256(old_file.read_bytes()).hexdigest()


def test_an_unchanged_file_is_read_once(old_file, monkeypatch):
    first = content_hash(old_file)
    monkeypatch.setattr(files, "file_hash", lambda _: pytest.fail("the file was read again"))
    assert content_hash(old_file) == first


def test_a_file_just_written_is_not_cached(tmp_path):
    (tmp_path / "new").write_bytes(b"x")
    content_hash(tmp_path / "new")
    assert not cache_path().exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"PATH": 5}', '{"PATH": []}'])
def test_a_damaged_cache_is_ignored(old_file, content):
    cache_path().parent.mkdir(parents=True)
    cache_path().write_text(content.replace("PATH", str(old_file)))
    assert content_hash(old_file) == hashlib.sha256(old_file.read_bytes()).hexdigest()


def test_without_a_place_for_the_cache_the_hash_is_computed_all_the_same(old_file, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    assert content_hash(old_file) == hashlib.sha256(old_file.read_bytes()).hexdigest()
