"""The baseline has the same loss and gradients as the packed row."""

import re

import pytest
import torch

from emotion_llm.benchmarks.finetuning import NO_LABEL, Baseline, adamw, packed_step, padded_step, padding
from emotion_llm.benchmarks.measurement import check_gradients
from emotion_llm.benchmarks.workload import (
    MEGABATCH,
    TINY,
    build_model,
    count_answer_tokens,
    draw_examples,
    draw_grouped_examples,
    length,
)
from emotion_llm.language.packed import pack

STAGES = ("recognition", "description")


def model_without_noise():
    model = build_model(TINY, dropout=0.0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.train()


@pytest.mark.parametrize("stage", STAGES)
def test_both_sides_have_the_same_loss_and_gradients(stage):
    model = model_without_noise()
    baseline = Baseline(model)
    examples = draw_examples(TINY, stage, 6, seed=3)
    answer_tokens = count_answer_tokens(examples)
    ours = -model(pack(examples, model.slots)).sum() / answer_tokens
    theirs = baseline(examples, answer_tokens)
    assert abs(ours.item() - theirs.item()) <= 2e-6
    ours.backward()
    theirs.backward()
    compared = 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, baseline.get_parameter(name).grad, rtol=1e-4, atol=2e-6)
            compared += 1
    assert compared == 2 * 7 * 2 + 6  # layers, linear maps, A and B; three projections with bias


@pytest.mark.parametrize("stage", STAGES)
def test_both_sides_have_the_same_loss_curve(stage):
    model = model_without_noise()
    baseline = Baseline(model)
    ours, theirs = adamw(model), adamw(baseline)
    for step in range(5):
        examples = draw_examples(TINY, stage, 20, seed=step)
        assert packed_step(model, ours, examples) == pytest.approx(padded_step(baseline, theirs, examples), abs=2e-5)


def test_the_baseline_pads_on_the_right_and_supervises_the_answer_alone():
    examples = draw_examples(TINY, "recognition", 4, seed=0)
    batch = Baseline(build_model(TINY)).pad(examples)
    lengths = batch["attention_mask"].sum(1)
    assert int(lengths.max()) == batch["token_ids"].shape[1]
    assert torch.equal(batch["attention_mask"], (torch.arange(batch["token_ids"].shape[1]) < lengths[:, None]).long())
    assert [row[row != NO_LABEL].tolist() for row in batch["labels"]] == [list(example.answers[0]) for example in examples]


def test_the_baseline_uses_the_libraries_own_attention_dropout_and_layers():
    baseline = Baseline(build_model(TINY))
    assert baseline.llm.config._attn_implementation == "sdpa"
    modules = {type(module).__module__.split(".")[0] for module in baseline.llm.modules()}
    assert modules == {"torch", "transformers", "peft"}


@pytest.mark.parametrize("stage", STAGES)
def test_group_by_length_has_less_padding_and_all_lengths(stage):
    drawn, grouped = (draw(TINY, stage, 64, seed=0) for draw in (draw_examples, draw_grouped_examples))
    assert len(grouped) == 64 and padding(grouped) < 0.03 < 0.2 < padding(drawn)
    middle = [sum(map(length, examples)) / 64 for examples in (grouped, draw_examples(TINY, stage, 64 * MEGABATCH, seed=0))]
    assert middle[0] == pytest.approx(middle[1] / MEGABATCH, rel=0.15)


@pytest.mark.parametrize("broken", ["lora_A", "lora_B", "projections"])
def test_a_benchmark_that_trains_nothing_is_stopped(broken):
    model = build_model(TINY)
    packed_step(model, None, draw_examples(TINY, "recognition", 2, seed=0))
    check_gradients(model)
    name, parameter = next((name, parameter) for name, parameter in model.named_parameters() if broken in name)
    for gradient in (None, torch.zeros_like(parameter), torch.full_like(parameter, torch.nan)):
        parameter.grad = gradient
        with pytest.raises(RuntimeError, match=f"1 trainable parameters without a finite non-zero gradient, for example {re.escape(name)}"):
            check_gradients(model)
