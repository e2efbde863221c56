"""Evaluation: every held-out clip once, on the training's own data and split, with all that is needed to repeat it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emotion_llm.evaluation.evaluate import EvaluateSettings
from emotion_llm.evaluation.metrics import compare_predictions, metrics_from_predictions
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.figures import confusion_figure, reliability_figure
from emotion_llm.runtime.processes import free_port
from launch.evaluate import evaluate


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_held_out_clip_is_answered_once_and_metrics_follow_from_the_predictions(description_run, tmp_path):
    run = Path(shutil.copytree(description_run, tmp_path / "run"))
    result = evaluate(EvaluateSettings(run=run, explanations=2, candidates=1))
    predictions = lines(run / "evaluation" / "predictions.jsonl")
    assert result == json.loads((run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    for name, values in result["corpora"].items():
        own = [record for record in predictions if record["corpus"] == name]
        assert len({record["clip"] for record in own}) == len(own) == values["clips"] == 3
        assert values["accuracy"] == pytest.approx(sum(record["predicted"] == record["emotion"] for record in own) / 3)
        assert sum(map(sum, values["confusion"])) == 3
        assert sum(record["explanation"] is not None for record in own) == 2
        for record in own:
            assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-4)
            assert record["predicted"] == max(record["probabilities"], key=record["probabilities"].get)


@pytest.fixture(scope="module")
def evaluated(recognition_run, tmp_path_factory) -> tuple[dict, Path]:
    """Metrics and predictions file."""
    folder = tmp_path_factory.mktemp("evaluated")
    return evaluate(EvaluateSettings(run=recognition_run, output=folder, attribution=True, explanations=1)), folder / "predictions.jsonl"


def test_metrics_follow_from_the_predictions_file_alone(evaluated):
    result, path = evaluated
    recomputed = metrics_from_predictions(path)
    not_of_predictions = ("encoder_accuracy", "identity_probe")
    for name, values in result["corpora"].items():
        assert recomputed[name] == {key: value for key, value in values.items() if key not in not_of_predictions}
    for name, values in result["corpora"].items():
        assert {"majority", "kinematic_forest", "encoder_probe", "encoder_classifier"} <= values["baselines"].keys()
        assert values["faithfulness"]["clips"] == 1
        assert values["baselines"]["encoder_classifier"]["accuracy"] == values["encoder_accuracy"]
        difference = compare_predictions(path, path, other_method="encoder_classifier")[name]["accuracy_difference"]
        assert difference == pytest.approx(values["accuracy"] - values["encoder_accuracy"])
    assert all(record["actor"] is not None for record in lines(path))


def test_an_answer_is_pooled_from_the_llms_and_the_encoders(evaluated):
    share = evaluated[0]["trained"]["settings"]["encoder_share"]
    assert 0 < share < 1
    largest = np.zeros(2)  # difference from the LLM's and from the encoder's
    for record in lines(evaluated[1]):
        llm, encoder = (np.array(list(record["baselines"][part]["probabilities"].values())) for part in ("llm", "encoder_classifier"))
        answer, kept = np.array(list(record["probabilities"].values())), np.minimum(llm, encoder) > 1e-3  # six decimals are written
        product = llm[kept] ** (1 - share) * encoder[kept] ** share
        assert list(answer[kept] / answer[kept].sum()) == pytest.approx(list(product / product.sum()), rel=1e-2)
        largest = np.maximum(largest, [np.abs(answer - part).max() for part in (llm, encoder)])
    assert (largest > 0.02).all()


def test_a_result_carries_what_it_came_from(evaluated):
    result, _ = evaluated
    trained = result["trained"]
    assert {"settings", "llm_fingerprint", "encoder_hash", "corpora", "versions"} <= trained.keys()
    assert trained["settings"]["seed"] == 0
    assert all(len(corpus["split_hash"]) == len(corpus["data_hash"]) == 64 for corpus in trained["corpora"].values())
    assert result["differs_from_training"] == []


def test_other_data_than_the_trainings_is_refused_unless_accepted_and_then_recorded(small_world, recognition_run, tmp_path, capsys):
    data = shutil.copytree(small_world.data, tmp_path / "data")
    metadata = json.loads((data / "egbm" / "corpus.json").read_text())
    metadata["data_hash"] = "0" * 64
    (data / "egbm" / "corpus.json").write_text(json.dumps(metadata))
    with pytest.raises(UserError, match=r"corpus 'egbm': data_hash is 000000000000, training used"):
        evaluate(EvaluateSettings(run=recognition_run, data=data, output=tmp_path / "out"))
    result = evaluate(EvaluateSettings(run=recognition_run, data=data, output=tmp_path / "out", accept_other_data=True))
    assert "corpus 'egbm': data_hash is 000000000000" in result["differs_from_training"][0]
    said = capsys.readouterr().out
    for name in result["corpora"]:
        own = [record for record in lines(tmp_path / "out" / "predictions.jsonl") if record["corpus"] == name]
        shown, answered = ({record["emotion"] for record in own}, {record["baselines"]["llm"]["predicted"] for record in own})
        never = [emotion for emotion in own[0]["probabilities"] if emotion in shown - answered]
        assert not never or f"the LLM answers no clip with {', '.join(never)}; if it cannot write these words" in said
    assert "the LLM answers no clip with" in said, "a toy, trained for four steps"


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint here; give the run folder of launch/finetune.py"):
        evaluate(EvaluateSettings(run=tmp_path))


def test_a_checkpoint_of_another_llm_is_refused(recognition_run, tmp_path):
    from transformers import AutoModelForCausalLM

    from tests.helpers.families import write_small_llm

    folder = write_small_llm(tmp_path / "llm")
    other = AutoModelForCausalLM.from_pretrained(folder)
    other.model.embed_tokens.weight.data += 1
    other.save_pretrained(folder)
    with pytest.raises(UserError, match=r"trained with llm_fingerprint .*, but --llm brings .*; give --llm the one it was trained with"):
        evaluate(EvaluateSettings(run=recognition_run, llm=str(folder)))


def test_a_checkpoint_of_another_encoder_is_refused(small_world, recognition_run, tmp_path):
    copied = shutil.copytree(recognition_run, tmp_path / "run")
    metadata = json.loads((copied / "encoder" / "encoder.json").read_text())
    metadata["window_frames"] += 1
    (copied / "encoder" / "encoder.json").write_text(json.dumps(metadata))
    with pytest.raises(UserError, match=r"do not match"):
        evaluate(EvaluateSettings(run=copied))


def test_the_reliability_figure_says_each_methods_calibration_error():
    curve = [{"clips": 1, "confidence": 0.5, "accuracy": 1.0}, {"clips": 3, "confidence": 0.9, "accuracy": 0.9}]
    figure = reliability_figure({"LLM": curve}, "kdae")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["calibrated", "LLM, calibration error 0.12"]


def test_the_confusion_figure_says_its_accuracy():
    figure = confusion_figure([[2, 1], [0, 1]], ("anger", "joy"), "kdae")
    assert figure.axes[0].get_title(loc="left") == "kdae, accuracy 75%"


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(description_run, tmp_path):
    one = evaluate(EvaluateSettings(run=description_run, output=tmp_path / "one", candidates=2))
    script = Path(__file__).parents[1] / "helpers" / "evaluate_in_fp32.py"
    command = [sys.executable, "-m", "deepspeed.launcher.runner", "--num_gpus", "2", "--master_port", str(free_port()), script]
    subprocess.run(
        [*command, "--run", description_run, "--output", tmp_path / "two", "--candidates", "2"], check=True, timeout=300, env=os.environ
    )
    two = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert two["corpora"] == one["corpora"]
    assert lines(tmp_path / "two" / "predictions.jsonl") == lines(tmp_path / "one" / "predictions.jsonl")
