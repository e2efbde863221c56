"""What is left out of the last layer and the head changes no answer and no gradient."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from emotion_llm.benchmarks.workload import CHANNELS, TINY, build_model, draw_examples
from emotion_llm.language import answers_only
from emotion_llm.language.answers_only import head_left_out, log_likelihoods
from emotion_llm.language.llm import LoraSettings, add_adapter, load_llm
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import pack
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import Slots
from tests.helpers.families import write_small_llm


def model_and_row(stage: str = "description"):
    model = build_model(TINY, LoraSettings(rank=4, dropout=0.0))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return model, pack(draw_examples(TINY, stage, 4, seed=0), model.slots)


def answers_and_gradients(model, row):
    model.zero_grad()
    likelihoods = model(row)
    (likelihoods * torch.linspace(1, 2, len(likelihoods))).sum().backward()
    return likelihoods.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("stage", ["recognition", "description"])
@pytest.mark.parametrize("logits_at_once", [1, 1000, 10**9])
def test_answers_and_gradients_are_those_of_the_whole_computation(stage, logits_at_once, monkeypatch):
    model, row = model_and_row(stage)
    monkeypatch.setattr(answers_only, "LOGITS_AT_ONCE", logits_at_once)
    ours, our_gradients = answers_and_gradients(model, row)
    monkeypatch.setattr(model, "_head_comes_last", False)
    whole, gradients = answers_and_gradients(model, replace(row, last_attention=row.attention))
    torch.testing.assert_close(ours, whole, rtol=1e-5, atol=1e-5)
    assert our_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()) + 1e-7)


def test_the_last_layer_runs_at_answers_alone():
    model, row = model_and_row()
    seen = {}

    def note(module, args, out) -> None:
        seen[module] = out.shape[1]

    for module in model.last_layer.modules:
        linear = next(inner for inner in module.modules() if hasattr(inner, "base_layer"))
        linear.base_layer.register_forward_hook(note)
    model(row)
    assert len(seen) == 3
    assert set(seen.values()) == {len(row.last_attention.rows)} == {len(row.predicting_rows)}
    assert len(row.predicting_rows) < len(row.token_ids)


def test_gradient_checkpointing_computes_the_same():
    model, row = model_and_row()
    plain = answers_and_gradients(model, row)[1]
    model.llm.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    again = answers_and_gradients(model, row)[1]
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_a_frozen_heads_likelihoods_have_the_gradient_of_autograd(bias):
    head = nn.Linear(6, 11, bias=bias).double().requires_grad_(False)
    states, said = torch.randn(9, 6, dtype=torch.double, requires_grad=True), torch.randint(11, (9,))
    weights = torch.randn(9)
    by_hand = log_likelihoods(states, head, said)
    (mine,) = torch.autograd.grad((by_hand * weights).sum(), states)
    by_torch = head(states).log_softmax(-1).gather(1, said[:, None])[:, 0]
    (theirs,) = torch.autograd.grad((by_torch * weights).sum(), states)
    torch.testing.assert_close(by_hand, by_torch.float())
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_the_head_is_itself_again_afterwards():
    head, states = nn.Linear(3, 5), torch.randn(2, 3)
    before = head(states)
    with pytest.raises(RuntimeError), head_left_out(head) as given:
        assert head(states) is states
        assert torch.equal(given[0], states)
        raise RuntimeError
    assert torch.equal(head(states), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"softcap": 50.0}, r"--llm: its attention caps its scores at 50, as Gemma 2's does, which is not known here; choose another LLM"),
        (
            {"sliding_window": 8},
            r"--llm: its attention sees 8 tokens back, and a motion with its question and answer has \d+; choose another",
        ),
    ],
)
def test_an_attention_of_another_kind_is_refused(change, message):
    from emotion_llm.language.packed import packed_attention

    model, row = model_and_row("recognition")
    heads = torch.randn(1, 4, len(row.token_ids), 8)
    attention = model.llm.get_base_model().model.layers[0].self_attn
    with pytest.raises(UserError, match=message):
        packed_attention(attention, heads, heads[:, :2], heads[:, :2], None, packed_row=row, **change)


def test_what_an_llm_does_to_its_logits_is_noticed_even_in_place(tmp_path):
    folder = write_small_llm(tmp_path)
    llm = add_adapter(load_llm(str(folder), torch.float32), LoraSettings(rank=4, dropout=0.0))
    model = EmotionLLM(llm, SkeletonTokenizer(CHANNELS, 32, 1.0), Slots()).eval()
    row = pack(draw_examples(TINY, "recognition", 2, seed=0), model.slots)
    plain = model(row)
    assert model._head_comes_last
    base = llm.get_base_model()
    true_forward = base.forward

    def forward(**arguments):
        out = true_forward(**arguments)
        out.logits.data.mul_(0.5)
        return out

    base.forward = forward
    again = EmotionLLM(llm, model.skeleton_tokenizer, Slots()).eval()
    halved = again(row)
    assert again._head_comes_last is False
    logits = model._logits(row)
    expected = logits.log_softmax(-1).gather(1, row.answer_ids[:, None])[:, 0]
    torch.testing.assert_close(halved, expected)
    assert not torch.allclose(halved, plain)
