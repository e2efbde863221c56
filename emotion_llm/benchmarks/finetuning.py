"""Fine-tuning against the baseline (baseline.py), in turns, on the same examples and the same machine.

LLM shape, stage  ->  Measurement of seconds per step

Both sides train in fp32, divide the same examples into micro-batches of the same size and take AdamW steps in a plain loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from emotion_llm.benchmarks.baseline import Baseline, pad
from emotion_llm.benchmarks.measurement import Measurement, check_gradients, compare
from emotion_llm.benchmarks.workload import (
    MICRO_BATCH,
    LlmShape,
    build_model,
    count_answer_tokens,
    draw_examples,
    draw_grouped_examples,
    length,
)
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import Example, pack

BATCH = {"recognition": 64, "description": 16}
"""Motions per step (paper)."""


def measure_training(shape: LlmShape, stage: str, grouped: bool = False, batch: int | None = None, repeats: int = 5) -> Measurement:
    """Seconds per optimizer step.

    Args:
        grouped: the baseline gets micro-batches of similar lengths, as from the Trainer's group_by_length; else as drawn.
    """
    batch = batch or BATCH[stage]
    model = build_model(shape).train()
    baseline = Baseline(model).train()
    examples = (draw_grouped_examples if grouped else draw_examples)(shape, stage, batch, seed=1)
    packed_step(model, None, examples[:MICRO_BATCH])
    padded_step(baseline, None, examples[:MICRO_BATCH])
    check_gradients(model)
    check_gradients(baseline)
    optimizer, baseline_optimizer = adamw(model), adamw(baseline)
    against = "group_by_length" if grouped else "baseline"
    prompt, skeleton, answer = examples[0].prompt, sum(len(example.motion.rows) for example in examples), count_answer_tokens(examples)
    return compare(
        f"fine-tuning, {stage}, {shape.name}, against {against}",
        lambda: packed_step(model, optimizer, examples),
        lambda: padded_step(baseline, baseline_optimizer, examples),
        f"a step of {batch} motions, {len(prompt.before)} + {len(prompt.after)} prompt, {skeleton / batch:.0f} skeleton and "
        f"{answer / batch:.0f} answer tokens each",
        f"{against}, {padding(examples):.0%} padding",
        repeats,
        "seconds per step",
    )


def packed_step(
    model: EmotionLLM, optimizer: torch.optim.Optimizer | None, examples: Sequence[Example], micro_batch: int = MICRO_BATCH
) -> float:
    """One optimizer step of ours: sorted by length, packed, the head at answers alone. Returns the loss.

    Args:
        optimizer: None leaves the weights as they are and keeps the gradients.
    """
    ordered, answer_tokens = sorted(examples, key=length), count_answer_tokens(examples)
    return _step(ordered, micro_batch, optimizer, lambda part: -model(pack(part, model.slots)).sum() / answer_tokens)


def padded_step(baseline: Baseline, optimizer: torch.optim.Optimizer | None, examples: Sequence[Example]) -> float:
    """One optimizer step of the baseline, likewise."""
    answer_tokens = count_answer_tokens(examples)
    return _step(examples, MICRO_BATCH, optimizer, lambda part: baseline(pad(part, baseline.slots), answer_tokens))


def _step(
    examples: Sequence[Example], micro_batch: int, optimizer: torch.optim.Optimizer | None, loss_of: Callable[[Sequence[Example]], Tensor]
) -> float:
    total = 0.0
    for start in range(0, len(examples), micro_batch):
        loss = loss_of(examples[start : start + micro_batch])
        loss.backward()
        total += loss.item()
    if optimizer is not None:
        optimizer.step()
        optimizer.zero_grad()
    return total


def adamw(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([parameter for parameter in module.parameters() if parameter.requires_grad], lr=1e-5, weight_decay=0.0)


def padding(examples: Sequence[Example]) -> float:
    """Share of padding among the baseline's tokens."""
    micro_batches = [examples[start : start + MICRO_BATCH] for start in range(0, len(examples), MICRO_BATCH)]
    return 1 - sum(map(length, examples)) / sum(len(part) * max(map(length, part)) for part in micro_batches)
