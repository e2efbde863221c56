"""The fine-tuning benchmarks run at the smallest size and say what they measured."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_llm.benchmarks import attention, finetuning, gpu, loss_curves, overhead, scaling, suite
from emotion_llm.benchmarks.cost_model import BATCH, Cluster, matrix_weights, ring_seconds, step_cost, table
from emotion_llm.benchmarks.suite import BenchmarkSettings, run_benchmarks
from emotion_llm.benchmarks.workload import LLAMA_7B, SMALL, TINY, build_model, draw_examples
from emotion_llm.language.flops import FlopCount
from emotion_llm.language.llm import LoraSettings
from emotion_llm.language.packed import pack
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_tokens.unified import Slots

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("stage", ["recognition", "description"])
def test_training_is_measured_with_both_sides_figures(stage):
    measured = finetuning.measure_training(TINY, stage, batch=4, repeats=2)
    assert measured.low <= measured.ratio <= measured.high
    assert "ours" in measured.compared and "the usual way" in measured.compared
    assert "fp32" in measured.machine


def test_the_usual_way_can_run_the_encoder_in_its_loop():
    measured = finetuning.measure_training(TINY, "recognition", batch=2, repeats=1, encoder_in_loop=True)
    assert "encoder in the usual way's loop" in measured.name


def test_answering_is_measured():
    assert finetuning.measure_labels(TINY, motions=2, repeats=1).ratio > 0
    assert finetuning.measure_descriptions(TINY, motions=2, repeats=1).ratio > 0


def test_the_gpu_benchmark_runs_on_any_device_and_prints_a_line_of_the_readmes_table():
    step = gpu.measure_step(TINY, motions=2, repeats=1)
    assert step.motions == 2 and step.seconds > 0 and 0 < step.mfu < 1
    assert step.days == pytest.approx(step.seconds * 800_000 / 86_400)
    heading, line, values = step.table().splitlines()
    assert heading.count("|") == line.count("|") == values.count("|")


@pytest.mark.parametrize("other_way", [attention.one_by_one, attention.dense])
@pytest.mark.parametrize("stage", ["recognition", "description"])
def test_the_three_ways_of_attention_give_the_same(stage, other_way):
    row = pack(draw_examples(TINY, stage, 5, seed=2), Slots())
    heads = tuple(torch.randn(1, count, len(row.token_ids), 8) for count in (4, 2, 2))
    other = other_way(row.attention)
    assert [group.query_rows.shape for group in other.groups] != [group.query_rows.shape for group in row.attention.groups]
    torch.testing.assert_close(attention.attend(heads, other), attention.attend(heads, row.attention))


def test_attention_is_measured():
    measured = attention.measure(TINY, motions=3, repeats=1)
    assert len(measured) == 4 and all(one.ratio > 0 for one in measured)


def test_the_cost_model_is_held_against_measured_steps():
    measured = list(scaling.check_cost_model((TINY,), repeats=1))
    assert [one.name for one in measured] == ["cost model, tiny Llama, 8 motions", "cost model, tiny Llama, 16 motions"]
    assert all("foretold" in one.compared and one.ratio > 0 for one in measured)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["recognition", "description"])
def test_both_ways_have_the_same_loss_curve_on_real_batches(small_world, tmp_path, stage):
    settings = small_world.settings(tmp_path, stage, max_steps=30, peak_learning_rate=3e-3)
    without_dropout = small_world.settings(
        tmp_path, stage, max_steps=30, peak_learning_rate=3e-3, lora=LoraSettings(rank=4, alpha=8, dropout=0.0)
    )
    exact = loss_curves.loss_curve(without_dropout, 30)
    assert exact[-5:].mean() < exact[:5].mean()  # it learns
    np.testing.assert_allclose(loss_curves.loss_curve(without_dropout, 30, usual=True), exact, atol=2e-3)
    measured = loss_curves.measure(settings, steps=30)
    assert measured.ratio > 0.2, measured.compared  # apart by no more than a few times the noise


@pytest.mark.slow
def test_a_runs_start_and_saves_are_measured():
    start, saving = overhead.measure(TINY, repeats=1)
    assert "to the end of its first step" in start.compared
    assert "a checkpoint stops training for" in saving.compared
    assert start.ratio > 0 and saving.ratio > 0


def test_loss_curves_without_the_demo_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(suite, "DEMO", replace(suite.DEMO, data=tmp_path / "nothing"))
    with pytest.raises(
        UserError, match=r"--only curves: needs the demo's corpora, encoder and LLM \(.*nothing.*\); run launch/demo.py first"
    ):
        run_benchmarks(BenchmarkSettings(only="curves"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_benchmark_is_refused_where_there_is_none():
    with pytest.raises(UserError, match="--only gpu: no GPU here; run it on a machine that has one"):
        run_benchmarks(BenchmarkSettings(only="gpu"))


def test_an_unknown_group_is_refused():
    with pytest.raises(UserError, match="--only speed: no such group; choose one of training, memory, "):
        BenchmarkSettings(only="speed")


def test_readers_without_files_are_refused():
    with pytest.raises(UserError, match="--only readers: needs motion files to read; name a folder of BVH files with --clips"):
        BenchmarkSettings(only="readers")


@pytest.mark.slow
def test_a_quick_run_writes_a_record_per_measurement(tmp_path):
    measurements = run_benchmarks(BenchmarkSettings(only="memory", quick=True, json=tmp_path / "out.json"))
    records = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [record["name"] for record in records] == [measurement.name for measurement in measurements]
    assert set(records[0]) == {"name", "ratio", "low", "high", "unit", "compared", "machine"}
    assert records[0]["ratio"] > 1


@pytest.mark.slow
def test_weak_scaling_is_measured_under_the_launcher():
    measured = scaling.measure_weak_scaling(steps=1, rounds=1)
    assert measured.ratio > 0 and "two" in measured.compared


def test_the_cost_model_counts_the_weights_that_the_model_has():
    flops = FlopCount(build_model(SMALL, LoraSettings()))
    frozen, adapter = matrix_weights(SMALL)
    assert 4 * frozen + 6 * adapter == flops.cost_per_token > 0


def test_the_cost_models_arithmetic_is_the_flop_count_of_drawn_batches():
    model = build_model(SMALL, LoraSettings())
    flops = FlopCount(model)
    drawn = [flops.of_row(pack(draw_examples(SMALL, "recognition", BATCH, seed), model.slots)) for seed in range(4)]
    cluster = Cluster(gpus=1, peak_flops=1e9, mfu=1.0)
    predicted = step_cost(SMALL, cluster).compute_seconds * 1e9
    assert predicted == pytest.approx(sum(drawn) / len(drawn), rel=0.15)  # attention and the projections are left out


def test_more_gpus_than_motions_bring_nothing():
    at_64, at_512 = (step_cost(LLAMA_7B, Cluster(gpus)) for gpus in (64, 512))
    assert at_512.seconds == at_64.seconds
    assert at_512.dollars == pytest.approx(8 * at_64.dollars)


def test_a_step_never_gets_slower_than_its_communication_and_cheaper_with_more_gpus():
    costs = [step_cost(LLAMA_7B, Cluster(gpus)) for gpus in (1, 2, 4, 8, 16, 32, 64)]
    assert all(more.seconds < fewer.seconds for fewer, more in pairwise(costs))
    assert all(more.dollars > fewer.dollars for fewer, more in pairwise(costs))
    assert ring_seconds(1e9, 1, Cluster(1)) == 0
    assert len(table(LLAMA_7B).splitlines()) == 12


@pytest.mark.slow
def test_the_script_says_what_it_would_do():
    command = [sys.executable, "launch/benchmark.py", "--quick", "--only", "memory", "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout)["only"] == "memory"
