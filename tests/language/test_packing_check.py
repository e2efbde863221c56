"""Architectures that read a packed row exactly are accepted; all others are refused in one line that names them."""

import pytest
import torch
from transformers import AutoConfig

from emotion_llm.language import packing_check
from emotion_llm.language.packing_check import check_packing
from emotion_llm.runtime.errors import UserError

SMALL = {
    "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "vocab_size": 50, "num_local_experts": 4, "num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
    "num_experts_per_tok": 2, "pad_token_id": None,
}  # fmt: skip
LAYERS = {"layer_types": ["conv", "full_attention", "conv", "full_attention"]}
EXACT = (
    "llama", "qwen2", "qwen3", "mistral", "mixtral", "gemma", "gemma3_text", "granite", "cohere", "cohere2", "smollm3", "olmo2", "phi",
    "phi3", "qwen3_moe", "deepseek_v3", "gpt2", "gpt_neox", "starcoder2", "opt",
)  # fmt: skip
REFUSED = {
    "stablelm": {}, "nemotron": {}, "gpt_oss": {}, "mimo_v2_flash": {}, "qwen3_5_text": {}, "qwen3_next": {}, "lfm2": LAYERS, "jamba": {},
    "bamba": {}, "minimax": {}, "recurrent_gemma": {}, "rwkv": {}, "doge": {}, "codegen": {}, "llama4_text": {}, "bloom": {}, "mpt": {},
    "mamba": {}, "falcon": {}, "gemma2": {},
}  # fmt: skip
DEFAULT = {
    "qwen3_moe", "starcoder2", "opt", "deepseek_v3", "gpt2", "gpt_neox", "rwkv", "bamba", "codegen", "recurrent_gemma", "bloom", "mamba",
    "falcon", "mpt",
}  # fmt: skip
"""Checked with the default configuration: other fields, or sizes that depend on each other."""
FAST = {"llama", "opt", "qwen3_moe", "starcoder2", "qwen3_5_text", "qwen3", "gemma3_text", "granite", "stablelm", "lfm2", "gemma2", "bloom"}


def family(name: str):
    return pytest.param(name, marks=() if name in FAST else pytest.mark.slow)


def configuration(name: str, **extra):
    if name in DEFAULT:
        return AutoConfig.for_model(name, **extra)
    known = AutoConfig.for_model(name)
    return AutoConfig.for_model(name, **{key: value for key, value in SMALL.items() if hasattr(known, key)} | extra)


@pytest.mark.parametrize("name", map(family, EXACT))
def test_exact_families_are_accepted(name):
    check_packing(configuration(name))


@pytest.mark.parametrize("name", map(family, REFUSED))
def test_other_families_are_refused_in_one_line(name):
    with pytest.raises(UserError, match=rf"--llm: the architecture '{name}' is not supported: .*; choose another LLM") as error:
        check_packing(configuration(name, **REFUSED[name]))
    assert "\n" not in str(error.value)


def test_a_leak_is_noticed(monkeypatch):
    """Attention in which the second example sees the first."""
    true_pack = packing_check.pack

    def leaky(examples, slots):
        row = true_pack(examples, slots)
        for group in row.groups:
            group.visible.fill_(True)
        return row

    monkeypatch.setattr(packing_check, "pack", leaky)
    with pytest.raises(UserError, match="a packed row gives other likelihoods or gradients than separate sequences"):
        check_packing(configuration("llama", vocab_size=51))


def test_the_check_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_packing(configuration("llama", vocab_size=52))
    assert torch.equal(torch.rand(2), expected)
