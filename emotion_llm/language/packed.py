"""Many motions and their answers in one row of tokens, without padding.

examples (prompt, motion features, answers)  ->  PackedRow  ->  attention in which every token sees just what it should

The row holds R tokens: first each distinct prompt beginning once, then, example after example, its own tokens:

    | prompt before | skeleton tokens, prompt after, answer, answer ... | skeleton tokens, prompt after, answer ... |

A token sees the beginning of its own prompt, and its own example's tokens before it; the answers of one example do not see each other.
So a row is a forest: prompt -> motion -> answers. Training packs one answer per motion; scoring packs the whole label set. Every linear
layer of the LLM runs on R real tokens; only attention sees the examples side by side. Keys and values of a shared beginning are computed
once and used, with gradients, by every example: logits and gradients are those of separate sequences. (With LoRA dropout on, the
examples of a row share the beginning's noise.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from emotion_llm.language.prompts import Prompt
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_tokens.unified import MotionFeatures, Slots

PACKED_ATTENTION = "emotion_llm_packed"
"""Name under which the attention below is known to transformers; models are loaded with it."""


MOST_PADDING = 2.0
"""Sequences of which one has so many times more pairs of query and key than the other are not padded to each other for attention."""
PackedSequence: TypeAlias = tuple[Sequence[int], Sequence[int], Tensor]
"""One sequence's query rows, key rows, and who sees whom (Lq, Lk)."""


@dataclass(frozen=True)
class Example:
    """One motion with its prompt and the answers whose likelihood is asked for: one when training, the label set when scoring."""

    prompt: Prompt
    motion: MotionFeatures
    answers: tuple[tuple[int, ...], ...]
    """Text tokens of each answer, the end of the turn included."""


@dataclass(frozen=True)
class AttentionGroup:
    """Sequences of the row whose attention is computed together, padded to the longest: n sequences of Lq queries and Lk keys."""

    query_rows: Tensor
    """(n, Lq) int64 places in the row; padding points at place 0."""
    key_rows: Tensor
    """(n, Lk) int64 places in the row; padding points at place 0."""
    visible: Tensor
    """(n, 1, Lq, Lk) bool: True where the query sees the key."""


@dataclass(frozen=True)
class PackedAttention:
    """Who sees whom, for Q of the row's tokens: all of them, or those that predict answers."""

    rows: Tensor
    """(Q,) int64: the tokens that look, in the order of the row."""
    groups: tuple[AttentionGroup, ...]
    unpack: Tensor
    """(Q,) int64: where each token's output stands among the groups' outputs laid end to end."""


@dataclass(frozen=True)
class PackedRow:
    """R tokens of many examples, ready for the LLM."""

    token_ids: Tensor
    """(R,) int64 text tokens; 0 where a skeleton token stands."""
    position_ids: Tensor
    """(R,) int64: text counts on, skeleton tokens stand at their slots, text after them goes on behind the last slot."""
    skeleton_rows: Tensor
    """(M,) int64: where the skeleton tokens stand."""
    features: Tensor
    """(M, C) float32 pooled encoder features of the skeleton tokens."""
    granularities: Tensor
    """(M,) int64: SEMANTIC, SPATIAL or TEMPORAL."""
    predicting_rows: Tensor
    """(A,) int64: the token before each answer token; only these rows reach the LLM's head."""
    answer_ids: Tensor
    """(A,) int64: the answer tokens to be predicted."""
    answer_index: Tensor
    """(A,) int64: which answer each belongs to, counted over all examples."""
    answers: int
    """Number of answers in the row."""
    attention: PackedAttention
    """Of all tokens."""
    last_attention: PackedAttention
    """Of the tokens that predict answers; in the last layer the others' outputs go nowhere."""

    def to(self, device: torch.device) -> PackedRow:
        return _moved(self, device)


