"""Baseline of the fine-tuning benchmark: padded batches through transformers and PEFT.

examples (prompt, motion features, one answer)  ->  rows padded on the right to the longest  ->  loss over the logits of every token

This is what Hugging Face's Trainer does with a common collator, in a plain loop: the whole prompt in every row, labels of -100 outside
the answer, logits of the whole sequence, scaled dot product attention with a padding mask, PEFT's LoRA layers and dropout. Weights,
skeleton tokens and positions are those of the model under test, so losses and gradients are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from emotion_llm.benchmarks.workload import length
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import Example
from emotion_llm.skeleton_tokens.unified import Slots

NO_LABEL = -100
"""The label that transformers' loss ignores."""


@dataclass(frozen=True)
class PaddedBatch:
    """N rows of L tokens. Masks: True = real."""

    token_ids: Tensor
    """(N, L) int64; 0 at skeleton tokens and padding."""
    position_ids: Tensor
    """(N, L) int64."""
    attention_mask: Tensor
    """(N, L) int64, as transformers expects it: 1 = real."""
    labels: Tensor
    """(N, L) int64; NO_LABEL outside the answer."""
    skeleton_rows: Tensor
    """(M,) int64 places of the skeleton tokens among the N * L."""
    features: Tensor
    """(M, C) float32."""
    granularities: Tensor
    """(M,) int64."""


def pad(examples: Sequence[Example], slots: Slots) -> PaddedBatch:
    """Pads examples with one answer each on the right, to the longest."""
    lengths = [length(example) for example in examples]
    shape = len(examples), max(lengths)
    token_ids, position_ids, attention_mask = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
    labels = torch.full(shape, NO_LABEL)
    skeleton_rows = []
    for n, (example, end) in enumerate(zip(examples, lengths, strict=True)):
        before, after, answer = example.prompt.before, example.prompt.after, example.answers[0]
        first, behind = len(before), len(before) + len(example.motion.rows)
        motion_slots = slots.of_motion(example.motion.joints, example.motion.time_steps)  # (S,)
        token_ids[n, :first] = torch.tensor(before)
        token_ids[n, behind:end] = torch.tensor([*after, *answer])
        position_ids[n, :first] = torch.arange(first)
        position_ids[n, first:behind] = first + motion_slots
        position_ids[n, behind:end] = first + slots.total + torch.arange(end - behind)
        attention_mask[n, :end] = 1
        labels[n, end - len(answer) : end] = torch.tensor(answer)
        skeleton_rows.append(n * shape[1] + torch.arange(first, behind))
    return PaddedBatch(
        token_ids=token_ids,
        position_ids=position_ids,
        attention_mask=attention_mask,
        labels=labels,
        skeleton_rows=torch.cat(skeleton_rows),
        features=torch.cat([example.motion.rows for example in examples]),
        granularities=torch.cat([example.motion.granularities for example in examples]),
    )


class Baseline(nn.Module):
    """A model with the same weights and parameter names, built by transformers and PEFT alone."""

    def __init__(self, model: EmotionLLM) -> None:
        """
        Args:
            model: its weights are copied.
        """
        super().__init__()
        self.slots = model.slots
        llm = AutoModelForCausalLM.from_config(deepcopy(model.llm.config), attn_implementation="sdpa").requires_grad_(False)
        lora = model.llm.peft_config["default"]
        assert isinstance(lora, LoraConfig)
        self.llm = get_peft_model(llm, replace(lora, target_modules="all-linear"))
        self.llm.load_state_dict(model.llm.state_dict())
        self.skeleton_tokenizer = deepcopy(model.skeleton_tokenizer)

    def forward(self, batch: PaddedBatch, answer_tokens: int) -> Tensor:
        """The batch's share of the step's mean loss: transformers' own loss.

        Args:
            answer_tokens: of the whole step.
        """
        embeddings = self.llm.get_input_embeddings()(batch.token_ids.flatten())  # (N L, D)
        embeddings = embeddings.index_copy(0, batch.skeleton_rows, self.skeleton_tokenizer(batch.features, batch.granularities))
        return self.llm(
            inputs_embeds=embeddings.view(*batch.token_ids.shape, -1),  # (N, L, D)
            position_ids=batch.position_ids,
            attention_mask=batch.attention_mask,
            labels=batch.labels,
            num_items_in_batch=answer_tokens,
            use_cache=False,
        ).loss
