"""launch/prepare.py as a user runs it: what it says, what it leaves behind, and its exit status."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from emotion_llm.corpus import report_pictures
from emotion_llm.corpus.definition import known_definitions
from emotion_llm.corpus.importing import corpus_locked
from emotion_llm.corpus.settings import PRESETS
from emotion_llm.corpus.store import open_corpus
from emotion_llm.motion.layout import read_layout
from emotion_llm.motion.table import TableColumns
from emotion_llm.runtime.errors import UserError
from emotion_llm.synthetic.corpora import EMILYA, bvh_text, takes, write_egbm
from launch.prepare import import_with_pictures, known_corpora, main, sources, write_inferred_layout
from tests.helpers.scripts import run_script

prepare = partial(run_script, main)


@pytest.fixture
def source(tmp_path) -> Path:
    write_egbm(tmp_path / "source", clips_per_emotion=1, seed=0)
    return tmp_path / "source"


def test_a_corpus_is_imported_and_a_bad_file_shows_in_the_exit_status(source, tmp_path):
    first = prepare("--corpus", "egbm", "--source", source, "--output", tmp_path / "data", "--workers", 1)
    assert first.returncode == 0, first.stderr
    assert f"tensorboard --logdir {tmp_path / 'data' / 'tensorboard'}" in first.stdout.splitlines()[-1]
    assert all((tmp_path / "data/egbm" / name).read_bytes().startswith(b"\x89PNG") for name in report_pictures.PICTURES)
    assert (tmp_path / "data/egbm/report.txt").read_text() in first.stdout
    assert list((tmp_path / "data/tensorboard/egbm").iterdir())
    (source / "A_Sad_7.csv").write_text("nonsense")
    again = prepare("--corpus", "egbm", "--source", source, "--output", tmp_path / "data", "--workers", 1)
    assert again.returncode == 3
    assert "left out, something is wrong: 1" in again.stdout
    assert "is ready (without 1 files or rows that need attention: see above)" in again.stdout
    assert len(open_corpus(tmp_path / "data/egbm")) == 7
    assert json.loads((tmp_path / "data/egbm/report.json").read_text())["faults"] == 1


def test_a_prepared_corpus_is_narrated_and_every_report_says_that_nobody_wrote_it(source, tmp_path):
    arguments = ("--corpus", "egbm", "--output", tmp_path / "data", "--narrate")
    missing = prepare(*arguments)
    assert missing.returncode == 2 and "no prepared corpus here; make one with" in missing.stderr
    write_egbm(source, clips_per_emotion=3, seed=1)
    narrated = prepare(*arguments, "--source", source, "--workers", 1)
    assert narrated.returncode == 0, narrated.stderr
    assert "21 clips have GENERATED descriptions (narration.csv): nobody wrote them" in narrated.stdout
    assert json.loads((tmp_path / "data/egbm/report.json").read_text())["narrated_clips"] == 21
    with corpus_locked(tmp_path / "data/egbm"):
        busy = prepare(*arguments)
    assert busy.returncode == 2 and "another process is importing this corpus" in busy.stderr
    again = prepare(*arguments, "--seed", 1)
    assert again.returncode == 0 and "21 clips have generated descriptions in" in again.stdout
    assert (tmp_path / "data/egbm/narration.jsonl").read_text().count('"generated": true') >= 21


def test_checking_and_dry_runs_write_nothing(source, tmp_path):
    checked = prepare("--corpus", "egbm", "--source", source, "--output", tmp_path / "data", "--check", "--workers", 1)
    assert checked.returncode == 0 and checked.stdout.endswith("checked; nothing was written\n")
    resolved = prepare("--preset", "demo", "--dry-run", "--output", tmp_path / "data")
    assert resolved.returncode == 0 and json.loads(resolved.stdout)["synthetic_clips_per_emotion"] > 0
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: --corpus is missing; name one of bandai-namco-1"),
        (["--corpus", "egbm"], "error: --source is missing; name the folder that holds the files of 'egbm'"),
        (["--corpus", "kdea", "--source", "."], "error: kdea: no such corpus; known are"),
        (["--infer-layout", "none.bvh"], "error: none.bvh: "),
        (["--draw-layout", "none.bvh"], "error: none.bvh: "),
    ],
)
def test_what_a_user_can_fix_ends_in_one_line_and_status_2(arguments, message):
    ended = prepare(*arguments)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith(message) and ended.stderr.count("\n") == 1


def test_the_known_corpora_are_listed():
    said = known_corpora()
    assert all(f"{name} " in said for name in known_definitions()) and "layouts: " in said


def test_the_demo_writes_and_imports_three_corpora(tmp_path, monkeypatch):
    monkeypatch.setattr(report_pictures, "write_pictures", lambda *_: None)  # drawn in the test above
    settings = replace(PRESETS["demo"], synthetic_clips_per_emotion=1, output=tmp_path / "demo", workers=1)
    sources(replace(settings, synthetic_clips_per_emotion=2))  # an earlier, larger run leaves nothing behind
    reports = [import_with_pictures(definition, source, settings) for definition, source in sources(settings)]
    assert [(report.faults, report.all.clips) for report in reports] == [(0, 7), (0, 8), (0, 7)]
    assert {name: open_corpus(tmp_path / "demo" / name).layout.name for name in ("kdae", "emilya", "egbm")} == {
        "kdae": "kdae_72", "emilya": "emilya_28", "egbm": "kinect_v2_25",
    }  # fmt: skip


def test_the_demo_does_not_write_over_other_files(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(UserError, match="raw: does not hold synthetic corpora; move it away"):
        sources(replace(PRESETS["demo"], output=tmp_path))
    assert (tmp_path / "raw").is_dir()


def test_a_layout_is_inferred_from_a_bvh_file_and_can_be_used_at_once(write_files, tmp_path):
    layout = read_layout("emilya_28")
    text = bvh_text(layout, next(takes(EMILYA, 1, seed=0)), 120.0, "YXZ", position_channels=False)
    folder = write_files("mine", {"walk.bvh": text})
    said = write_inferred_layout(folder / "walk.bvh", folder / "bones.json", None, TableColumns())
    assert "28 joints inferred from" in said and "metres_per_unit is 0.01 (centimetres)" in said and "left open" not in said
    assert read_layout(folder / "bones.json").joint_names == layout.joint_names
    with pytest.raises(UserError, match=r"bones.json: exists already; name another file with --layout-file"):
        write_inferred_layout(folder / "walk.bvh", folder / "bones.json", 0.01, TableColumns())
