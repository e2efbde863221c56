"""Tiny random LLMs of the families that users bring, each with its chat template's way of laying out a conversation."""

from pathlib import Path

import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from emotion_llm.synthetic.small_llm import build_text_tokenizer

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|turn|>system\nYou are helpful.<|end|>\n{% endif %}"
    "{% for m in messages %}<|turn|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
INST = "{{ bos_token }}{% for m in messages %}[INST] {{ m['content'] | trim }} [/INST]{% endfor %}"
PLAIN = None
FAMILIES = {
    "llama-1, no chat template, untied head": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": False}, PLAIN),
    "smollm2, tied head": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": True, "num_key_value_heads": 2}, CHATML),
    "smollm3": (SmolLM3ForCausalLM, SmolLM3Config, {"tie_word_embeddings": True, "num_key_value_heads": 2}, CHATML),
    "mistral": (MistralForCausalLM, MistralConfig, {"tie_word_embeddings": False, "num_key_value_heads": 2}, INST),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"tie_word_embeddings": True, "num_key_value_heads": 2, "head_dim": 16}, CHATML),
    "gemma3, scaled embeddings": (Gemma3ForCausalLM, Gemma3TextConfig, {"head_dim": 16, "num_key_value_heads": 2}, CHATML),
    "granite, divided logits": (GraniteForCausalLM, GraniteConfig, {"logits_scaling": 4.0, "embedding_multiplier": 3.0}, CHATML),
    "cohere, multiplied logits": (CohereForCausalLM, CohereConfig, {"logit_scale": 0.25}, CHATML),
}


def small_text_tokenizer(chat_template: str | None = CHATML) -> PreTrainedTokenizerFast:
    text_tokenizer = build_text_tokenizer(["The person expresses anger. The steps are fast.", "sadness", "panic fear", "surprise"])
    text_tokenizer.chat_template = chat_template
    return text_tokenizer


def write_small_llm(folder: Path, family: str = "smollm2, tied head") -> Path:
    """An ordinary Hugging Face folder with random weights."""
    model_class, config_class, extras, chat_template = FAMILIES[family]
    text_tokenizer = small_text_tokenizer(chat_template)
    build(model_class, config_class, extras, text_tokenizer).save_pretrained(folder)
    text_tokenizer.save_pretrained(folder)
    return folder


def build(model_class, config_class, extras: dict, text_tokenizer) -> PreTrainedModel:
    torch.manual_seed(1)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512}
    ends = {name: getattr(text_tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return model_class(config_class(vocab_size=len(text_tokenizer), initializer_range=0.2, **shape, **ends, **extras))
