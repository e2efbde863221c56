import os
from pathlib import Path

import pytest

from tests.helpers.encoder_fixtures import encoder, layouts, make_corpus, motion, settings, two_corpora  # noqa: F401


@pytest.fixture
def fsynced(monkeypatch) -> list[Path]:
    """Every file or folder that was flushed to the disk, in order."""
    paths, true_fsync = [], os.fsync

    def fsync(descriptor: int) -> None:
        paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        true_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths
