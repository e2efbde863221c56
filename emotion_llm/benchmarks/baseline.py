"""The usual way of fine-tuning an LLM on motions, kept as the opponent of the benchmark.

examples (prompt, motion features, one answer)  ->  rows padded on the right to the longest  ->  loss over the logits of every token

This is what Hugging Face's Trainer does with a collator as most projects write it, in a plain loop (which is as fast as the Trainer):
batches as drawn, not sorted by length; the whole prompt in every row; labels of -100 outside the answer; logits of the whole sequence;
transformers' own scaled dot product attention with a padding mask. LLM, adapter, skeleton tokens and positions are ours, so losses and
gradients are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion_llm.language.dropout import Dropout
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import Example
from emotion_llm.skeleton_tokens.unified import Slots

NO_LABEL = -100
"""The label that transformers' loss leaves out."""


@dataclass(frozen=True)
class PaddedBatch:
    """N rows of L tokens. Masks: True = real."""

    token_ids: Tensor
    """(N, L) int64; 0 where a skeleton token or padding stands."""
    position_ids: Tensor
    """(N, L) int64."""
    attention_mask: Tensor
    """(N, L) int64, as transformers wants it: 1 = real."""
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
    lengths = [len(e.prompt.before) + len(e.motion.rows) + len(e.prompt.after) + len(e.answers[0]) for e in examples]
    shape = len(examples), max(lengths)
    token_ids, position_ids, attention_mask = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
    labels = torch.full(shape, NO_LABEL)
    skeleton_rows = []
    for n, (example, length) in enumerate(zip(examples, lengths, strict=True)):
        before, after, answer = example.prompt.before, example.prompt.after, example.answers[0]
        first, behind = len(before), len(before) + len(example.motion.rows)
        motion_slots = slots.of_motion(example.motion.joints, example.motion.time_steps)  # (S,)
        token_ids[n, :first] = torch.tensor(before)
        token_ids[n, behind:length] = torch.tensor([*after, *answer])
        position_ids[n, :first] = torch.arange(first)
        position_ids[n, first:behind] = first + motion_slots
        position_ids[n, behind:length] = first + slots.total + torch.arange(length - behind)
        attention_mask[n, :length] = 1
        labels[n, length - len(answer) : length] = torch.tensor(answer)
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
    """The same model, with the same weights, trained the usual way."""

    def __init__(self, model: EmotionLLM) -> None:
        """
        Args:
            model: is copied and stays as it is.
        """
        super().__init__()
        self.model = deepcopy(model)
        self.model.llm.get_base_model().set_attn_implementation("sdpa")
        for module in self.model.modules():
            if isinstance(module, nn.ModuleDict):
                module.update({name: nn.Dropout(child.p) for name, child in module.items() if isinstance(child, Dropout)})

    def forward(self, batch: PaddedBatch, answer_tokens: int) -> Tensor:
        """The batch's share of the step's mean loss: transformers' own loss.

        Args:
            answer_tokens: of the whole step.
        """
        embeddings = self.model.embed(batch.token_ids.flatten(), batch.skeleton_rows, batch.features, batch.granularities)  # (N L, D)
        return self.model.llm(
            inputs_embeds=embeddings.view(*batch.token_ids.shape, -1),  # (N, L, D)
            position_ids=batch.position_ids,
            attention_mask=batch.attention_mask,
            labels=batch.labels,
            num_items_in_batch=answer_tokens,
            use_cache=False,
        ).loss
