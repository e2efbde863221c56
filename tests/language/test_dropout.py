"""The adapter's cheap noise is dropout."""

import pytest
import torch
from torch import nn

from emotion_llm.language.dropout import Dropout
from emotion_llm.language.llm import LoraSettings, add_adapter, load_llm
from tests.helpers.families import write_small_llm


def test_a_share_is_zero_and_the_mean_stays():
    activations = torch.ones(1000, 1000)
    noisy = Dropout(0.05)(activations)
    assert float((noisy == 0).double().mean()) == pytest.approx(0.05, abs=0.001)
    torch.testing.assert_close(noisy.unique(), torch.tensor([0, 1 / 0.95]))
    assert float(noisy.double().mean()) == pytest.approx(1, abs=0.001)


def test_the_gradient_passes_where_the_activation_did():
    activations = torch.rand(50, 20, requires_grad=True)
    noisy = Dropout(0.3)(activations)
    noisy.sum().backward()
    torch.testing.assert_close(activations.grad * activations, noisy)


def test_a_seed_repeats_the_noise_and_the_next_draw_differs():
    noise = Dropout(0.5)
    torch.manual_seed(5)
    first, second = noise(torch.ones(100)), noise(torch.ones(100))
    torch.manual_seed(5)
    assert torch.equal(first, noise(torch.ones(100)))
    assert not torch.equal(first, second)


def test_an_answer_has_no_noise():
    activations = torch.rand(100)
    assert torch.equal(Dropout(0.5).eval()(activations), activations)


def test_every_adapter_has_it(tmp_path):
    adapted = add_adapter(load_llm(str(write_small_llm(tmp_path)), torch.float32), LoraSettings(rank=2))
    noise = [module for name, module in adapted.named_modules() if "lora_dropout." in name]
    assert len(noise) == 2 * 7  # layers, linear maps of each
    assert all(type(module) is Dropout and isinstance(module, nn.Dropout) and module.p == 0.05 for module in noise)
