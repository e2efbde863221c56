"""The import report says what is there, what is not and what looks wrong, as text, JSON and pictures."""

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from emotion_llm.corpus.definition import read_definition
from emotion_llm.corpus.importing import import_corpus
from emotion_llm.corpus.reading import Reading
from emotion_llm.corpus.report import make_report, report_text, report_to_dict
from emotion_llm.corpus.report_pictures import PICTURES, histogram_figure, strip_figure, write_pictures
from emotion_llm.corpus.scan import LeftOut, Scan, SourceFile
from emotion_llm.motion.canonical import CanonicalSettings
from emotion_llm.runtime.tensorboard import Tag

EGBM = read_definition("egbm")


def scanned(*clips: tuple[str, str, str | None]) -> Scan:
    """clips: (path, emotion, actor) each."""
    return Scan(tuple(SourceFile(path, 10, 1, emotion, actor, None, -1) for path, emotion, actor in clips), (), ())


def read(path: str, frames: int = 60, movement: str = "", findings: tuple[str, ...] = (), error: str | None = None) -> Reading:
    return Reading(path, 10, 1, "content", frames, movement or path, findings, error)


@pytest.fixture
def report():
    scan = scanned(("a.csv", "joy", "Actor2"), ("b.csv", "anger", "Actor10"), ("c.csv", "anger", "Actor2"), ("d.csv", "anger", "Actor2"))
    scan = replace(
        scan,
        left_out=(LeftOut("e zyx.csv", "a second export", by_rule=True), LeftOut("f.csv", "unknown emotion 'glee'", by_rule=False)),
        missing=("table.csv: no file for its row 'g'",),
    )
    readings = {
        "a.csv": read("a.csv", 90, movement="same"),
        "b.csv": read("b.csv", 30, findings=("frozen: nothing moves",)),
        "c.csv": read("c.csv", 60, movement="same"),
        "d.csv": read("d.csv", 0, error="line 3: not a number"),
    }
    return make_report(EGBM, scan, readings, 30.0, data_hash="0123456789abcdef0123")


def test_counts_and_durations_are_those_of_the_clips_that_are_kept(report):
    anger = next(group for group in report.emotions if group.word == "anger")
    assert (anger.clips, anger.seconds, anger.shortest, anger.median, anger.longest) == (2, 3.0, 1.0, 1.5, 2.0)
    assert report.all.clips == 3 and report.all.seconds == 6.0
    assert [(group.word, group.clips) for group in report.actors] == [("Actor2", 2), ("Actor10", 1)]


def test_emotions_come_in_label_order_and_one_that_nobody_shows_is_there_with_no_clips(report):
    assert [group.word for group in report.emotions][:7] == list(EGBM.emotions)
    assert next(group for group in report.emotions if group.word == "fear").clips == 0


def test_faults_are_what_somebody_should_look_at_and_rules_are_not(report):
    assert report.faults == 3
    assert {item.path: item.reason for item in report.left_out} == {
        "d.csv": "line 3: not a number",
        "e zyx.csv": "a second export",
        "f.csv": "unknown emotion 'glee'",
    }


def test_copies_and_suspicious_clips_are_named(report):
    assert report.duplicates == (("a", "c"),)
    assert report.suspicious == (("b", "frozen: nothing moves"),)


def test_the_text_says_it_all_in_lines_that_fit_a_page(report):
    text = report_text(report)
    for line in (
        "clips        3 of 6 motion files",
        "data hash    0123456789abcdef",
        "left out by rule: 1\n  1 × a second export: e zyx.csv",
        "left out, something is wrong: 2\n  1 × line 3: not a number: d.csv\n  1 × unknown emotion 'glee': f.csv",
        "missing: 1\n  table.csv: no file for its row 'g'",
        "the same movement more than once: 1\n  a = c",
        "suspicious, but kept: 1\n  1 × frozen: nothing moves: b",
    ):
        assert line in text
    assert "\n\n\n" not in text and text.endswith("\n")


