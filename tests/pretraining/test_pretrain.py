import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from emotion_llm.pretraining import loop
from emotion_llm.pretraining.data import count_steps, open_data
from emotion_llm.pretraining.loop import average_running_statistics, train, train_step
from emotion_llm.pretraining.model import build_model, build_optimizer
from emotion_llm.pretraining.schedule import learning_rate
from emotion_llm.pretraining.settings import PRESETS, PretrainSettings
from emotion_llm.pretraining.state import STATE, describe, load_state
from emotion_llm.pretraining.trained_encoder import ABOUT, WEIGHTS, TrainedEncoder, load_encoder
from emotion_llm.runtime import run_folder
from emotion_llm.runtime.console import parse_settings
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.processes import free_port
from emotion_llm.runtime.stopping import MARKER
from emotion_llm.runtime.tensorboard import TensorBoardWriter
from emotion_llm.runtime.validation import options_of_the_command_line
from emotion_llm.skeleton_encoder.norm import MaskedBatchNorm
from launch.pretrain_encoder import main, pretrain
from tests.helpers.scripts import run_script
from tests.runtime.test_run_folder import hold

ROOT = Path(__file__).parents[2]


def trained_by(settings: PretrainSettings) -> TrainedEncoder:
    pretrain(settings)
    return load_encoder(settings.run)


def test_the_default_preset_holds_the_numbers_of_the_paper():
    paper = PRESETS["paper"]
    assert next(iter(PRESETS)) == "paper" and paper == PretrainSettings()
    assert (paper.epochs, paper.global_batch, paper.learning_rate) == (200, 64, 0.1)
    assert (paper.milestones, paper.warmup_epochs) == ((100, 150, 175), 5)
    assert [round(learning_rate(step, paper, steps_per_epoch=10), 6) for step in (1, 25, 50, 51, 1000, 1001, 1500, 1501, 1750, 1751, 2000)] == [
        0.002, 0.05, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001,
    ]  # fmt: skip


def test_it_learns_two_corpora_of_two_layouts_at_once(two_corpora, settings):
    trained = trained_by(replace(settings, epochs=6, milestones=(4,)))
    held_out = trained.record.held_out
    assert {name: score["chance"] for name, score in held_out.items()} == {"one": 0.5, "two": 0.5}
    assert all(score["accuracy"] >= 0.8 and score["clips"] in (4, 5) for score in held_out.values()), held_out
    assert trained.record.corpora["two"]["data_hash"] == two_corpora[1].data_hash
    assert trained.record.pretraining["epochs"] == 6


@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, 9), (signal.SIGUSR1, 4), (signal.SIGTERM, 1)])
def test_a_run_that_is_stopped_within_an_epoch_resumes_there_and_equals_an_unbroken_one(
    two_corpora, settings, monkeypatch, capsys, number, step
):
    pretrain(settings)
    steps = []

    def signalled(*arguments):
        steps.append(arguments[5])
        if steps[-1] == step and len(steps) == step:
            os.kill(os.getpid(), number)
        return train_step(*arguments)

    again = replace(settings, run=settings.run.with_name("again"))
    monkeypatch.setattr(loop, "train_step", signalled)
    assert pretrain(again) is False
    assert steps == list(range(1, step + 2)) and not (again.run / ABOUT).exists()
    name = signal.Signals(number).name
    assert f"stopped by {name} after step {step + 1}; it is saved, run the same command to continue" in capsys.readouterr().out
    assert json.loads((again.run / MARKER).read_text())["step"] == step + 1
    steps_per_epoch = count_steps(settings.global_batch, len(open_data(settings).items), 1)
    with safe_open(again.run / STATE, "pt") as file:
        saved = file.metadata()
    assert (int(saved["epoch"]), int(saved["step_in_epoch"])) == divmod(step + 1, steps_per_epoch)
    assert int(saved["step_in_epoch"]) > 0  # within an epoch
    pretrain(again)
    assert steps == list(range(1, settings.epochs * steps_per_epoch + 1))  # no step twice, none left out
    assert not (again.run / MARKER).exists()
    assert (settings.run / WEIGHTS).read_bytes() == (again.run / WEIGHTS).read_bytes()
    assert load_encoder(settings.run).encoder_hash == load_encoder(again.run).encoder_hash


def test_a_killed_run_resumes_after_its_last_whole_epoch_and_equals_an_unbroken_one(two_corpora, settings, monkeypatch):
    pretrain(settings)

    def killed(*arguments):
        if arguments[5] == 13:  # in the third epoch
            raise ZeroDivisionError
        return train_step(*arguments)

    again = replace(settings, run=settings.run.with_name("again"))
    monkeypatch.setattr(loop, "train_step", killed)
    with pytest.raises(ZeroDivisionError):
        pretrain(again)
    assert not (again.run / ABOUT).exists()
    monkeypatch.setattr(loop, "train_step", train_step)
    pretrain(again)
    assert (settings.run / WEIGHTS).read_bytes() == (again.run / WEIGHTS).read_bytes()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # see runtime/output.py
