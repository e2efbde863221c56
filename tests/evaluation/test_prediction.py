"""One clip: on the evaluation's own code path, and refused with a reason where it cannot be read."""

import json
import shutil
from pathlib import Path

import pytest

from emotion_llm.evaluation.evaluate import PRESETS as EVALUATE_PRESETS
from emotion_llm.evaluation.evaluate import EvaluateSettings
from emotion_llm.evaluation.prediction import PRESETS as PREDICT_PRESETS
from emotion_llm.evaluation.prediction import PredictSettings, as_json, predict
from emotion_llm.runtime.console import parse_settings
from emotion_llm.runtime.errors import UserError
from launch import predict as launch_predict
from launch.evaluate import evaluate


def test_a_clip_gets_the_answer_that_evaluation_gives_it(small_world, description_run):
    evaluate(EvaluateSettings(run=description_run, explanations=100))
    predictions = (description_run / "evaluation" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    for record in map(json.loads, predictions):
        (clip,) = (small_world.raw / record["corpus"]).rglob(f"{record['clip'].split('/')[-1]}.*")
        prediction = predict(PredictSettings(clip, run=description_run))
        assert prediction.corpus == record["corpus"]
        assert prediction.emotion == record["predicted"]
        assert prediction.explanation == record["explanation"]
        assert prediction.probabilities == pytest.approx(record["probabilities"], abs=1e-5)


def test_a_file_never_seen_is_read_like_its_corpus(small_world, recognition_run, tmp_path):
    original = next((small_world.raw / "emilya").rglob("*.bvh"))
    moved = shutil.copy(original, tmp_path / "clip.bvh")
    prediction = predict(PredictSettings(tmp_path / "clip.bvh", run=recognition_run))
    assert prediction.probabilities == predict(PredictSettings(original, run=recognition_run)).probabilities
    assert prediction.probability == max(prediction.probabilities.values())
    assert prediction.explanation is None
    assert "(no explanation: this run has learnt recognition only" in prediction.text()
    assert json.loads(as_json(prediction))["clip"] == str(moved)


def test_a_clip_of_another_layout_is_refused_with_the_layouts_that_are_known(recognition_run, tmp_path):
    (tmp_path / "clip.bvh").write_text(
        "HIERARCHY\nROOT Hips\n{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation Yrotation\nEnd Site\n{\nOFFSET 0 1 0\n}\n}\n"
        "MOTION\nFrames: 2\nFrame Time: 0.01\n0 0 0\n0 0 1\n"
    )
    with pytest.raises(UserError, match=r"fits none of the layouts that the run was trained on: kinect_v2_25 \(corpus 'egbm'\), emilya_28"):
        predict(PredictSettings(tmp_path / "clip.bvh", run=recognition_run))


def test_a_corpus_that_the_run_does_not_know_is_refused(small_world, recognition_run):
    clip = next((small_world.raw / "emilya").rglob("*.bvh"))
    with pytest.raises(UserError, match=r"--corpus kdae: the run was trained on egbm, emilya; choose one of them"):
        predict(PredictSettings(clip, run=recognition_run, corpus="kdae"))


def test_a_missing_clip_is_refused(recognition_run, tmp_path):
    with pytest.raises(UserError, match=r"clip.bvh: no such motion file"):
        predict(PredictSettings(tmp_path / "clip.bvh", run=recognition_run))


def test_the_old_option_checkpoint_still_names_the_run():
    for presets in (EVALUATE_PRESETS, PREDICT_PRESETS):
        words = ["clip.bvh"] if presets is PREDICT_PRESETS else []
        assert parse_settings(presets, "", [*words, "--checkpoint", "some/run"]).run == Path("some/run")
        assert parse_settings(presets, "", [*words, "--run", "some/run"]).run == Path("some/run")


def test_a_clip_of_a_few_frames_is_refused_and_a_short_one_noted(small_world, recognition_run, tmp_path):
    head, motion = next((small_world.raw / "emilya").rglob("*.bvh")).read_text().split("MOTION")
    _, _, *frames = motion.strip().splitlines()

    def clip(count: int) -> Path:
        path = tmp_path / f"{count}.bvh"
        path.write_text(head + "\n".join(["MOTION", f"Frames: {count}", "Frame Time: 0.0333333", *frames[:count]]) + "\n")
        return path

    with pytest.raises(UserError, match=r"5.bvh: 5 frames at 30 per second are too few to judge; give at least 8, or the clip's true rate"):
        predict(PredictSettings(clip(5), run=recognition_run))
    assert any(
        "s long: the answer rests on little movement" in note for note in predict(PredictSettings(clip(20), run=recognition_run)).findings
    )


def test_a_frame_rate_on_the_command_line_replaces_the_files(small_world, recognition_run):
    clip = next((small_world.raw / "emilya").rglob("*.bvh"))
    plain, slower = (predict(PredictSettings(clip, run=recognition_run, frames_per_second=rate)) for rate in (None, 15.0))
    assert plain.probabilities != slower.probabilities


def test_json_prints_nothing_else_to_standard_output(small_world, recognition_run, monkeypatch, capsys):
    clip = next((small_world.raw / "emilya").rglob("*.bvh"))
    monkeypatch.setattr("sys.argv", ["predict.py", str(clip), "--run", str(recognition_run), "--json"])
    launch_predict.main()
    assert json.loads(capsys.readouterr().out)["clip"] == str(clip)
