"""Real motion for the tests that are marked `real`."""

import os
import tarfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_archives(tmp_path_factory) -> dict[str, list[Path]]:
    """Archive name -> its BVH files, unpacked; skips where the archives are not at hand."""
    folder = Path(os.environ.get("EMOTION_LLM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
    unpacked = {}
    for name in ("bandai-namco-1", "bandai-namco-2"):
        archive = folder / f"{name}.tar.xz"
        if not archive.is_file():
            pytest.skip(f"{archive} is not there; set EMOTION_LLM_REAL_DATA to the folder of the archives")
        target = tmp_path_factory.mktemp(name)
        with tarfile.open(archive) as files:
            files.extractall(target, filter="data")
        unpacked[name] = sorted(target.rglob("*.bvh"))
    return unpacked


@pytest.fixture(scope="session")
def real_clips(real_archives) -> list[Path]:
    """The 174 clips of the first archive."""
    return real_archives["bandai-namco-1"]
