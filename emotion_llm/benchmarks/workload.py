"""Workload of the fine-tuning benchmarks: LLMs of a given shape with random weights, and motions of mixed layouts.

LLM shape  ->  EmotionLLM;  seed  ->  the examples of one optimizer step

Speed depends on the number of tokens, not on weights or words: prompts are random text tokens, as many as in the real prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.trainer_pt_utils import get_length_grouped_indices

from emotion_llm.kinematics.descriptors import DESCRIPTORS
from emotion_llm.language.llm import LoraSettings, add_adapter, embedding_scale
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import PACKED_ATTENTION, Example
from emotion_llm.language.prompts import Prompt
from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import MotionFeatures, Slots

CHANNELS = 256 + len(DESCRIPTORS)
"""C + Q of the skeleton encoder's default shape."""
MOTIONS_OF_JOINTS = {72: 1402, 28: 8206, 25: 560}
"""Joints -> recordings of KDAE, Emilya and EGBM (paper); a step draws them in these proportions, as the paper's preset does."""
TIME_STEPS = (16, 32)
"""T' of a motion: uniform between these."""
MICRO_BATCH = 16
"""Motions per micro-step, as in ds_configs/recognition.json."""
MEGABATCH = 50
"""Optimizer steps whose examples the Trainer's group_by_length sorts together (transformers' default)."""


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
    lora_rank: int = 64
    """(paper)"""
    emotion_tokens: int = 6
    """Added after the skeleton tokens in description, where the prompt names the emotion."""


LLAMA_7B = LlmShape("LLaMA-7B", 4096, 32, 32, 32, 11_008, 32_000, False, prompt_tokens=(26, 4))
SMALL_LLAMA = LlmShape("LLaMA-7B scaled to width 512", 512, 16, 8, 8, 1376, 2_000, False, prompt_tokens=(26, 4), lora_rank=8)
"""LLaMA-7B's proportions: 2 % of the weights in the output head, 2 % in the adapter, MLP 2.7 times as wide as the residual stream."""
SMOLLM2 = LlmShape("SmolLM2-135M", 576, 30, 9, 3, 1536, 49_152, True, prompt_tokens=(49, 6))
TINY = LlmShape("tiny Llama", 32, 2, 4, 2, 64, 128, False, prompt_tokens=(5, 3), lora_rank=4)
"""For tests and --quick."""
SHAPES = {shape.name: shape for shape in (LLAMA_7B, SMALL_LLAMA, SMOLLM2, TINY)}

ANSWER_TOKENS = {"recognition": (2, 3), "description": (32, 64)}
"""Text tokens of an answer, uniform between these: an emotion word; two or three sentences."""


def build_model(shape: LlmShape, dropout: float = 0.05, dtype: torch.dtype = torch.float32, device: str = "cpu") -> EmotionLLM:
    """The Llama and its adapter with random weights. LoRA's B matrices are not zero, as they are in a fresh adapter, so that every
    trainable weight has a gradient. LoRA's dropout is the paper's."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, intermediate_size=shape.intermediate, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads, max_position_embeddings=1024,
        tie_word_embeddings=shape.tied_head, use_cache=False,
    )  # fmt: skip
    with torch.device(device):
        llm = AutoModelForCausalLM.from_config(config, attn_implementation=PACKED_ATTENTION, dtype=dtype).requires_grad_(False)
    tokenizer = SkeletonTokenizer(CHANNELS, shape.width, embedding_scale(llm))
    model = EmotionLLM(add_adapter(llm, LoraSettings(rank=shape.lora_rank, dropout=dropout)), tokenizer, Slots()).to(device)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def draw_examples(shape: LlmShape, stage: str, count: int, seed: int) -> list[Example]:
    """Random examples of mixed layouts and lengths."""
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


def draw_grouped_examples(shape: LlmShape, stage: str, count: int, seed: int) -> list[Example]:
    """Micro-batches of similar lengths, as the Trainer's group_by_length draws them.

    The Trainer sorts the examples of MEGABATCH steps, so all micro-batches of one step have the same length and steps differ. Here one
    step takes its micro-batches at even distances from that order: it costs what the Trainer's steps cost on average.
    """
    pool = draw_examples(shape, stage, MEGABATCH * count, seed)
    order = get_length_grouped_indices([length(e) for e in pool], count, MEGABATCH, torch.Generator().manual_seed(seed))
    micro_batches = [order[start : start + MICRO_BATCH] for start in range(0, len(order), MICRO_BATCH)]
    chosen = max(1, count // MICRO_BATCH)
    middles = [len(micro_batches) * (2 * i + 1) // (2 * chosen) for i in range(chosen)]
    return [pool[index] for middle in middles for index in micro_batches[middle]][:count]


def length(example: Example) -> int:
    """Tokens of an example's own sequence."""
    return len(example.prompt.before) + len(example.motion.rows) + len(example.prompt.after) + len(example.answers[0])


def count_answer_tokens(examples: Sequence[Example]) -> int:
    return sum(len(example.answers[0]) for example in examples)
