"""One step of the engine: its gradient, its rate, what it moves, and its state that can be taken out and put back."""

import copy
import dataclasses
import math
import os
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM

from emotion_llm.language.llm import LoraSettings
from emotion_llm.language.packed import pack
from emotion_llm.runtime.processes import get_watchdog
from emotion_llm.runtime.stopping import StopRequest
from emotion_llm.training import loop
from emotion_llm.training.batches import prepare_step
from emotion_llm.training.efficiency import FlopCount
from emotion_llm.training.loop import StepReport, train_step


def take_step(parts, step: int = 1) -> StepReport:
    prepare = partial(prepare_step, parts.data, parts.engine.share, parts.engine.rank, FlopCount(parts.engine.model))
    return train_step(parts.engine, prepare, parts.settings, step, get_watchdog(), StopRequest())


def assert_same_state(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for kind, of_kind in one.items():
        assert of_kind.keys() == other[kind].keys()
        for name, value in of_kind.items():
            assert torch.equal(value, other[kind][name]), (kind, name)


def test_loss_and_gradient_do_not_depend_on_the_division_into_micro_batches(parts):
    whole, divided = parts(micro_batch=8), parts(micro_batch=2)
    assert (whole.engine.share.accumulation, divided.engine.share.accumulation) == (1, 4)
    reports = take_step(whole), take_step(divided)
    assert reports[0].loss == pytest.approx(reports[1].loss, rel=1e-6)
    assert reports[0].gradient_norm == pytest.approx(reports[1].gradient_norm, rel=1e-5)
    first_moments = whole.engine.gather_state()["exp_avg"], divided.engine.gather_state()["exp_avg"]  # a tenth of the gradient
    for name, moment in first_moments[0].items():
        torch.testing.assert_close(moment, first_moments[1][name], rtol=1e-4, atol=1e-5 * float(moment.abs().max()) + 1e-9)


def test_bf16_gives_the_loss_and_gradient_of_fp32_within_its_precision(parts):
    exact, rounded = parts(precision="fp32"), parts(precision="bf16")
    assert (exact.engine.dtype, rounded.engine.dtype) == (torch.float32, torch.bfloat16)
    reports = take_step(exact), take_step(rounded)
    assert reports[0].loss != reports[1].loss
    assert reports[0].loss == pytest.approx(reports[1].loss, rel=2e-2)
    assert reports[0].gradient_norm == pytest.approx(reports[1].gradient_norm, rel=5e-2)
    assert {value.dtype for value in rounded.engine.gather_state()["weight"].values()} == {torch.float32}


def test_the_loss_is_the_mean_over_the_answer_tokens_of_the_whole_step(parts):
    made = parts(micro_batch=4)
    report = take_step(made)
    tokens = sum(made.data.answer_tokens(item) for item in made.data.draw(1))
    every = torch.cat([log_likelihoods for _, log_likelihoods in report.own])
    assert len(every) == tokens
    assert report.loss == pytest.approx(-float(every.double().mean()), rel=1e-6)


def test_the_state_comes_back_bit_for_bit_and_training_goes_on_the_same(parts):
    made, fresh = parts(), parts()
    for step in (1, 2):
        take_step(made, step)
    state = made.engine.gather_state()
    fresh.engine.set_state(state, made.engine.updates)
    assert fresh.engine.updates == 2
    assert_same_state(fresh.engine.gather_state(), state)
    assert take_step(made, 3).loss == take_step(fresh, 3).loss
    assert_same_state(fresh.engine.gather_state(), made.engine.gather_state())


def test_a_state_before_the_first_update_comes_back_too(parts):
    made, fresh = parts(), parts(seed=1)
    assert "exp_avg" not in made.engine.gather_state()
    fresh.engine.set_state(made.engine.gather_state(), 0)
    assert_same_state(fresh.engine.gather_state(), made.engine.gather_state())


def test_the_rate_is_the_one_that_the_optimizer_holds(parts):
    made = parts(warmup_steps=2, peak_learning_rate=0.5)
    assert take_step(made, 1).learning_rate == made.engine.learning_rate == 0.25
    assert made.engine._engine.optimizer.optimizer.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize("stage", ["recognition", "description"])
def test_each_stage_trains_the_adapter_and_the_projections_and_nothing_else_moves(parts, stage):
    made = parts(stage=stage)
    before = {name: value.clone() for name, value in made.engine.model.state_dict().items()}
    encoder = {name: value.clone() for name, value in made.encoder.model.state_dict().items()}
    for step in (1, 2):  # LoRA's B starts at zero, so A moves from the second step on
        take_step(made, step)
    moved = {name for name, value in made.engine.model.state_dict().items() if not torch.equal(value, before[name])}
    trainable = {name for name, _ in made.engine.model.named_parameters() if "lora_" in name or name.startswith("skeleton_tokenizer.")}
    assert set(made.engine.trainable()) == trainable
    assert moved == trainable
    assert all(torch.equal(value, encoder[name]) for name, value in made.encoder.model.state_dict().items())


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells which pages of a file a process has written to")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_processes_of_a_machine_share_the_frozen_weights(parts, small_world, tmp_path, precision):
    """They stay pages of the LLM's file: never copied, never written to, and DeepSpeed, which broadcasts what it knows, does not know them."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    folder = shutil.copytree(small_world.llm, tmp_path / "llm")
    AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).save_pretrained(folder)
    made = parts(precision=precision, llm=str(folder))
    take_step(made)
    assert len(list(made.engine._engine.module.parameters())) == len(made.engine.trainable())
    mapped = [found for found in psutil.Process().memory_maps(grouped=False) if found.path == str(folder / "model.safetensors")]
    spans = [(int(start, 16), int(end, 16)) for start, end in (found.addr.split("-") for found in mapped)]
    frozen = {name: value for name, value in made.engine.model.named_parameters() if not value.requires_grad}
    assert len(frozen) > 15
    assert [name for name, value in frozen.items() if not any(start <= value.data_ptr() < end for start, end in spans)] == []
    assert sum(found.rss for found in mapped) > 0 and sum(found.private_dirty for found in mapped) == 0
    assert all(value.dtype == torch.float32 for _, value in made.engine.model.named_buffers() if value.is_floating_point())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_an_update_from_a_loss_that_is_not_finite_is_skipped_whole(parts, monkeypatch, value, accumulation):
    made = parts(micro_batch=8 // accumulation)
    take_step(made, 1)
    state = made.engine.gather_state()
    true_share = made.engine.backward
    monkeypatch.setattr(made.engine, "backward", lambda share: true_share(share * value if share > 0 else share))
    report = take_step(made, 2)
    assert report.update_was_skipped
    assert not report.gradient_norm < float("inf")
    assert made.engine.updates == 1
    assert_same_state(made.engine.gather_state(), state)
    monkeypatch.undo()
    assert not take_step(made, 3).update_was_skipped
    assert made.engine.updates == 2


def test_an_infinite_loss_with_a_finite_gradient_is_skipped_as_well(parts, monkeypatch):
    made = parts()
    plain = made.engine.model.forward
    monkeypatch.setattr(made.engine.model, "forward", lambda row: plain(row) - torch.inf)  # the constant has no gradient
    report = take_step(made, 1)
    assert report.loss == float("inf")
    assert report.update_was_skipped


def test_dropout_noise_belongs_to_seed_step_micro_step_and_rank():
    seeds = {loop.noise_seed(*numbers) for numbers in [(0, 1, 0, 0), (1, 1, 0, 0), (0, 2, 0, 0), (0, 1, 1, 0), (0, 1, 0, 1)]}
    assert len(seeds) == 5
    assert loop.noise_seed(0, 1, 0, 0) == loop.noise_seed(0, 1, 0, 0)


def loss_with_noise(made, rank: int, step: int = 1) -> float:
    """Of the first step's motions, with the dropout noise of that rank and step; the weights do not move."""
    prepared = prepare_step(made.data, made.engine.share, 0, FlopCount(made.engine.model), 1)
    made.engine.rank = rank
    with torch.no_grad():
        made.engine.backward = made.engine.step = lambda *_: None
        return train_step(made.engine, lambda _: prepared, made.settings, step, get_watchdog(), StopRequest()).loss


def test_ranks_and_steps_have_different_dropout_noise_and_a_seed_repeats_it(parts):
    made = parts(lora=LoraSettings(rank=4, alpha=8, dropout=0.5))
    for name, value in made.engine.trainable().items():
        if "lora_B" in name:
            torch.nn.init.normal_(value.data)
    take_step(made)  # the gradient norm of a step is asked for
    first = loss_with_noise(made, rank=0)
    assert loss_with_noise(made, rank=0) == first
    assert len({first, loss_with_noise(made, rank=1), loss_with_noise(made, rank=0, step=2)}) == 3


def test_micro_steps_have_different_dropout_noise(parts, monkeypatch):
    made, seeds = parts(micro_batch=2), []
    true_seed = torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda seed: seeds.append(seed) or true_seed(seed))
    take_step(made)
    assert len(seeds) == len(set(seeds)) == 4