def test_a_run_folder_that_is_deleted_during_training_loses_nothing(two_corpora, settings, monkeypatch):
    pretrain(settings)

    def deleting(*arguments):
        if arguments[5] == 3:
            shutil.rmtree(again.run)
        return train_step(*arguments)

    again = replace(settings, run=settings.run.with_name("again"))
    monkeypatch.setattr(loop, "train_step", deleting)
    pretrain(again)
    assert (settings.run / WEIGHTS).read_bytes() == (again.run / WEIGHTS).read_bytes()
    assert load_encoder(again.run).record.held_out == load_encoder(settings.run).record.held_out


def test_the_state_is_on_the_disk_before_it_replaces_the_last_one(two_corpora, settings, fsynced):
    pretrain(replace(settings, epochs=1, milestones=()))
    assert any(path.name.startswith(f".{STATE}.") for path in fsynced)


def test_a_run_folder_in_use_is_refused(two_corpora, settings, monkeypatch):
    monkeypatch.setattr(run_folder, "WAIT_FOR_LOCK", 0.3)
    with hold(settings.run, 60) as holder:
        with pytest.raises(UserError, match=r"run: process 1 on elsewhere is training in this folder; wait for it"):
            pretrain(settings)
        holder.kill()


def test_twenty_steps_are_those_of_plain_sgd(two_corpora, settings):
    settings = replace(settings, epochs=20, warmup_epochs=2, milestones=(3,), weight_decay=0.05, contrastive_weight=0.25)
    data = open_data(settings)
    trained, plain = build_model(settings, data), build_model(settings, data)
    steps_per_epoch = len(data.items) // 8
    epochs = -(-20 // steps_per_epoch)
    settings = replace(settings, epochs=epochs)
    train(trained, build_optimizer(trained, settings), data, settings, steps_per_epoch, 0, TensorBoardWriter(settings.run), {})
    buffers = [torch.zeros_like(parameter) for parameter in plain.parameters()]
    for step in range(1, epochs * steps_per_epoch + 1):
        rate = 0.01 if step > 3 * steps_per_epoch else min(0.1, 0.1 * step / (2 * steps_per_epoch))
        epoch, place = divmod(step - 1, steps_per_epoch)
        classification, contrastive = plain(data.batch(data.epoch(epoch), range(8 * place, 8 * place + 8)))
        gradients = torch.autograd.grad((classification + 0.25 * contrastive).mean(), list(plain.parameters()))
        with torch.no_grad():
            for parameter, gradient, buffer in zip(plain.parameters(), gradients, buffers, strict=True):
                gradient = gradient + 0.05 * parameter
                buffer.mul_(0.9).add_(gradient)
                parameter -= rate * (gradient + 0.9 * buffer)
    assert epochs * steps_per_epoch >= 20
    for (name, one), other in zip(trained.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-4), name


def test_a_finished_run_is_not_trained_again_and_another_one_does_not_overwrite_it(two_corpora, settings, capsys, monkeypatch):
    settings = replace(settings, epochs=1, milestones=())
    first = trained_by(settings).encoder_hash
    with monkeypatch.context() as broken:
        broken.setattr(loop, "train_step", None)
        assert trained_by(settings).encoder_hash == first
    assert "already trained; for another run choose another --run folder" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"the run was started with learning_rate = 0.1, now it is 0.2; resume with the old value"):
        pretrain(replace(settings, learning_rate=0.2))
    metadata = settings.data / "one" / "corpus.json"
    metadata.write_text(metadata.read_text().replace(two_corpora[0].data_hash, "0" * 64))
    with pytest.raises(UserError, match="data_hash is 000000000000, training used"):
        pretrain(settings)
    (settings.run / STATE).write_bytes(b"rubbish")
    with pytest.raises(UserError, match=r"cannot be read .*; delete it to start again"):
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
        train_step(model, optimizer, batch, 0.5, 0.1, 7, False)
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
    with pytest.raises(UserError, match="hold 40 training windows, fewer than --global-batch 64; choose a smaller one"):
        count_steps(64, 40, 1)


