import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emotion_llm.pretraining import loop as pretraining_loop
from emotion_llm.pretraining.loop import Schedule, average_running_statistics, train_step
from emotion_llm.pretraining.pretrain import PRESETS, PretrainSettings, build_model, count_steps, open_data, pretrain
from emotion_llm.pretraining.state import STATE
from emotion_llm.pretraining.trained_encoder import ABOUT, WEIGHTS, load_encoder
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_encoder.norm import MaskedBatchNorm

ROOT = Path(__file__).parents[2]


def test_the_default_preset_holds_the_numbers_of_the_paper():
    paper = PRESETS["paper"]
    assert next(iter(PRESETS)) == "paper" and paper == PretrainSettings()
    assert (paper.epochs, paper.batch_size, paper.learning_rate) == (200, 64, 0.1)
    assert (paper.milestones, paper.warmup_epochs) == ((100, 150, 175), 5)
    schedule = Schedule.of(paper, steps_per_epoch=10)
    assert [round(schedule.learning_rate(step), 6) for step in (1, 25, 50, 51, 1000, 1001, 1500, 1501, 1750, 1751, 2000)] == [
        0.002, 0.05, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001,
    ]  # fmt: skip


def test_it_learns_two_corpora_of_two_layouts_at_once(two_corpora, settings):
    trained = pretrain(replace(settings, epochs=6, milestones=(4,)))
    held_out = trained.metadata["held_out"]
    assert {name: score["chance"] for name, score in held_out.items()} == {"one": 0.5, "two": 0.5}
    assert all(score["accuracy"] >= 0.8 and score["clips"] in (4, 5) for score in held_out.values()), held_out
    assert trained.metadata["corpora"]["two"]["data_hash"] == two_corpora[1].data_hash
    assert trained.metadata["pretraining"]["epochs"] == 6


def test_a_resumed_run_equals_an_unbroken_one(two_corpora, settings, monkeypatch):
    pretrain(settings)
    true_step = pretraining_loop.train_step

    def interrupted(*arguments):
        if arguments[5] == 13:  # in the third epoch
            raise KeyboardInterrupt
        return true_step(*arguments)

    again = replace(settings, run=settings.run.with_name("again"))
    monkeypatch.setattr(pretraining_loop, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain(again)
    assert not (again.run / ABOUT).exists()
    monkeypatch.setattr(pretraining_loop, "train_step", true_step)
    pretrain(again)
    assert (settings.run / WEIGHTS).read_bytes() == (again.run / WEIGHTS).read_bytes()
    assert load_encoder(settings.run).encoder_hash == load_encoder(again.run).encoder_hash


def test_a_finished_run_is_not_trained_again_and_another_one_does_not_overwrite_it(two_corpora, settings, capsys, monkeypatch):
    settings = replace(settings, epochs=1, milestones=())
    first = pretrain(settings).encoder_hash
    monkeypatch.setattr(pretraining_loop, "train_step", None)
    assert pretrain(settings).encoder_hash == first
    assert "already trained; for another run choose another --run folder" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"the run was started with learning_rate = 0.1, now it is 0.2; go on with the old value"):
        pretrain(replace(settings, learning_rate=0.2))
    metadata = settings.data / "one" / "corpus.json"
    metadata.write_text(metadata.read_text().replace(two_corpora[0].data_hash, "0" * 64))
    with pytest.raises(UserError, match="data_hash is 000000000000, training used"):
        pretrain(settings)
    (settings.run / STATE).write_bytes(b"rubbish")
    with pytest.raises(UserError, match=r"cannot be read .*; delete it to start anew"):
        pretrain(settings)


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_motions(two_corpora, settings):
    data = open_data(settings)
    model = build_model(settings, data)
    batch = data.batch(data.epoch(0), range(4))
    batch.motions.positions[2] = torch.inf
    model.eval()  # so that the running statistics, not the batch, normalise: only one motion is hit
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(UserError) as caught:
        train_step(model, optimizer, batch, 0.5, 0.1, 7, 0.0)
    assert f"step 7: the loss is nan; motions with such a loss: {batch.names[2]};" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_without_alignment_no_text_encoder_is_read(two_corpora, settings):
    settings = replace(settings, contrastive_weight=0.0, text_encoder="no-such/model")
    model = build_model(settings, open_data(settings))
    assert model.alignment is None
    with pytest.raises(UserError, match="text encoder no-such/model: cannot be loaded"):
        build_model(replace(settings, contrastive_weight=0.5), open_data(settings))