def test_control_characters_of_files_and_definitions_are_escaped(source, tmp_path):
    (source / "X_Sad_1.csv").write_text("\x1b[2Jx,y\n1,2\n")
    definition = replace(EGBM, note="\x1b[31mread me\u202e")
    imported = import_corpus(definition, source, tmp_path / "data", CanonicalSettings(), 1)
    assert imported.report.faults == 1
    for name in ("report.txt", "report.json", "sources.jsonl"):
        text = (tmp_path / "data/egbm" / name).read_text(encoding="utf-8")
        assert text.replace("\n", "").isprintable(), name
    assert "\\x1b[31mread me\\u202e" in report_text(imported.report)


def test_long_lists_are_cut_in_the_text_and_whole_in_the_json():
    scan = scanned(*((f"{index}.csv", "anger", None) for index in range(100)))
    report = make_report(EGBM, scan, {f"{index}.csv": read(f"{index}.csv", findings=("odd " + "x" * index,)) for index in range(100)}, 30.0)
    assert "... and 88 more, in report.json" in report_text(report)
    assert len(json.loads(json.dumps(report_to_dict(report)))["suspicious"]) == 100


def test_identical_findings_are_grouped_whatever_their_numbers_and_joints():
    findings = [f"frozen: nothing moves for {index}.5 s" for index in range(4)] + ["mirrored"]
    findings += [f"teleporting: '{joint}' jumps 0.9 m to frame 7" for joint in ("LeftHand", "mixamorig:RightFoot_end")]
    scan = scanned(*((f"{index}.csv", "anger", None) for index in range(len(findings))))
    report = make_report(EGBM, scan, {f"{index}.csv": read(f"{index}.csv", findings=(text,)) for index, text in enumerate(findings)}, 30.0)
    assert (
        "suspicious, but kept: 7\n  4 × frozen: nothing moves for 0.5 s: 0, 1, 2 and 1 more\n"
        "  2 × teleporting: 'LeftHand' jumps 0.9 m to frame 7: 5, 6\n  1 × mirrored: 4"
    ) in report_text(report)


def test_unknown_emotions_are_not_grouped():
    unknown = tuple(LeftOut(f"{word}.csv", f"unknown emotion '{word}' in the path", by_rule=False) for word in ("glee", "rage"))
    text = report_text(make_report(EGBM, replace(scanned(), left_out=unknown), {}, 30.0))
    assert "1 × unknown emotion 'glee'" in text and "1 × unknown emotion 'rage'" in text


def ink(figure) -> float:
    """How much is drawn: the spread of the picture's brightness."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return float(np.asarray(canvas.buffer_rgba())[..., :3].std())


def test_the_pictures_show_something_whether_or_not_actors_are_known(make_corpus, report):
    track = np.random.default_rng(0).normal(size=(40, 25, 3))
    corpus = make_corpus([("a", "anger", "Ann", track), ("b", "joy", None, track[:1])])
    for shown in (report, replace(report, actors=())):
        assert ink(histogram_figure(shown, corpus)) > 10
    assert ink(strip_figure(corpus)) > 10


def test_tensorboard_gets_one_run_of_text_and_pictures_and_an_older_one_is_replaced(make_corpus, report, tmp_path):
    corpus = make_corpus([("a", "anger", "Ann", None), ("b", "joy", None, None)])
    for _ in range(2):
        write_pictures(report, corpus, tmp_path / "board")
    assert all((corpus.folder / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)
    assert len(list((tmp_path / "board").iterdir())) == 1
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    panels = [f"{Tag.CORPUS_CLIPS}/{name}" for name in ("durations", "per_emotion", "per_actor")]
    assert events.Tags()["images"] == [*panels, *(f"{Tag.CORPUS_MOVEMENTS}/{emotion}" for emotion in ("anger", "joy"))]
    assert events.Tags()["tensors"] == [Tag.CORPUS_REPORT]
    picture = events.Images(f"{Tag.CORPUS_MOVEMENTS}/joy")[0]
    assert picture.width == 700 and picture.encoded_image_string.startswith(b"\x89PNG")