def _moved(value: Any, device: torch.device) -> Any:
    """The same with all tensors in it on the device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    if is_dataclass(value):
        return replace(value, **{field.name: _moved(getattr(value, field.name), device) for field in fields(value)})
    return value


def pack(examples: Sequence[Example], slots: Slots, share_prefix: bool = True) -> PackedRow:
    """Lays examples out as one row.

    Args:
        share_prefix: compute each distinct prompt beginning once; False gives every example a copy of its own (the same answers
            and gradients, more work; with LoRA dropout every example then has noise of its own).
    """
    row = _RowBuilder(slots)
    trunks: dict[tuple[int, ...], range] = {}
    for index, example in enumerate(examples):
        key = example.prompt.before if share_prefix else (index,)
        if key not in trunks:
            trunks[key] = row.add_prompt(example.prompt.before)
        row.add_example(example, trunks[key])
    return row.build()


class _RowBuilder:
    """Collects the tokens of a row and who sees whom."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.token_ids: list[int] = []
        self.position_ids: list[int] = []
        self.skeleton_rows: list[int] = []
        self.motions: list[MotionFeatures] = []
        self.predicting_rows: list[int] = []
        self.answer_ids: list[int] = []
        self.answer_index: list[int] = []
        self.answers = 0
        self.prompts: list[PackedSequence] = []
        self.sequences: list[PackedSequence] = []
        self.predicting: list[PackedSequence] = []

    def _append(self, token_ids: Sequence[int], positions: Sequence[int]) -> range:
        first = len(self.token_ids)
        self.token_ids.extend(token_ids)
        self.position_ids.extend(positions)
        return range(first, len(self.token_ids))

    def add_prompt(self, before: tuple[int, ...]) -> range:
        rows = self._append(before, range(len(before)))
        self.prompts.append((rows, rows, torch.ones(len(rows), len(rows), dtype=torch.bool).tril()))
        return rows

    def add_example(self, example: Example, trunk: range) -> None:
        motion, after = example.motion, example.prompt.after
        first_position = len(trunk)
        slots = self.slots.of_motion(motion.joints, motion.time_steps)  # (S,)
        skeleton = self._append([0] * len(slots), (first_position + slots).tolist())
        self.skeleton_rows.extend(skeleton)
        self.motions.append(motion)
        behind_slots = first_position + self.slots.total
        stem = range(skeleton.start, self._append(after, range(behind_slots, behind_slots + len(after))).stop)

        branches: list[range] = []
        for answer in example.answers:
            first = behind_slots + len(after)
            branch = self._append(answer[:-1], range(first, first + len(answer) - 1))  # the last token is predicted, never read
            branches.append(branch)
            self.predicting_rows.extend([stem.stop - 1, *branch])
            self.answer_ids.extend(answer)
            self.answer_index.extend([self.answers] * len(answer))
            self.answers += 1

        own = range(stem.start, len(self.token_ids))
        visible = torch.ones(len(own), len(trunk) + len(own), dtype=torch.bool)  # (Lq, Lk)
        visible[:, len(trunk) :].tril_()
        for branch in branches[1:]:  # a branch sees the stem and itself, not the branches before it
            begin, end = branch.start - own.start, branch.stop - own.start
            visible[begin:end, len(trunk) + len(stem) : len(trunk) + begin] = False
        self.sequences.append((own, [*trunk, *own], visible))
        predicting = [stem.stop - 1, *(row for branch in branches for row in branch)]
        self.predicting.append((predicting, [*trunk, *own], visible[torch.tensor(predicting) - own.start]))

    def build(self) -> PackedRow:
        return PackedRow(
            token_ids=torch.tensor(self.token_ids),
            position_ids=torch.tensor(self.position_ids),
            skeleton_rows=torch.tensor(self.skeleton_rows),
            features=torch.cat([motion.rows for motion in self.motions]),
            granularities=torch.cat([motion.granularities for motion in self.motions]),
            predicting_rows=torch.tensor(self.predicting_rows),
            answer_ids=torch.tensor(self.answer_ids),
            answer_index=torch.tensor(self.answer_index),
            answers=self.answers,
            attention=_lay_out(self.prompts, self.sequences),
            last_attention=_lay_out(self.predicting),
        )


def _lay_out(*kinds: Sequence[PackedSequence]) -> PackedAttention:
    """Sequences of each kind in groups of like length."""
    groups, order, places, laid_out = [], [], [], 0
    for sequences in (group for kind in kinds for group in _of_like_length(kind)):
        group = _pad_together(sequences)
        groups.append(group)
        for index, (query_rows, _, _) in enumerate(sequences):
            start = laid_out + index * group.query_rows.shape[1]
            order.extend(query_rows)
            places.extend(range(start, start + len(query_rows)))
        laid_out += group.query_rows.numel()
    rows, first_to_last = torch.tensor(order).sort()
    return PackedAttention(rows, tuple(groups), torch.tensor(places)[first_to_last])