def test_the_batch_is_divided_among_the_processes_or_refused():
    assert count_steps(64, 1000, 4) == 15
    with pytest.raises(UserError, match="batch of 64 windows cannot be divided among 3 processes; start 1, 2, 4, 8, 16, 32 or 64 of them"):
        count_steps(64, 1000, 3)
    with pytest.raises(UserError, match="hold 40 training windows, fewer than --batch-size 64; choose a smaller one"):
        count_steps(64, 40, 1)


def test_every_process_ends_with_the_mean_statistics_of_all(monkeypatch):
    norm = MaskedBatchNorm(2)
    norm.running_mean.fill_(1.0)
    monkeypatch.setattr(pretraining_loop, "process_count", lambda: 2)
    monkeypatch.setattr(pretraining_loop, "sum_over_processes", lambda value: value + torch.tensor([3.0, 3, 5, 5]))  # the other process
    average_running_statistics(norm)
    assert norm.running_mean.tolist() == [2, 2] and norm.running_variance.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs 0: must be at least 1"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0: must be above 0"),
        ({"weight_decay": -1.0}, "--weight-decay -1.0: must not be negative"),
        ({"mirror_probability": 2.0}, "--mirror-probability 2.0: must be from 0 to 1"),
        ({"corpora": ()}, "--corpora: name at least one corpus"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        replace(PretrainSettings(), **changes)


def launch(*arguments: str, processes: int = 0) -> subprocess.CompletedProcess:
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", "29611", "--"] if processes else []
    command = [sys.executable, *torchrun, str(ROOT / "launch" / "pretrain_encoder.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def test_the_script_prints_its_settings_and_one_line_for_an_error(tmp_path):
    dry = launch("--dry-run", "--split.kind", "leave-actors-out", "--split.fold", "2")
    assert dry.returncode == 0, dry.stderr
    resolved = json.loads(dry.stdout)
    assert (resolved["epochs"], resolved["batch_size"], resolved["corpora"]) == (200, 64, ["kdae", "emilya", "egbm"])
    assert resolved["split"]["kind"] == "leave-actors-out" and resolved["split"]["fold"] == 2
    failed = launch("--data", str(tmp_path))
    assert failed.returncode == 2 and "Traceback" not in failed.stderr
    assert "no prepared corpus here" in failed.stderr


@pytest.mark.slow
def test_two_processes_train_evaluate_and_encode_together(two_corpora, settings, tmp_path):
    arguments = [
        "--preset", "demo", "--data", str(settings.data), "--corpora", "one", "two", "--encoder.widths", "8", "16", "--encoder.strides",
        "2", "2", "--window-frames", "24", "--epochs", "8", "--batch-size", "8", "--milestones", "6",
    ]  # fmt: skip
    both = launch(*arguments, "--run", str(tmp_path / "both"), processes=2)
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("encoder done") == 1
    trained = load_encoder(tmp_path / "both")
    assert all(score["accuracy"] >= 0.8 for score in trained.metadata["held_out"].values()), trained.metadata["held_out"]
    assert load_file(tmp_path / "both" / STATE).keys() >= {"momentum.classifier.head.weight"}
    three = launch(*arguments, "--run", str(tmp_path / "three"), processes=3)
    assert three.returncode != 0 and "cannot be divided among 3 processes" in three.stderr
