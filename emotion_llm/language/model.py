"""The skeleton-aware LLM: motion features and a prompt in, the likelihood of an answer out.

PackedRow  ->  embeddings (1, R, D): text tokens, with the skeleton tokens at their places  ->  log-likelihood of each answer token (A,)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from emotion_llm.language.answers_only import LastLayer, head_left_out, log_likelihoods
from emotion_llm.language.packed import Example, PackedRow
from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import Slots


class EmotionLLM(nn.Module):
    """A causal LM with LoRA that reads skeleton tokens among its text tokens.

    What trains: the LoRA weights in `llm` and `skeleton_tokenizer`'s projections. Everything else is frozen.
    """

    def __init__(self, llm: PeftModel | PreTrainedModel, skeleton_tokenizer: SkeletonTokenizer, slots: Slots) -> None:
        super().__init__()
        self.llm = llm
        self.skeleton_tokenizer = skeleton_tokenizer
        self.slots = slots
        self.last_layer = LastLayer(llm.get_base_model() if isinstance(llm, PeftModel) else llm)
        self._head_comes_last: bool | None = None
        """False where the LLM does something to its logits, as Gemma 2 does; seen at the first row."""

    def embed(self, token_ids: Tensor, skeleton_rows: Tensor, features: Tensor, granularities: Tensor) -> Tensor:
        """Text embeddings with the skeleton tokens standing exactly at their rows.

        Shape:
            token_ids (R,), skeleton_rows (M,), features (M, C), granularities (M,) -> (R, D)
        """
        embeddings = self.llm.get_input_embeddings()(token_ids)  # (R, D)
        tokens = self.skeleton_tokenizer(features, granularities)  # (M, D)
        return embeddings.index_copy(0, skeleton_rows, tokens.to(embeddings.dtype))

    def forward(self, row: PackedRow) -> Tensor:
        """Log-likelihood of every answer token given what stands before it.

        Shape:
            row of R tokens -> (A,) float32
        """
        head = self.llm.get_output_embeddings()
        if self._head_comes_last is not False and not head.weight.requires_grad:
            with head_left_out(head) as given:
                states = self._logits(row)  # (A, D)
            if self._head_comes_last is None:
                self._head_comes_last = torch.equal(states, given[0].squeeze(0))
            if self._head_comes_last:
                return log_likelihoods(states, head, row.answer_ids)
        return -nn.functional.cross_entropy(self._logits(row).float(), row.answer_ids, reduction="none")  # (A,)

    def _logits(self, row: PackedRow) -> Tensor:
        """Logits where an answer token is predicted (A, vocabulary)."""
        embeddings = self.embed(row.token_ids, row.skeleton_rows, row.features, row.granularities)  # (R, D)
        return self.llm(
            inputs_embeds=embeddings[None],
            position_ids=row.position_ids[None],
            attention_mask=embeddings.new_ones(1, 1, 1, 1),  # four axes: transformers then builds no mask of its own; the row has its own
            logits_to_keep=row.predicting_rows,  # the head runs only where there is an answer
            use_cache=False,
            packed_row=row,
        ).logits.squeeze(0)  # (A, vocabulary)

    def answer_log_likelihoods(self, row: PackedRow) -> Tensor:
        """Log-likelihood of every whole answer.

        Shape:
            row with `answers` answers -> (answers,) float32
        """
        tokens = self(row)  # (A,)
        return tokens.new_zeros(row.answers).index_add(0, row.answer_index, tokens)

    @torch.inference_mode()
    def generate(self, examples: Sequence[Example], max_new_tokens: int) -> list[list[int]]:
        """Greedy answers to many prompts at once (answers in `examples` are not looked at).

        The beginnings are padded on the left and masked; position ids are the same as in a packed row, slots included.

        Returns:
            The new text tokens of each example, cut before the end of the turn.
        """
        device = self.llm.get_input_embeddings().weight.device
        rows, positions = [], []
        for example in examples:
            motion, before, after = example.motion, example.prompt.before, example.prompt.after
            slots = self.slots.of_motion(motion.joints, motion.time_steps)  # (S,)
            token_ids = torch.tensor([*before, *[0] * len(slots), *after], device=device)  # (L,)
            skeleton_rows = torch.arange(len(before), len(before) + len(slots), device=device)
            rows.append(self.embed(token_ids, skeleton_rows, motion.rows.to(device), motion.granularities.to(device)))  # (L, D)
            behind_slots = len(before) + self.slots.total
            positions.append(torch.cat([torch.arange(len(before)), len(before) + slots, behind_slots + torch.arange(len(after))]))  # (L,)
        longest = max(len(row) for row in rows)
        embeddings = rows[0].new_zeros(len(rows), longest, rows[0].shape[-1])  # (N, L, D)
        position_ids = torch.zeros(len(rows), longest, dtype=torch.long, device=device)
        mask = torch.zeros(len(rows), longest, dtype=torch.long, device=device)
        for index, (row, position) in enumerate(zip(rows, positions, strict=True)):
            embeddings[index, longest - len(row) :] = row
            position_ids[index, longest - len(row) :] = position.to(device)
            mask[index, longest - len(row) :] = 1
        end = self.llm.generation_config.eos_token_id
        ends = set(end if isinstance(end, list) else [end])
        new = self.llm.generate(
            inputs_embeds=embeddings, attention_mask=mask, position_ids=position_ids, max_new_tokens=max_new_tokens, do_sample=False
        )  # (N, new tokens)
        return [_cut_at(answer, ends) for answer in new.tolist()]


def _cut_at(token_ids: list[int], ends: set[int]) -> list[int]:
    for index, token_id in enumerate(token_ids):
        if token_id in ends:
            return token_ids[:index]
    return token_ids
