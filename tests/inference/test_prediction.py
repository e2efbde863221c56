"""Motion files: on the evaluation's own code path, in any batch, resumable, and refused with a reason where they cannot be read."""

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from emotion_llm.evaluation.evaluate import PRESETS as EVALUATE_PRESETS
from emotion_llm.evaluation.evaluate import EvaluateSettings
from emotion_llm.inference import prediction
from emotion_llm.inference.prediction import PRESETS as PREDICT_PRESETS
from emotion_llm.inference.prediction import PredictSettings, predict
from emotion_llm.inference.recordings import find_clips
from emotion_llm.inference.trained_model import TrainedModel, load
from emotion_llm.language import explaining
from emotion_llm.runtime.console import parse_settings
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.output import printable
from emotion_llm.runtime.processes import free_port
from launch import predict as launch_predict
from launch.evaluate import evaluate

ROOT = Path(__file__).parents[2]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def takes(small_world, tmp_path):
    """Six clips of two layouts in folders, and a file that is no motion."""
    for name in ("emilya", "egbm"):
        (tmp_path / "takes" / name).mkdir(parents=True)
        ending = "bvh" if name == "emilya" else "csv"
        for clip in sorted((small_world.raw / name).rglob(f"*.{ending}"), key=lambda path: (path.stat().st_size, path.name))[-3:]:
            shutil.copy(clip, tmp_path / "takes" / name / clip.name)
    return tmp_path / "takes"


def test_predict_evaluate_and_the_python_interface_give_one_answer_in_any_batch(small_world, description_run, tmp_path):
    evaluate(EvaluateSettings(run=description_run, output=tmp_path / "evaluation", explanations=100, candidates=1))
    records = lines(tmp_path / "evaluation" / "predictions.jsonl")
    clips = [str(next((small_world.raw / record["corpus"]).rglob(f"{record['clip'].split('/')[-1]}.*"))) for record in records]
    expected = dict(zip(clips, records, strict=True))

    def check(answer: dict) -> None:
        record = expected[answer["clip"]]
        assert (answer["corpus"], answer["emotion"], answer["explanation"]) == (
            record["corpus"], record["predicted"], record["explanation"],
        )  # fmt: skip
        assert answer["probabilities"] == pytest.approx(record["probabilities"], abs=2e-6)

    model = load(description_run)
    for batch in (1, 2, 5):
        random.Random(batch).shuffle(clips)
        for answer in model.read_many(clips, batch=batch):
            check(answer.to_dict())
    check(model.read(clips[0]).to_dict())
    with pytest.raises(UserError, match=r"encoder_share is 1.5; it must be from 0 \(the LLM alone\) to 1"):
        load(description_run, encoder_share=1.5)
    for share, part in ((0.0, "llm"), (1.0, "encoder_classifier")):
        probabilities = load(description_run, encoder_share=share).read(clips[0], explanation=False).probabilities
        assert probabilities == pytest.approx(expected[clips[0]]["baselines"][part]["probabilities"], abs=2e-6)
    for batch in (1, 4):
        output = tmp_path / f"{batch}.jsonl"
        assert predict(PredictSettings(tuple(clips), run=description_run, output=output, batch=batch)) == 0
        answers = lines(output)
        assert [answer["clip"] for answer in answers] == clips
        for answer in answers:
            check(answer)


def test_bad_files_are_reported_and_the_rest_is_answered(takes, recognition_run, tmp_path, capsys):
    (takes / "broken.bvh").write_text("HIERARCHY\nROOT")
    output = tmp_path / "answers.jsonl"
    assert predict(PredictSettings((str(takes),), run=recognition_run, output=output)) == 3
    printed = capsys.readouterr().out
    assert f"left out: {takes / 'broken.bvh'}" in printed
    assert f"6 of 7 clips answered in {output}" in printed
    (unread,) = [record for record in lines(output) if "error" in record]
    assert unread["clip"] == str(takes / "broken.bvh")
    assert sum("emotion" in record for record in lines(output)) == 6


