"""Importing: the same corpus whatever the circumstances, and nothing is written if nothing has changed."""

import os
import re
import shutil

import numpy as np
import pytest

from emotion_llm.corpus import importing
from emotion_llm.corpus import reading as clip_reading
from emotion_llm.corpus.importing import check_corpus, import_corpus
from emotion_llm.corpus.settings import PrepareSettings
from emotion_llm.corpus.store import open_corpus
from emotion_llm.motion.canonical import CanonicalSettings
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import options_of_the_command_line
from tests.helpers.import_examples import CANONICAL, EGBM, content, recomputed_hash, run, stamps


def test_an_imported_clip_has_its_labels_its_texts_and_finite_positions(source, tmp_path):
    imported = run(source, tmp_path / "data")
    corpus = imported.corpus
    assert len(corpus) == 14 and not imported.up_to_date and imported.report.faults == 0
    assert corpus.emotions == EGBM.emotions and len(corpus.actors) >= 2
    for index in range(len(corpus)):
        clip, positions = corpus.clip(index), corpus.positions(index)
        assert clip.emotion == EGBM.word("emotion", clip.name.split("_")[1])
        assert clip.actor == clip.name.split("_")[0]
        assert positions.dtype == np.float32 and positions.shape == (clip.frames, 25, 3) and np.isfinite(positions).all()
    assert sum(bool(corpus.clip(index).texts) for index in range(14)) == imported.report.described_clips > 0
    assert recomputed_hash(corpus) == corpus.data_hash


def test_the_result_is_the_same_to_the_byte_whatever_the_number_of_workers(source, tmp_path, monkeypatch):
    monkeypatch.setattr(clip_reading, "CHUNK_FILES", 3)  # several chunks, so that several processes have work
    results = []
    for workers in (1, 2, 3):
        run(source, tmp_path / str(workers), workers)
        results.append(
            content(tmp_path / str(workers) / "egbm") | {"sources": (tmp_path / str(workers) / "egbm/sources.jsonl").read_bytes()}
        )
        assert sorted(path.name for path in (tmp_path / str(workers)).iterdir()) == ["egbm"]
    assert results[0] == results[1] == results[2]


def test_importing_again_what_has_not_changed_writes_and_reads_nothing(source, tmp_path, files_read):
    run(source, tmp_path / "data")
    files_read.clear()
    before = stamps(tmp_path / "data")
    again = run(source, tmp_path / "data")
    assert again.up_to_date and not files_read
    assert stamps(tmp_path / "data") == before
    assert again.report == run(source, tmp_path / "elsewhere").report


def test_files_that_were_copied_or_touched_but_say_the_same_count_as_unchanged(source, tmp_path, files_read):
    run(source, tmp_path / "data")
    files_read.clear()
    for path in source.iterdir():
        os.utime(path, ns=(1, 1))
    assert run(source, tmp_path / "data").up_to_date and not files_read


def test_the_data_hash_depends_neither_on_paths_nor_on_the_definition_that_read_them(source, tmp_path):
    for path in [*source.glob("*_*_*.csv")]:
        actor, emotion, take = path.stem.split("_")
        moved = tmp_path / "tree" / "deep" / actor / emotion / f"number {take}.csv"
        moved.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, moved)
    (source / "descriptions.csv").unlink()
    first, second = run(source, tmp_path / "one").corpus, run(tmp_path / "tree", tmp_path / "two").corpus
    assert list(first.names) != list(second.names)
    assert first.data_hash == second.data_hash


def test_a_label_a_setting_or_a_motion_that_changes_changes_the_data_hash(source, tmp_path):
    hashes = {run(source, tmp_path / "data").corpus.data_hash}
    hashes.add(import_corpus(EGBM, source, tmp_path / "data", CanonicalSettings(frames_per_second=25), 1).corpus.data_hash)
    path = min(source.glob("*_Sad_*.csv"))
    path = path.rename(path.with_name(path.name.replace("Sad", "Fear").replace(".csv", "9.csv")))
    hashes.add(run(source, tmp_path / "data").corpus.data_hash)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-2]))
    hashes.add(run(source, tmp_path / "data").corpus.data_hash)
    assert len(hashes) == 4


def test_bad_files_are_left_out_with_their_reason_and_the_rest_is_imported(source, tmp_path):
    bad = {"X_Sad_1.csv": "", "X_Sad_2.csv": "not,a\nmotion,at all\n", "X_Sad_3.csv": "1,2,3\n4,5,6\n"}
    for name, text in bad.items():
        (source / name).write_text(text)
    imported = run(source, tmp_path / "data")
    assert len(imported.corpus) == 14 and imported.report.faults == 3
    said = {item.path: item.reason for item in imported.report.left_out if not item.by_rule}
    assert set(said) == set(bad)
    assert not any(str(source) in reason for reason in said.values())
    again = run(source, tmp_path / "data")
    assert again.up_to_date and again.report == imported.report


