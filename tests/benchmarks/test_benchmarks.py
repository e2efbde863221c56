"""The benchmarks run at the smallest size and report what they measured."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from emotion_llm.benchmarks import finetuning, gpu, scaling
from emotion_llm.benchmarks.cost_model import BATCH, Cluster, matrix_weights, ring_seconds, step_cost, table
from emotion_llm.benchmarks.suite import BenchmarkSettings, run_benchmarks
from emotion_llm.benchmarks.workload import LLAMA_7B, MICRO_BATCH, TINY, build_model, draw_examples
from emotion_llm.language.packed import pack
from emotion_llm.runtime.errors import UserError
from emotion_llm.training.efficiency import FlopCount

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("grouped", "against"), [(False, "baseline"), (True, "group_by_length")])
@pytest.mark.parametrize("stage", ["recognition", "description"])
def test_training_is_measured_with_both_sides_figures(stage, grouped, against):
    measured = finetuning.measure_training(TINY, stage, grouped, batch=4, repeats=2)
    assert measured.low <= measured.ratio <= measured.high
    assert measured.name.endswith(f"against {against}") and f"; {against}, " in measured.compared
    assert "fp32" in measured.machine


def test_the_gpu_benchmark_runs_on_any_device_and_prints_a_row_of_a_table():
    heading, line, values = gpu.measure_step(TINY, motions=2, repeats=1).splitlines()
    assert heading.count("|") == line.count("|") == values.count("|")
    row = dict(zip(heading.split(" | "), values.split(" | "), strict=True))
    assert row["motions"] == "2" and float(row["s per step"]) > 0 and 0 <= int(row["MFU"].removesuffix("%")) < 100
    assert float(row["800,000 steps on four |"].split()[0]) == pytest.approx(float(row["s per step"]) * 800_000 / 86_400, rel=0.1, abs=0.06)


def test_the_cost_model_is_held_against_measured_steps():
    measured = list(scaling.check_cost_model((TINY,), repeats=1))
    assert [one.name for one in measured] == ["cost model, tiny Llama, 4 motions", "cost model, tiny Llama, 8 motions"]
    assert all("predicted" in one.compared and one.ratio > 0 for one in measured)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_benchmark_is_refused_where_there_is_none():
    with pytest.raises(UserError, match="--only gpu: no GPU here; run it on a machine that has one"):
        run_benchmarks(BenchmarkSettings(only="gpu"))


def test_an_unknown_group_is_refused():
    with pytest.raises(UserError, match="--only speed: no such group; choose one of training, encoder, scaling, gpu"):
        BenchmarkSettings(only="speed")


@pytest.mark.slow
def test_a_quick_run_writes_a_record_per_measurement(tmp_path):
    measurements = run_benchmarks(BenchmarkSettings(only="training", quick=True, json=tmp_path / "out.json"))
    records = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [record["name"] for record in records] == [measurement.name for measurement in measurements]
    assert set(records[0]) == {"name", "ratio", "low", "high", "unit", "compared", "machine"}
    assert records[0]["ratio"] > 0


@pytest.mark.slow
def test_weak_scaling_is_measured_under_the_launcher():
    measured = scaling.measure_weak_scaling(TINY, steps=1, rounds=1)
    assert measured.ratio > 0 and "two:" in measured.compared


def test_the_cost_model_counts_the_weights_that_the_model_has():
    frozen, adapter = matrix_weights(TINY)
    flops = FlopCount(build_model(TINY))
    assert 4 * frozen + 6 * adapter == flops.cost_per_token > 0


def test_the_cost_models_arithmetic_is_the_flop_count_of_drawn_batches():
    shape = replace(TINY, width=256, layers=4, intermediate=688, vocabulary=2_000)
    model = build_model(shape)
    flops = FlopCount(model)
    drawn = [draw_examples(shape, "recognition", BATCH, seed) for seed in range(4)]
    parts = [examples[start : start + MICRO_BATCH] for examples in drawn for start in range(0, BATCH, MICRO_BATCH)]
    counted = sum(flops.of_row(pack(part, model.slots)) for part in parts) / len(drawn)
    cluster = Cluster(gpus=1, peak_flops=1e9, mfu=1.0)
    predicted = step_cost(shape, cluster)
    assert predicted.limit == "arithmetic"
    assert predicted.compute_seconds * 1e9 == pytest.approx(counted, rel=0.15)  # without attention and projections


def test_a_micro_step_takes_as_long_as_its_slowest_part():
    assert step_cost(LLAMA_7B, Cluster(4)).limit == "arithmetic"
    few = step_cost(LLAMA_7B, Cluster(64))  # one motion each
    assert few.limit == "launches" and 0.06 <= few.compute_seconds <= 0.09
    assert step_cost(LLAMA_7B, Cluster(64, seconds_per_launch=0.0, memory_bytes_per_second=1e12)).limit == "memory"
    one_gpu = Cluster(1, seconds_per_launch=1.0)
    assert step_cost(LLAMA_7B, one_gpu).compute_seconds == pytest.approx(4 * step_cost(LLAMA_7B, replace(one_gpu, gpus=4)).compute_seconds)


def test_more_gpus_than_motions_bring_nothing():
    at_64, at_512 = (step_cost(LLAMA_7B, Cluster(gpus)) for gpus in (64, 512))
    assert at_512.seconds == at_64.seconds
    assert at_512.dollars == pytest.approx(8 * at_64.dollars)


def test_more_gpus_are_faster_and_more_expensive_until_launches_limit():
    costs = [step_cost(LLAMA_7B, Cluster(gpus)) for gpus in (1, 2, 4, 8, 16)]
    assert step_cost(LLAMA_7B, Cluster(64)).seconds > 0.9 * costs[-1].seconds  # nothing to gain: one micro-step is the floor
    assert all(more.seconds < fewer.seconds for fewer, more in pairwise(costs))
    assert all(more.dollars > fewer.dollars for fewer, more in pairwise(costs))
    assert ring_seconds(1e9, 1, Cluster(1)) == 0
    assert len(table(LLAMA_7B).splitlines()) == 12


@pytest.mark.slow
def test_the_script_prints_its_settings():
    command = [sys.executable, "launch/benchmark.py", "--quick", "--only", "encoder", "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout)["only"] == "encoder"