def test_an_interrupted_prediction_answers_only_what_is_missing_or_changed(takes, recognition_run, tmp_path, monkeypatch):
    output = tmp_path / "answers.jsonl"
    settings = PredictSettings((str(takes),), run=recognition_run, output=output, batch=2)
    assert predict(settings) == 0
    complete = output.read_text(encoding="utf-8")
    first, second, third, *_ = complete.splitlines()
    output.write_text("\n".join((first, second, third[: len(third) // 2])), encoding="utf-8")  # cut within a line
    asked = []
    answer_files = TrainedModel.answer_files
    monkeypatch.setattr(TrainedModel, "answer_files", lambda self, paths, *rest: asked.extend(paths) or answer_files(self, paths, *rest))
    before = [json.loads(line)["clip"] for line in (first, second)]
    changed = Path(before[0])
    os.utime(changed, ns=(1, 1))
    assert predict(settings) == 0
    assert set(map(str, asked)) == {record["clip"] for record in map(json.loads, complete.splitlines())} - set(before[1:])
    assert sorted(record["clip"] for record in lines(output)) == sorted(str(path) for path in find_clips((str(takes),)))
    asked.clear()
    assert predict(settings) == 0
    assert not asked


def test_answers_of_another_model_or_of_other_settings_are_not_mixed(takes, recognition_run, tmp_path):
    output = tmp_path / "answers.jsonl"
    settings = PredictSettings((str(takes),), run=recognition_run, output=output)
    predict(settings)
    with pytest.raises(
        UserError, match=r"line 1 was answered by another model or with other settings \(model .*\); choose another --output"
    ):
        predict(replace(settings, frames_per_second=10.0))
    with pytest.raises(UserError, match=r"line 1 was answered by another model or with other settings"):
        predict(replace(settings, encoder_share=0.0))
    output.write_text("no answer\n" + output.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(UserError, match=r"answers.jsonl: line 1 is no answer of launch/predict.py; choose another --output"):
        predict(settings)


def test_files_folders_and_patterns_name_clips_once(takes):
    names = (str(takes / "emilya"), str(takes / "**" / "*.bvh"), str(takes / "egbm" / "*"))
    assert find_clips(names) == find_clips((str(takes / "emilya"), str(takes / "egbm")))
    assert len(find_clips((str(takes),))) == 6
    with pytest.raises(UserError, match=r"\*.c3d: no file matches this pattern"):
        find_clips((str(takes / "*.c3d"),))
    (takes / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no motion file in this folder; they end in .bvh"):
        find_clips((str(takes / "empty"),))


def test_a_bad_file_is_refused_before_anything_large_is_imported(tmp_path):
    (tmp_path / "broken.bvh").write_text("HIERARCHY\nROOT")
    code = (
        "import sys\nfrom emotion_llm.inference.prediction import PredictSettings, predict\n"
        "try:\n    predict(PredictSettings((sys.argv[1],)))\nexcept Exception as error:\n    print(error, 'torch' in sys.modules)"
    )
    for name, reason in (("broken.bvh", "broken.bvh"), ("none.bvh", "no such motion file")):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, check=True)
        assert reason in done.stdout
        assert done.stdout.strip().endswith("False")


def test_the_llm_is_not_loaded_for_a_clip_that_cannot_be_read(recognition_run, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainedModel, "of", lambda *arguments: pytest.fail("loaded"))
    (tmp_path / "clip.bvh").write_text(
        "HIERARCHY\nROOT Hips\n{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation Yrotation\nEnd Site\n{\nOFFSET 0 1 0\n}\n}\n"
        "MOTION\nFrames: 2\nFrame Time: 0.01\n0 0 0\n0 0 1\n"
    )
    with pytest.raises(UserError, match=r"fits none of the layouts that the run was trained on: kinect_v2_25 \(corpus 'egbm'\), emilya_28"):
        predict(PredictSettings((str(tmp_path / "clip.bvh"),), run=recognition_run))


def test_a_folder_of_unreadable_files_is_an_error(recognition_run, tmp_path):
    for name in ("one.bvh", "two.bvh"):
        (tmp_path / name).write_text("HIERARCHY\nROOT")
    with pytest.raises(UserError, match=r"none of the 2 files could be read; see the reasons above"):
        predict(PredictSettings((str(tmp_path),), run=recognition_run))


def test_one_clip_is_explained_while_the_text_is_written(small_world, description_run, capsys, monkeypatch):
    monkeypatch.setattr(
        explaining, "said_once", lambda text, finished=True: text
    )  # clauses, which this model has none of, are not waited for
    model = load(description_run)
    answers = (model.read(clip) for clip in sorted((small_world.raw / "emilya").rglob("*.bvh")))
    answer = next(answer for answer in answers if len(answer.explanation.split()) > 1)  # a model of four steps says little
    written = []
    monkeypatch.setattr(prediction.BestEffort, "write", lambda self, text: written.append(text))
    assert predict(PredictSettings((answer.clip,), run=description_run)) == 0
    printed = "".join(written)
    assert answer.heading() in printed
    assert " ".join(printable(answer.explanation).split()) in " ".join(printed.split())
    assert len([piece for piece in written if piece.strip() and piece.strip() in answer.explanation]) > 1


def test_a_file_never_seen_is_read_like_its_corpus(small_world, recognition_run, tmp_path):
    original = next((small_world.raw / "emilya").rglob("*.bvh"))
    shutil.copy(original, tmp_path / "clip.bvh")
    model = load(recognition_run)
    answer = model.read(tmp_path / "clip.bvh")
    assert answer.probabilities == model.read(original).probabilities
    assert answer.probability == max(answer.probabilities.values())
    assert answer.explanation is None
    assert "(no explanation: this run has learnt recognition only" in answer.text()


def test_a_corpus_that_the_run_does_not_know_is_refused(small_world, recognition_run):
    clip = next((small_world.raw / "emilya").rglob("*.bvh"))
    with pytest.raises(UserError, match=r"--corpus kdae: the run was trained on egbm, emilya; choose one of them"):
        predict(PredictSettings((str(clip),), run=recognition_run, corpus="kdae"))


def test_a_missing_clip_is_refused(recognition_run, tmp_path):
    with pytest.raises(UserError, match=r"clip.bvh: no such motion file"):
        predict(PredictSettings((str(tmp_path / "clip.bvh"),), run=recognition_run))


def test_the_old_option_checkpoint_still_names_the_run():
    for presets in (EVALUATE_PRESETS, PREDICT_PRESETS):
        words = ["clip.bvh"] if presets is PREDICT_PRESETS else []
        assert parse_settings(presets, "", [*words, "--checkpoint", "some/run"]).run == Path("some/run")
        assert parse_settings(presets, "", [*words, "--run", "some/run"]).run == Path("some/run")


def test_a_clip_of_a_few_frames_is_refused_and_a_short_one_noted(small_world, recognition_run, tmp_path):
    head, motion = next((small_world.raw / "emilya").rglob("*.bvh")).read_text().split("MOTION")
    _, _, *frames = motion.strip().splitlines()
    model = load(recognition_run)

    def clip(count: int) -> Path:
        path = tmp_path / f"{count}.bvh"
        path.write_text(head + "\n".join(["MOTION", f"Frames: {count}", "Frame Time: 0.0333333", *frames[:count]]) + "\n")
        return path

    with pytest.raises(UserError, match=r"5.bvh: 5 frames at 30 per second are too few to judge; give at least 8, or the clip's true rate"):
        model.read(clip(5))
    assert any("s long: the answer rests on little movement" in note for note in model.read(clip(20)).findings)


def test_a_frame_rate_on_the_command_line_replaces_the_files(small_world, recognition_run):
    clip = next((small_world.raw / "emilya").rglob("*.bvh"))
    model = load(recognition_run)
    assert model.read(clip).probabilities != model.read(clip, frames_per_second=15.0).probabilities


def test_json_prints_nothing_else_to_standard_output(takes, recognition_run, monkeypatch, capfd):
    for words, count in (([next(takes.rglob("*.bvh"))], 1), ([takes], 6)):
        monkeypatch.setattr("sys.argv", ["predict.py", *map(str, words), "--run", str(recognition_run), "--json"])
        launch_predict.main()
        assert [json.loads(line)["corpus"] in ("emilya", "egbm") for line in capfd.readouterr().out.splitlines()] == [True] * count


@pytest.mark.slow
def test_two_processes_answer_a_folder_as_one_does(takes, recognition_run, tmp_path):
    assert predict(PredictSettings((str(takes),), run=recognition_run, output=tmp_path / "one.jsonl", batch=2)) == 0
    script = ROOT / "tests" / "helpers" / "predict_in_fp32.py"
    command = [sys.executable, "-m", "deepspeed.launcher.runner", "--num_gpus", "2", "--master_port", str(free_port()), script]
    words = [takes, "--run", recognition_run, "--output", tmp_path / "two.jsonl", "--batch", "2"]
    subprocess.run([*command, *map(str, words)], check=True, timeout=300, env=os.environ)
    one, two = lines(tmp_path / "one.jsonl"), lines(tmp_path / "two.jsonl")
    assert [record["clip"] for record in one] == [record["clip"] for record in two]
    for here, there in zip(one, two, strict=True):
        assert here["probabilities"] == pytest.approx(there["probabilities"], abs=2e-6)
