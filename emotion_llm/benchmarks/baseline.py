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
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM

from emotion_llm.benchmarks.workload import length
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import Example
from emotion_llm.skeleton_tokens.unified import Slots

NO_LABEL = -100
"""The label that transformers' loss ignores."""


@dataclass(frozen=True)
class PaddedBatch:
    """N rows of L tokens, M of all of them skeleton tokens."""

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
    sequences = [example.sequence(slots, example.answers[0]) for example in examples]
    token_ids, position_ids = (pad_sequence(list(rows), batch_first=True) for rows in zip(*sequences, strict=True))
    lengths = torch.tensor([length(example) for example in examples])
    labels, skeleton_rows = torch.full_like(token_ids, NO_LABEL), []
    for n, example in enumerate(examples):
        answer, first = example.answers[0], len(example.prompt.before)
        labels[n, lengths[n] - len(answer) : lengths[n]] = torch.tensor(answer)
        skeleton_rows.append(n * token_ids.shape[1] + first + torch.arange(len(example.motion.rows)))
    return PaddedBatch(
        token_ids=token_ids,
        position_ids=position_ids,
        attention_mask=(torch.arange(token_ids.shape[1]) < lengths[:, None]).long(),
        labels=labels,
        skeleton_rows=torch.cat(skeleton_rows),
        features=torch.cat([example.motion.rows for example in examples]),
        granularities=torch.cat([example.motion.granularities for example in examples]),
    )


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

    def forward(self, batch: PaddedBatch, answer_tokens: int) -> Tensor:
        """The batch's share of the mean loss of a step with so many answer tokens: transformers' own loss."""
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
