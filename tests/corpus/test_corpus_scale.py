"""The benchmark of scale measures what it says: different clips, imported whole, every step in a process of its own."""

import pytest

from emotion_llm.benchmarks.corpus_scale import definition, measure, write_clips
from emotion_llm.corpus.importing import import_corpus
from emotion_llm.motion.canonical import CanonicalSettings


def test_its_clips_are_all_different_and_all_imported(tmp_path):
    write_clips(tmp_path / "raw", 40)
    imported = import_corpus(definition(), tmp_path / "raw", tmp_path / "data", CanonicalSettings(), workers=1)
    assert len(imported.corpus) == 40 and imported.report.faults == 0
    assert imported.report.duplicates == ()


@pytest.mark.slow
def test_it_reports_seconds_and_memory_of_every_step():
    records = measure((20, 60), workers=1)
    assert [record.name for record in records] == [
        f"corpus: {step}, growth of {unit} with clips" for step in ("import", "import again", "open") for unit in ("seconds", "megabytes")
    ]
    assert all(record.ratio > 0 and "20 clips of 8 frames" in record.compared for record in records)
    memory = records[-1]
    assert memory.ratio == pytest.approx(3, rel=0.2)  # opening takes no more memory for three times the clips
