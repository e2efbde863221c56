"""--html: pages of what evaluate and predict answered."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from emotion_llm.evaluation.evaluate import EvaluateSettings
from emotion_llm.inference.prediction import PredictSettings, predict
from emotion_llm.runtime.errors import UserError
from launch.evaluate import evaluate
from launch.predict import predict_with_pages


def embedded(page: Path) -> dict:
    """The data of a page."""
    match = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert match
    return json.loads(match[1])


@pytest.fixture
def clips(small_world, tmp_path) -> tuple[str, ...]:
    """Three clips of two layouts."""
    paths = [*sorted((small_world.raw / "egbm").glob("*.csv"))[:2], next((small_world.raw / "emilya").rglob("*.bvh"))]
    return tuple(str(shutil.copy(path, tmp_path / path.name)) for path in paths)


@pytest.mark.slow
def test_an_evaluation_s_pages_show_what_it_wrote(description_run, tmp_path):
    evaluate(EvaluateSettings(run=description_run, output=tmp_path, explanations=1, html=tmp_path / "html"))
    records = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    entries = embedded(tmp_path / "html" / "index.html")["entries"]
    assert [(entry["name"], entry["truth"], entry["emotion"]) for entry in entries] == [
        (record["clip"], record["emotion"], record["predicted"]) for record in records
    ]
    for entry, record in zip(entries, records, strict=True):
        page = embedded(tmp_path / "html" / entry["page"])["clips"][0]
        assert dict(page["probabilities"]) == record["probabilities"]
        assert len(page["explanation"] or "") == len(record["explanation"] or "")  # a tiny LLM writes signs that are not shown
        assert [claim["verdict"] for claim in page["claims"]] == [claim["verdict"] for claim in record["claims"]]
        assert (page["attribution"] is None) == (record["attribution"] is None)
        assert page["attribution"] is None or len(page["attribution"]["joints"]) == len(page["joints"])
    assert sum(record["attribution"] is not None for record in records) == 2  # of each corpus as many clips as are explained


def test_a_prediction_s_page_has_attribution_for_every_joint(recognition_run, clips, tmp_path):
    settings = PredictSettings(clips[:1], run=recognition_run, html=tmp_path / "one.html")
    assert predict_with_pages(settings) == 0
    (clip,) = embedded(tmp_path / "one.html")["clips"]
    joints, moments = clip["attribution"]["joints"], clip["attribution"]["moments"]
    assert len(joints) == len(clip["joints"]) and len(moments) == len(clip["attribution"]["seconds"]) > 1
    assert max(map(abs, joints + moments)) == 1


def test_two_clips_share_a_page_and_more_need_a_folder(recognition_run, clips, tmp_path):
    settings = PredictSettings(clips[1:], run=recognition_run, html=tmp_path / "two.html")
    assert predict_with_pages(settings) == 0
    assert [clip["name"] for clip in embedded(tmp_path / "two.html")["clips"]] == [Path(clip).stem for clip in clips[1:]]
    with pytest.raises(UserError, match="one page shows one or two clips, not 3; name a folder for a page of each"):
        predict_with_pages(replace(settings, clips=clips))


def test_pages_are_written_for_clips_that_an_earlier_prediction_answered(recognition_run, clips, tmp_path):
    settings = PredictSettings(clips[:2], run=recognition_run, output=tmp_path / "answers.jsonl")
    predict(settings)
    predict_with_pages(replace(settings, clips=clips, html=tmp_path / "html"))
    entries = embedded(tmp_path / "html" / "index.html")["entries"]
    assert {entry["name"] for entry in entries} == {Path(clip).stem for clip in clips}


def test_a_long_recording_s_page_shows_its_curve(recognition_run, clips, tmp_path):
    settings = PredictSettings(clips[:1], run=recognition_run, html=tmp_path / "long.html", long=True, output=tmp_path / "answers.jsonl")
    predict_with_pages(settings)
    timeline = json.loads((tmp_path / "answers.jsonl").read_text(encoding="utf-8"))
    curve = embedded(tmp_path / "long.html")["clips"][0]["curve"]
    assert [segment["emotion"] for segment in curve["segments"]] == [segment["emotion"] for segment in timeline["segments"]]
    assert curve["seconds"] == timeline["seconds"]