@pytest.mark.parametrize(("value", "said"), [("-9999", "is .* m away from the body in frame 5"), ("40", "m away from the body in frame 5")])
def test_a_clip_with_impossible_positions_is_left_out_and_reported(source, tmp_path, value, said):
    path = min(source.glob("*_*_*.csv"))
    lines = path.read_text().splitlines()
    cells = lines[6].split(",")
    cells[10] = value
    lines[6] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    imported = run(source, tmp_path / "data")
    assert len(imported.corpus) == 13 and imported.report.faults == 1
    assert re.search(said, imported.report.left_out[0].reason)


def test_a_source_without_any_readable_file_is_refused_and_leaves_no_corpus(write_files, tmp_path):
    source = write_files("broken", {"A_Sad_1.csv": "nonsense", "A_Sad_2.csv": ""})
    with pytest.raises(UserError, match=r"none of the 2 files can be read; the first, A_Sad_1.csv: "):
        run(source, tmp_path / "data")
    with pytest.raises(UserError, match="no prepared corpus here; make one with"):
        open_corpus(tmp_path / "data" / "egbm")


def test_an_edited_description_is_imported_and_changes_the_hash_of_the_texts_alone(source, tmp_path):
    before = run(source, tmp_path / "data").corpus
    table = source / "descriptions.csv"
    text = next(iter(before.texts.values()))[0]
    table.write_text(table.read_text().replace(text, text[:-1] + " indeed."))
    after = run(source, tmp_path / "data")
    assert not after.up_to_date
    assert any(text[:-1] + " indeed." in texts for texts in after.corpus.texts.values())
    assert after.corpus.data_hash == before.data_hash  # no encoder has to be trained again
    assert after.corpus.texts_hash != before.texts_hash
    assert run(source, tmp_path / "data").up_to_date


@pytest.mark.parametrize("name", ["texts.json", "positions.npy", "clips.npy"])
def test_a_corpus_whose_files_were_edited_is_not_up_to_date(source, tmp_path, name):
    path = run(source, tmp_path / "data").corpus.folder / name
    original = path.read_bytes()
    path.write_bytes(original[:-20] + bytes(byte ^ 1 for byte in original[-20:]))
    assert not run(source, tmp_path / "data").up_to_date
    assert path.read_bytes() == original


def test_a_damaged_corpus_is_made_anew(source, tmp_path):
    run(source, tmp_path / "data")
    (tmp_path / "data/egbm/clips.npy").write_bytes(b"gone")
    assert not run(source, tmp_path / "data").up_to_date
    assert recomputed_hash(open_corpus(tmp_path / "data/egbm")) == open_corpus(tmp_path / "data/egbm").data_hash


def test_two_imports_of_one_corpus_at_a_time_are_refused(source, tmp_path):
    with importing.corpus_locked(tmp_path / "data" / "egbm"), pytest.raises(UserError, match="another process is importing this corpus"):
        run(source, tmp_path / "data")


def test_a_foreign_folder_in_the_way_is_not_touched(source, tmp_path):
    (tmp_path / "data" / "egbm").mkdir(parents=True)
    (tmp_path / "data" / "egbm" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="is not a corpus; move it away, or choose another --output"):
        run(source, tmp_path / "data")
    assert (tmp_path / "data" / "egbm" / "thesis.txt").read_text() == "precious"


def test_checking_a_corpus_reads_everything_and_writes_nothing(source, tmp_path):
    (source / "X_Sad_1.csv").write_text("nonsense")
    before = stamps(tmp_path)
    report = check_corpus(EGBM, source, CANONICAL, workers=1)
    assert stamps(tmp_path) == before
    imported = run(source, tmp_path / "data").report
    assert report.faults == imported.faults == 1
    assert (report.emotions, report.suspicious, report.left_out) == (imported.emotions, imported.suspicious, imported.left_out)


def test_a_worker_that_the_system_ends_is_said_in_one_line(source, tmp_path, monkeypatch):
    monkeypatch.setattr(clip_reading, "CHUNK_FILES", 3)
    monkeypatch.setattr(clip_reading, "_start_worker", os.abort)
    with pytest.raises(UserError, match=r"the operating system killed a worker process.*run again with fewer --workers"):
        run(source, tmp_path / "data", workers=2)


def test_settings_are_checked_at_birth():
    with pytest.raises(UserError, match="--workers -1: must be at least 0"), options_of_the_command_line():
        PrepareSettings(workers=-1)
