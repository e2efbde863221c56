"""Log-likelihoods of answer tokens: precision, chunks, and what LLMs do to their logits."""

import pytest
import torch
from torch import nn

from emotion_llm.language import loss
from emotion_llm.language.loss import token_log_likelihoods


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.0625])
@pytest.mark.parametrize("logits_per_chunk", [1, 40, 10**9])
def test_values_and_gradients_are_those_of_the_whole_computation(bias, scale, logits_per_chunk, monkeypatch):
    monkeypatch.setattr(loss, "LOGITS_PER_CHUNK", logits_per_chunk)
    head = nn.Linear(6, 11, bias=bias)
    states, token_ids, weights = torch.randn(9, 6, requires_grad=True), torch.randint(11, (9,)), torch.randn(9)
    ours = token_log_likelihoods(states, head, token_ids, scale)
    expected = (head(states) * scale).log_softmax(-1).gather(1, token_ids[:, None])[:, 0]
    torch.testing.assert_close(ours, expected)
    variables = [states, *head.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad((ours * weights).sum(), variables), torch.autograd.grad((expected * weights).sum(), variables)
    )


def test_no_more_logits_than_a_chunk_are_computed_at_once(monkeypatch):
    monkeypatch.setattr(loss, "LOGITS_PER_CHUNK", 40)
    head, sizes = nn.Linear(6, 11), []
    head.register_forward_hook(lambda module, args, out: sizes.append(out.numel()))
    token_log_likelihoods(torch.randn(9, 6, requires_grad=True), head, torch.randint(11, (9,))).sum().backward()
    assert max(sizes) <= 40
    assert sizes == [33, 33, 33] * 2  # again in the backward pass


def test_bf16_weights_do_not_round_the_log_likelihoods_to_bf16():
    head = nn.Linear(32, 500).to(torch.bfloat16)
    states, token_ids = torch.randn(50, 32, dtype=torch.bfloat16), torch.randint(500, (50,))
    ours = token_log_likelihoods(states, head, token_ids).detach()
    assert ours.dtype == torch.float32
    exact = head.double()(states.double()).log_softmax(-1).gather(1, token_ids[:, None])[:, 0].detach()
    assert float((ours - exact).abs().mean()) < 0.005
    assert float((exact.bfloat16() - exact).abs().mean()) > 0.005