def test_the_gradient_is_scaled_by_the_processes_over_which_deepspeed_averages(parts):
    """In this one process, which averages over one, so many processes more make the gradient as many times larger."""
    one, three = parts(), parts()
    three.engine.share = dataclasses.replace(three.engine.share, processes=3)
    prepared = prepare_step(one.data, one.engine.share, 0, FlopCount(one.engine.model), 1)
    norms = [
        train_step(made.engine, lambda _: prepared, made.settings, 1, get_watchdog(), StopRequest()).gradient_norm for made in (one, three)
    ]
    assert norms[1] == pytest.approx(3 * norms[0], rel=1e-5)


def test_a_port_in_use_is_said_in_one_line(tmp_path):
    with socket.socket() as other_job:
        other_job.bind(("127.0.0.1", 0))
        other_job.listen()
        port = str(other_job.getsockname()[1])
        code = (
            "from emotion_llm.runtime.console import run; from emotion_llm.runtime.processes import start_processes; run(start_processes)"
        )
        environment = os.environ | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"error: port {port} of this machine is in use: another job runs here, or the last one is still saving; "
        "wait for it, or give the launcher another port (--master_port)"
    )


@pytest.mark.parametrize("micro_batch", [8, 2])
def test_twenty_steps_equal_plain_pytorch_with_active_clipping_and_weight_decay(parts, micro_batch):
    made = parts(micro_batch=micro_batch, gradient_clipping=0.05, weight_decay=0.1, warmup_steps=5, max_steps=20)
    model, settings = copy.deepcopy(made.engine.model), made.settings
    names = list(made.engine.trainable())
    trainable = [dict(model.named_parameters())[name] for name in names]
    optimizer = torch.optim.AdamW(trainable, lr=0.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    for step in range(1, 21):
        report = take_step(made, step)
        items = made.data.draw(step)
        row = pack([made.data.example(item) for item in items], settings.slots)
        loss = -model(row).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(trainable, 0.05))
        rate = 1e-2 * step / 5 if step <= 5 else 1e-2 * 0.5 * (1 + math.cos(math.pi * (step - 5) / 16))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        assert norm > 0.05  # clipping is active
        assert report.gradient_norm == pytest.approx(norm, rel=1e-3)
        assert report.learning_rate == pytest.approx(rate)
        assert report.loss == pytest.approx(loss.item(), rel=1e-3)
    weights = made.engine.gather_state()["weight"]
    for name, value in zip(names, trainable, strict=True):
        torch.testing.assert_close(weights[name], value.detach(), rtol=2e-3, atol=2e-4, msg=name)
