"""Pre-training on two processes: what each trains on, and what they share."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emotion_llm.pretraining import loop
from emotion_llm.pretraining.data import open_data
from emotion_llm.pretraining.model import build_model
from emotion_llm.pretraining.settings import PretrainSettings
from emotion_llm.pretraining.trained_encoder import WEIGHTS
from emotion_llm.runtime import console
from emotion_llm.runtime.processes import free_port
from emotion_llm.skeleton_encoder.norm import running_statistics
from launch.pretrain_encoder import pretrain

PROCESSES = 2


def work(rank: int, port: int, settings: PretrainSettings, stop_at: int | None) -> None:
    """One rank of a pre-training; writes down what it trained on."""
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": PROCESSES, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in environment.items()})
    torch.set_num_threads(1)
    record: dict = {"names": [], "statistics": []}
    true_step, true_average = loop.train_step, loop.average_running_statistics

    def train_step(network, optimizer, batch, weight, rate, step, stop):
        record["names"].append(batch.names)
        if rank == 1 and stop_at == step + 1:
            os.kill(os.getpid(), signal.SIGTERM)  # noticed before the next step
        report = true_step(network, optimizer, batch, weight, rate, step, stop)
        record.setdefault("gradients", [parameter.grad.clone() for parameter in network.parameters()])
        return report

    def average_running_statistics(model):
        record["statistics"].append(running_statistics(model).clone())
        true_average(model)

    loop.train_step, loop.average_running_statistics = train_step, average_running_statistics
    console.run(lambda: pretrain(settings))
    torch.save(record, settings.run / f"rank{rank}.pt")


def run_ranks(settings: PretrainSettings, stop_at: int | None = None) -> list[dict]:
    context, port = multiprocessing.get_context("spawn"), free_port()
    ranks = [context.Process(target=work, args=(rank, port, settings, stop_at)) for rank in range(PROCESSES)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(300)
    assert [rank.exitcode for rank in ranks] == [0] * PROCESSES
    return [torch.load(settings.run / f"rank{rank}.pt", weights_only=True) for rank in range(PROCESSES)]


@pytest.fixture
def short(two_corpora, settings) -> PretrainSettings:
    return replace(settings, epochs=2, milestones=(), evaluate_every=5)


def test_two_processes_train_on_disjoint_halves_and_share_gradients_and_statistics(short):
    one, two = run_ranks(short)
    data, half = open_data(short), short.global_batch // 2
    steps_per_epoch = len(data.items) // short.global_batch
    for number in range(short.epochs):
        order = data.epoch(number)
        for place in range(steps_per_epoch):
            step, start = number * steps_per_epoch + place, place * short.global_batch
            assert one["names"][step] == data.batch(order, range(start, start + half)).names
            assert two["names"][step] == data.batch(order, range(start + half, start + 2 * half)).names

    gradients = []
    for start in (0, half):  # batch norm sees the windows of one process
        model = build_model(short, data)
        classification, contrastive = model(data.batch(data.epoch(0), range(start, start + half)))
        (classification + short.contrastive_weight * contrastive).mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for ours, theirs, *alone in zip(one["gradients"], two["gradients"], *gradients, strict=True):
        assert torch.equal(ours, theirs)
        assert torch.allclose(ours, (alone[0] + alone[1]) / 2, atol=1e-6)

    assert not torch.allclose(one["statistics"][-1], two["statistics"][-1])
    weights = load_file(short.run / WEIGHTS)
    saved = torch.cat([value for name, value in weights.items() if name.rpartition(".")[2] in ("running_mean", "running_variance")])
    mean = (one["statistics"][-1] + two["statistics"][-1]) / 2
    assert torch.allclose(saved.sort().values, mean.sort().values, atol=1e-6)


@pytest.mark.slow
def test_two_processes_that_are_stopped_within_an_epoch_resume_there_and_equal_unbroken_ones(short):
    run_ranks(short)
    again = replace(short, run=Path(f"{short.run}-again"))
    stopped = run_ranks(again, stop_at=3)  # one of them is asked to stop
    assert [len(record["names"]) for record in stopped] == [3, 3]
    run_ranks(again)
    assert (short.run / WEIGHTS).read_bytes() == (again.run / WEIGHTS).read_bytes()
