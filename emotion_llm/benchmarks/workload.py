"""What the fine-tuning benchmarks compute on: LLMs of a given shape with random weights, and motions of mixed layouts.

shape of an LLM  ->  EmotionLLM;  seed  ->  the examples of one step, as both stages see them

Speed does not depend on the weights or on which words stand in a prompt, only on how many: prompts are random text tokens, as many as
the real ones have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from emotion_llm.language.llm import LoraSettings, add_adapter, embedding_scale
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import PACKED_ATTENTION, Example
from emotion_llm.language.prompts import Prompt
from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import MotionFeatures, Slots

CHANNELS = 256
"""C of the skeleton encoder's default shape."""
MOTIONS_OF_JOINTS = {72: 1402, 28: 8206, 25: 560}
"""Joints -> recordings of KDAE, Emilya and EGBM (paper); a step draws them in these shares, as the paper's preset does."""
TIME_STEPS = (16, 32)
"""T' of a motion, uniform from and to."""


@dataclass(frozen=True)
class LlmShape:
    """A Llama and the number of text tokens in its prompts."""

    name: str
    width: int
    layers: int
    heads: int
    key_heads: int
    intermediate: int
    vocabulary: int
    tied_head: bool
    prompt_tokens: tuple[int, int]
    """Before and after the skeleton tokens, in recognition."""
    emotion_tokens: int = 6
    """More of them after the skeleton tokens in description: the emotion is named."""


SMALL = LlmShape("small Llama", 256, 4, 4, 4, 688, 32_000, False, prompt_tokens=(26, 4))
"""A vocabulary as large as LLaMA's on a body that two cores can train; its prompt has no chat template, as LLaMA's."""
SMOLLM2 = LlmShape("SmolLM2-135M's shape", 576, 30, 9, 3, 1536, 49_152, True, prompt_tokens=(49, 6))
LLAMA_7B = LlmShape("LLaMA-7B's shape", 4096, 32, 32, 32, 11_008, 32_000, False, prompt_tokens=(26, 4))
TINY = LlmShape("tiny Llama", 32, 2, 4, 2, 64, 128, False, prompt_tokens=(5, 3))
"""For tests."""

ANSWER_TOKENS = {"recognition": (2, 3), "description": (32, 64)}
"""Text tokens of an answer, uniform from and to: an emotion word; two or three sentences."""


def llama_config(shape: LlmShape) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, intermediate_size=shape.intermediate, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads, max_position_embeddings=1024,
        tie_word_embeddings=shape.tied_head, attn_implementation=PACKED_ATTENTION, use_cache=False,
    )  # fmt: skip


def build_model(shape: LlmShape, lora: LoraSettings, dtype: torch.dtype = torch.float32, device: str = "cpu") -> EmotionLLM:
    """The Llama with random weights and a fresh adapter."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            llm = LlamaForCausalLM(llama_config(shape)).requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
    tokenizer = SkeletonTokenizer(CHANNELS, shape.width, embedding_scale(llm))
    return EmotionLLM(add_adapter(llm, lora), tokenizer, Slots()).to(device)


def draw_examples(shape: LlmShape, stage: str, count: int, seed: int) -> list[Example]:
    """A step's batch, drawn like any other: layouts and lengths mixed."""
    rng = np.random.default_rng(seed)
    text = np.random.default_rng(0)  # the same prompt in every step
    before, after = (tuple(text.integers(1, shape.vocabulary, tokens).tolist()) for tokens in shape.prompt_tokens)
    if stage == "description":
        after += tuple(text.integers(1, shape.vocabulary, shape.emotion_tokens).tolist())
    shortest, longest = ANSWER_TOKENS[stage]
    examples = []
    recordings = np.array(list(MOTIONS_OF_JOINTS.values()))
    for joints in rng.choice(list(MOTIONS_OF_JOINTS), count, p=recordings / recordings.sum()).tolist():
        time_steps = int(rng.integers(TIME_STEPS[0], TIME_STEPS[1] + 1))
        rows = torch.from_numpy(rng.standard_normal((1 + joints + time_steps, CHANNELS), np.float32))
        answer = tuple(rng.integers(1, shape.vocabulary, int(rng.integers(shortest, longest + 1))).tolist())
        examples.append(Example(Prompt(before, after), MotionFeatures(rows, joints, time_steps), (answer,)))
    return examples
