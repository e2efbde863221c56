"""What is computed at answers alone: most of the LLM's last layer, and its head.

last layer, row of R tokens  ->  queries, attention and MLP of the A tokens that predict an answer; the rest stays zero
states (A, D), the head's frozen weight  ->  log-likelihoods (A,), with no more than a few logits at a time in memory

Of the last layer's outputs only those reach the head that predict an answer. The other tokens are seen through their keys and values
alone, so their queries, output maps and MLPs are work for nothing: in the last layer they are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

LOGITS_AT_ONCE = 1 << 22
"""Numbers: 16 MiB in fp32 (our choice)."""


class LastLayer:
    """Leaves out of an LLM's last layer what no answer needs, whenever the LLM reads a packed row.

    Works on any architecture whose attention has maps of the names below, as those of the Llama family; others are left as they are.
    """

    def __init__(self, llm: PreTrainedModel) -> None:
        self.modules: list[nn.Module] = []
        """The modules that run at answers alone: each turns every token's vector into another, whatever the other tokens are."""
        self._rows: Tensor | None = None
        self._width = 0
        layers = getattr(llm.get_decoder(), "layers", None)
        if not layers:
            return
        layer = layers[-1]
        attention, mlp = getattr(layer, "self_attn", None), getattr(layer, "mlp", None)
        self.modules = [getattr(attention, name) for name in ("q_proj", "o_proj") if hasattr(attention, name)]
        if hasattr(mlp, "up_proj") and hasattr(mlp, "down_proj"):  # no mixture of experts
            self.modules.append(mlp)
        for handle in vars(layer).pop("answers_only_handles", ()):  # of another model around the same LLM
            handle.remove()
        layer.answers_only_handles = [layer.register_forward_pre_hook(self._begin, with_kwargs=True)]
        for module in self.modules:
            layer.answers_only_handles += [module.register_forward_pre_hook(self._select), module.register_forward_hook(self._put_back)]

    def _begin(self, layer: nn.Module, args: tuple, kwargs: dict) -> None:
        row = kwargs.get("packed_row")
        self._rows = None if row is None else row.last_attention.rows

    def _select(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self._rows is None:
            return None
        self._width = args[0].shape[1]
        return (args[0].index_select(1, self._rows), *args[1:])  # (1, A, ...)

    def _put_back(self, module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
        if self._rows is None:
            return None
        return out.new_zeros(1, self._width, out.shape[-1]).index_copy(1, self._rows, out)  # (1, R, ...)


class _FrozenHead(torch.autograd.Function):
    """Log-likelihoods of the tokens that were said. The gradient is taken on the way, while the logits are at hand."""

    @staticmethod
    def forward(ctx, states: Tensor, weight: Tensor, bias: Tensor | None, token_ids: Tensor) -> Tensor:
        likelihoods = states.new_empty(len(states), dtype=torch.float32)
        gradient = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        step = max(1, LOGITS_AT_ONCE // len(weight))
        for start in range(0, len(states), step):
            part = slice(start, start + step)
            said = token_ids[part, None]
            logs = nn.functional.linear(states[part], weight, bias).float().log_softmax(-1)  # (rows, vocabulary)
            likelihoods[part] = logs.gather(1, said)[:, 0]
            if gradient is not None:
                error = logs.exp_().scatter_add_(1, said, logs.new_full((), -1.0).expand(said.shape))  # probability, less 1 where said
                gradient[part] = -(error.to(weight.dtype) @ weight)
        ctx.save_for_backward(gradient)
        return likelihoods

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[:, None].to(gradient.dtype), None, None, None


def log_likelihoods(states: Tensor, head: nn.Linear, token_ids: Tensor) -> Tensor:
    """Log-likelihood of each token under a frozen head.

    Shape:
        states (A, D), token_ids (A,) -> (A,) float32
    """
    return _FrozenHead.apply(states, head.weight, head.bias, token_ids)


@contextmanager
def head_left_out(head: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, the head hands on what it is given; the list gets a copy."""
    given: list[Tensor] = []

    def hand_on(states: Tensor) -> Tensor:
        given.append(states.detach().clone())
        return states

    head.forward = hand_on
    try:
        yield given
    finally:
        del head.forward
