"""The two real archives, imported whole. Needs them: EMOTION_LLM_REAL_DATA, or ../shared/data beside the repository."""

import os
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from emotion_llm.corpus.definition import read_definition
from emotion_llm.corpus.importing import import_corpus
from emotion_llm.corpus.splits import random_split
from emotion_llm.motion.canonical import CanonicalSettings
from tests.helpers.import_examples import recomputed_hash

ARCHIVES = Path(os.environ.get("EMOTION_LLM_REAL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
pytestmark = [pytest.mark.real, pytest.mark.skipif(not list(ARCHIVES.glob("bandai-namco-*.tar.xz")), reason=f"no archive in {ARCHIVES}")]


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> dict:
    """Archive -> (what came of it, seconds)."""
    folder, done = tmp_path_factory.mktemp("real"), {}
    for name in ("bandai-namco-1", "bandai-namco-2"):
        with tarfile.open(ARCHIVES / f"{name}.tar.xz") as archive:
            archive.extractall(folder / "raw" / name, filter="data")
        start = time.perf_counter()
        result = import_corpus(read_definition(name), folder / "raw" / name, folder / "data", CanonicalSettings(), workers=2)
        done[name] = (result, time.perf_counter() - start)
    return done


def test_all_emotional_clips_are_imported_without_a_fault_or_a_suspicion(imported):
    for name, clips in (("bandai-namco-1", 86), ("bandai-namco-2", 630)):
        corpus, report = imported[name][0].corpus, imported[name][0].report
        assert (len(corpus), report.faults, report.suspicious, report.duplicates) == (clips, 0, (), ())
        assert len(corpus.emotions) == 7 and min(group.clips for group in report.emotions) >= 11
        assert recomputed_hash(corpus) == corpus.data_hash
        assert np.isfinite(corpus.all_positions).all()


def test_both_archives_are_imported_in_under_a_minute(imported):
    assert sum(seconds for _, seconds in imported.values()) < 60


def test_a_fifth_of_the_second_archive_is_held_out(imported):
    corpus = imported["bandai-namco-2"][0].corpus
    split = random_split(corpus, seed=0)
    assert len(split.held_out) == 126
    assert {corpus.clip(index).emotion for index in split.held_out} == set(corpus.emotions)
