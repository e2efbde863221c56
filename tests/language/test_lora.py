"""The quick LoRA layer computes what PEFT's does."""

import pytest
import torch
from peft.tuners.lora import Linear

from emotion_llm.language.llm import LoraSettings, add_adapter, load_llm
from emotion_llm.language.lora import LoraLinear
from tests.helpers.families import write_small_llm


@pytest.fixture
def layer(tmp_path) -> LoraLinear:
    adapted = add_adapter(load_llm(str(write_small_llm(tmp_path)), torch.float32), LoraSettings(rank=4, dropout=0.3))
    layer = next(module for module in adapted.modules() if isinstance(module, Linear))
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    return layer.train()


def outcome(layer, activations: torch.Tensor) -> list[torch.Tensor]:
    """Output and gradients, with the same noise each time."""
    torch.manual_seed(4)
    layer.zero_grad()
    activations = activations.clone().requires_grad_()
    out = layer(activations)
    out.square().sum().backward()
    return [out.detach(), activations.grad, *(parameter.grad.clone() for parameter in layer.parameters() if parameter.grad is not None)]


def test_output_and_gradients_are_pefts_own(layer):
    activations = torch.randn(2, 5, layer.in_features)
    ours = outcome(layer, activations)
    assert type(layer) is LoraLinear
    layer.__class__ = Linear
    theirs = outcome(layer, activations)
    assert len(ours) == len(theirs) == 4  # output, input, A and B
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-4)


def test_switching_the_adapter_off_leaves_the_frozen_map(layer):
    activations = torch.randn(3, layer.in_features)
    layer.enable_adapters(False)
    assert torch.equal(layer(activations), layer.base_layer(activations))


def test_answering_is_left_to_peft(layer, monkeypatch):
    monkeypatch.setattr(Linear, "forward", lambda self, x, *args, **kwargs: "PEFT")
    assert layer.eval()(torch.randn(3, layer.in_features)) == "PEFT"
