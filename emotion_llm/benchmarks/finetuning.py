"""Fine-tuning against a baseline, in turns, on the same examples and the same machine.

LLM shape, stage  ->  Measurement of seconds per step

The baseline does what Hugging Face's Trainer does with a common collator, in a plain loop: the whole prompt in every row, padding on the
right, labels of -100 outside the answer, logits of the whole sequence, scaled dot product attention with a padding mask, PEFT's LoRA layers
and dropout. Weights, skeleton tokens and positions are those of our model, so losses and gradients are equal. Both sides train in fp32,
divide the same examples into micro-batches of the same size and take AdamW steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM

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
NO_LABEL = -100
"""The label that transformers' loss ignores."""


class Baseline(nn.Module):
    """A copy of a model with the same weights and parameter names, built by transformers and PEFT alone."""

    def __init__(self, model: EmotionLLM) -> None:
        super().__init__()
        self.slots = model.slots
        llm = AutoModelForCausalLM.from_config(deepcopy(model.llm.config), attn_implementation="sdpa").requires_grad_(False)
        lora = model.llm.peft_config["default"]
        assert isinstance(lora, LoraConfig)
        self.llm = get_peft_model(llm, replace(lora, target_modules="all-linear"))
        self.llm.load_state_dict(model.llm.state_dict())
        self.skeleton_tokenizer = deepcopy(model.skeleton_tokenizer)

    def forward(self, examples: Sequence[Example], answer_tokens: int) -> Tensor:
        """The examples' share of the mean loss of a step with so many answer tokens: transformers' own loss."""
        batch = self.pad(examples)
        motions = [example.motion for example in examples]
        first = [len(example.prompt.before) for example in examples]
        tokens = self.skeleton_tokenizer(
            torch.cat([motion.rows for motion in motions]), torch.cat([motion.granularities for motion in motions])
        )  # (M, D)
        rows = torch.cat([n * batch["labels"].shape[1] + first[n] + torch.arange(len(motion.rows)) for n, motion in enumerate(motions)])
        embeddings = self.llm.get_input_embeddings()(batch.pop("token_ids"))  # (N, L, D)
        embeddings = embeddings.flatten(0, 1).index_copy(0, rows, tokens).view_as(embeddings)
        return self.llm(inputs_embeds=embeddings, **batch, num_items_in_batch=answer_tokens, use_cache=False).loss

    def pad(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """token_ids (0 at skeleton tokens and padding), position_ids, attention_mask and labels, each (N, L) int64."""
        sequences = [example.sequence(self.slots, example.answers[0]) for example in examples]
        token_ids, position_ids = (pad_sequence(list(rows), batch_first=True) for rows in zip(*sequences, strict=True))
        ends = torch.tensor([len(ids) for ids, _ in sequences])
        labels = torch.full_like(token_ids, NO_LABEL)
        for row, end, example in zip(labels, ends.tolist(), examples, strict=True):
            row[end - len(example.answers[0]) : end] = torch.tensor(example.answers[0])
        mask = (torch.arange(token_ids.shape[1]) < ends[:, None]).long()
        return {"token_ids": token_ids, "position_ids": position_ids, "attention_mask": mask, "labels": labels}


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
    return _step(examples, MICRO_BATCH, optimizer, lambda part: baseline(part, answer_tokens))


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