def test_damaged_files_of_a_finished_run_are_written_again_from_its_state(two_corpora, settings):
    settings = replace(settings, epochs=1, milestones=())
    first = trained_by(settings)
    (settings.run / ABOUT).write_text("{")
    again = trained_by(settings)
    assert again.encoder_hash == first.encoder_hash and again.record.held_out == first.record.held_out


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved.pop("metadata"),
        lambda saved: saved.pop("epoch"),
        lambda saved: saved.update(step_in_epoch="many"),
        lambda saved: saved.update(metadata="[]"),
        lambda saved: saved.update(metadata='{"pretraining": [], "corpora": {}}'),
        lambda saved: saved.update(metadata='{"pretraining": {}, "corpora": {"one": 5}}'),
        lambda saved: saved.update(metadata="[" * 100_000),
    ],
)
def test_a_state_of_other_kinds_of_values_is_one_line(two_corpora, settings, change):
    settings = replace(settings, epochs=1, milestones=())
    pretrain(settings)
    with safe_open(settings.run / STATE, "pt") as file:
        saved = file.metadata()
    change(saved)
    save_file(load_file(settings.run / STATE), settings.run / STATE, saved)
    data = open_data(settings)
    model = build_model(settings, data)
    with pytest.raises(UserError) as error:
        load_state(settings.run, model, build_optimizer(model, settings), describe(settings, data), 5)
    assert str(error.value).startswith(f"{settings.run / STATE}: ") and "\n" not in str(error.value)


def test_one_process_averages_nothing():
    norm = MaskedBatchNorm(2)
    norm.running_mean.fill_(1.0)
    average_running_statistics(norm)
    assert norm.running_mean.tolist() == [1, 1] and norm.running_variance.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs 0: must be at least 1"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0: must be above 0"),
        ({"weight_decay": -1.0}, "--weight-decay -1.0: must be at least 0"),
        ({"mirror_probability": 2.0}, "--mirror-probability 2.0: must be at most 1"),
        ({"corpora": ()}, r"--corpora \(\): needs at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UserError, match=message), options_of_the_command_line():
        replace(PretrainSettings(), **changes)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "0", "--seed", "1"], "^--epochs 0: must be at least 1$"),
        (["--encoder.reduction", "0"], "^--encoder.reduction 0: must be at least 1$"),
        (["--encoder.widths=8", "2", "--encoder.strides", "2", "2"], "^--encoder.widths 2: must be at least 4$"),
        (["--encoder.strides", "4"], "^encoder: 10 widths and 1 strides; give one of each per block"),
        (["encoder:st-gcn-settings", "--encoder.kernel", "0"], "^--encoder.kernel 0: must be at least 1$"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(words, message):
    with pytest.raises(UserError, match=message):
        parse_settings(PRESETS, "", words)


def test_the_encoder_is_chosen_on_the_command_line():
    assert parse_settings(PRESETS, "", ["--encoder.widths", "8", "--encoder.strides", "4"]).encoder.kind == "ctr-gcn"
    chosen = parse_settings(PRESETS, "", ["--epochs", "3", "encoder:st-gcn-settings", "--encoder.kernel", "5"])
    assert (chosen.encoder.kind, chosen.encoder.kernel, chosen.epochs) == ("st-gcn", 5, 3)


def launch(*arguments: str, processes: int) -> subprocess.CompletedProcess:
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", str(free_port()), "--"]
    command = [sys.executable, *torchrun, str(ROOT / "launch" / "pretrain_encoder.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def test_the_script_prints_its_settings_and_one_line_for_an_error(tmp_path):
    dry = run_script(main, "--dry-run", "--split.kind", "leave-actors-out", "--split.fold", "2")
    assert dry.returncode == 0, dry.stderr
    resolved = json.loads(dry.stdout)
    assert (resolved["epochs"], resolved["global_batch"], resolved["corpora"]) == (200, 64, ["kdae", "emilya", "egbm"])
    assert resolved["split"]["kind"] == "leave-actors-out" and resolved["split"]["fold"] == 2
    failed = run_script(main, "--data", tmp_path)
    assert failed.returncode == 2 and "Traceback" not in failed.stderr
    assert "no prepared corpus here" in failed.stderr


@pytest.mark.slow
def test_two_processes_train_evaluate_and_encode_together(two_corpora, settings, tmp_path):
    arguments = [
        "--preset", "demo", "--data", str(settings.data), "--corpora", "one", "two", "--encoder.widths", "8", "16", "--encoder.strides",
        "2", "2", "--window-frames", "24", "--epochs", "8", "--global-batch", "8", "--milestones", "6",
    ]  # fmt: skip
    both = launch(*arguments, "--run", str(tmp_path / "both"), processes=2)
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("encoder done") == 1
    trained = load_encoder(tmp_path / "both")
    assert all(score["accuracy"] >= 0.8 for score in trained.record.held_out.values()), trained.record.held_out
    assert load_file(tmp_path / "both" / STATE).keys() >= {"momentum.classifier.head.weight"}
    three = launch(*arguments, "--run", str(tmp_path / "three"), processes=3)
    assert three.returncode != 0 and "cannot be divided among 3 processes" in three.stderr
