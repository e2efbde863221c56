"""The benchmark's opponent learns exactly what we learn, only slower."""

import pytest
import torch

from emotion_llm.benchmarks.baseline import NO_LABEL, Baseline, pad
from emotion_llm.benchmarks.finetuning import adamw, count_answer_tokens, our_step, usual_step
from emotion_llm.benchmarks.workload import TINY, build_model, draw_examples
from emotion_llm.language.dropout import Dropout
from emotion_llm.language.llm import LoraSettings
from emotion_llm.language.packed import pack

STAGES = ("recognition", "description")


def model_without_noise():
    model = build_model(TINY, LoraSettings(rank=4, dropout=0.0))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.train()


@pytest.mark.parametrize("stage", STAGES)
def test_both_ways_give_the_same_loss_and_gradients(stage):
    model = model_without_noise()
    usual = Baseline(model)
    examples = draw_examples(TINY, stage, 6, seed=3)
    answer_tokens = count_answer_tokens(examples)
    ours = -model(pack(examples, model.slots)).sum() / answer_tokens
    theirs = usual(pad(examples, model.slots), answer_tokens)
    assert abs(ours.item() - theirs.item()) <= 2e-6
    ours.backward()
    theirs.backward()
    compared = 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, usual.model.get_parameter(name).grad, rtol=1e-4, atol=2e-6)
            compared += 1
    assert compared == 2 * 7 * 2 + 6  # layers, linear maps, A and B; three projections with bias


@pytest.mark.parametrize("stage", STAGES)
def test_both_ways_follow_the_same_loss_curve(stage):
    model = model_without_noise()
    usual = Baseline(model)
    ours, theirs = adamw(model), adamw(usual)
    for step in range(5):
        examples = draw_examples(TINY, stage, 20, seed=step)
        assert our_step(model, ours, examples) == pytest.approx(usual_step(usual, theirs, examples), abs=2e-5)


def test_the_usual_way_pads_on_the_right_and_supervises_the_answer_alone():
    examples = draw_examples(TINY, "recognition", 4, seed=0)
    batch = pad(examples, build_model(TINY, LoraSettings(rank=4)).slots)
    lengths = batch.attention_mask.sum(1)
    assert int(lengths.max()) == batch.token_ids.shape[1]
    assert torch.equal(batch.attention_mask, (torch.arange(batch.token_ids.shape[1]) < lengths[:, None]).long())
    assert [row[row != NO_LABEL].tolist() for row in batch.labels] == [list(example.answers[0]) for example in examples]


def test_the_usual_way_uses_the_libraries_own_attention_noise_and_layers():
    usual = Baseline(build_model(TINY, LoraSettings(rank=4)))
    assert usual.model.llm.config._attn_implementation == "sdpa"
    assert not [module for module in usual.modules() if isinstance(module, Dropout)]