def _of_like_length(sequences: Sequence[PackedSequence]) -> list[list[PackedSequence]]:
    """Sequences sorted by length and cut where padding to the longest would begin to cost more than another call."""
    groups: list[list[PackedSequence]] = []
    for sequence in sorted(sequences, key=_pairs):
        if not groups or _pairs(sequence) > MOST_PADDING * _pairs(groups[-1][0]):
            groups.append([])
        groups[-1].append(sequence)
    return groups


def _pairs(sequence: PackedSequence) -> int:
    return sequence[2].numel()


def _pad_together(sequences: Sequence[PackedSequence]) -> AttentionGroup:
    longest_query = max(len(query_rows) for query_rows, _, _ in sequences)
    longest_key = max(len(key_rows) for _, key_rows, _ in sequences)
    count = len(sequences)
    query_rows = torch.zeros(count, longest_query, dtype=torch.long)
    key_rows = torch.zeros(count, longest_key, dtype=torch.long)
    visible = torch.zeros(count, 1, longest_query, longest_key, dtype=torch.bool)
    for index, (queries, keys, seen) in enumerate(sequences):
        query_rows[index, : len(queries)] = torch.tensor(queries)
        key_rows[index, : len(keys)] = torch.tensor(keys)
        visible[index, 0, : len(queries), : len(keys)] = seen
        visible[index, 0, len(queries) :, 0] = True  # a padded query sees something, so that its unused output is no NaN
    return AttentionGroup(query_rows, key_rows, visible)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packed_row: PackedRow | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **other: object,  # transformers passes every model's extras to every attention
) -> tuple[Tensor, None]:
    """Attention over a packed row, or transformers' own where there is none (generation).

    In the last layer only the tokens that predict answers look; the others get zeros, and nothing asks for them.

    Shape:
        query (1, heads, R, d), key and value (1, key heads, R, d) -> (1, R, heads, d)

    Raises:
        UserError: the LLM's attention is of another kind: capped, or blind to what is further away than a window.
    """
    if softcap is not None:
        raise UserError(
            f"--llm: its attention caps its scores at {softcap:g}, as Gemma 2's does, which is not known here; choose another LLM"
        )
    if packed_row is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, sliding_window=sliding_window, **other
        )
    longest = max(group.key_rows.shape[1] for group in packed_row.attention.groups)
    if sliding_window is not None and longest > sliding_window:
        raise UserError(
            f"--llm: its attention sees {sliding_window} tokens back, and a motion with its question and answer has {longest}; "
            "choose another LLM, or train the encoder with a smaller --window-frames"
        )
    last = module.layer_idx == module.config.num_hidden_layers - 1
    attention = packed_row.last_attention if last else packed_row.attention
    q, k, v = (heads[0].transpose(0, 1) for heads in (query, key, value))  # (R, heads, d)
    outputs = []
    for group in attention.groups:
        q_side, k_side, v_side = _take(q, group.query_rows), _take(k, group.key_rows), _take(v, group.key_rows)
        repeats = q.shape[1] // k.shape[1]
        if repeats > 1:  # grouped-query attention
            k_side, v_side = k_side.repeat_interleave(repeats, dim=1), v_side.repeat_interleave(repeats, dim=1)
        out = nn.functional.scaled_dot_product_attention(
            q_side, k_side, v_side, attn_mask=group.visible, dropout_p=dropout, scale=scaling
        )  # (n, heads, Lq, d)
        outputs.append(out.transpose(1, 2).flatten(0, 1))  # (n Lq, heads, d)
    out = torch.cat(outputs).index_select(0, attention.unpack)  # (Q, heads, d)
    if last:
        out = out.new_zeros(q.shape[0], *out.shape[1:]).index_copy(0, attention.rows, out)
    return out[None], None  # (1, R, heads, d)


def _take(tokens: Tensor, rows: Tensor) -> Tensor:
    """
    Shape:
        tokens (R, heads, d), rows (n, L) -> (n, heads, L, d)
    """
    return tokens.index_select(0, rows.flatten()).unflatten(0, rows.shape).transpose(1, 2)


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, sdpa_mask)
