"""Several motions and their answers in one row of tokens, without padding.

examples (prompt, motion features, answers)  ->  PackedRow  ->  attention in which every token sees its own prompt, motion and answer

A row has R tokens: each distinct prompt prefix once, then the tokens of each example:

    | prefix | skeleton tokens, rest of the prompt, answer, answer ... | skeleton tokens, rest of the prompt, answer ... |

A token sees the prefix of its prompt and the earlier tokens of its own example, but answers of one example do not see each other: the row
is a forest, prefix -> motion -> answers. Training packs one answer per motion, scoring packs the whole label set. The LLM's linear layers
run on R real tokens; only attention separates the examples. Keys and values of a shared prefix are computed once and used, with
gradients, by all its examples: likelihoods and gradients equal those of separate sequences. (With LoRA dropout, the examples of a row
share the noise of the prefix.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from emotion_llm.language.prompts import Prompt
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_tokens.unified import MotionFeatures, Slots

PACKED_ATTENTION = "emotion_llm_packed"
"""Name of the attention below in transformers; LLMs are loaded with it."""
MOST_PADDING = 2.0
"""Sequences are padded to a common size for attention unless one has this many times the query-key pairs of another."""
PackedSequence: TypeAlias = tuple[Sequence[int], Sequence[int], Tensor]
"""Query rows, key rows and visibility (Lq, Lk) of one sequence."""


@dataclass(frozen=True)
class Example:
    """One motion with its prompt and the answers to score: one in training, the label set in evaluation."""

    prompt: Prompt
    motion: MotionFeatures
    answers: tuple[tuple[int, ...], ...]
    """Text tokens of each answer, the end of the turn included."""

    def sequence(self, slots: Slots, answer: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """Token ids and position ids of this example with one answer, in a sequence of its own (L,); id 0 at the skeleton tokens."""
        before, after = self.prompt.before, [*self.prompt.after, *answer]
        motion_slots = self.motion.in_slots(slots)  # (S,)
        first_after = len(before) + slots.total
        positions = [torch.arange(len(before)), len(before) + motion_slots, first_after + torch.arange(len(after))]
        return torch.tensor([*before, *[0] * len(motion_slots), *after]), torch.cat(positions)


@dataclass(frozen=True)
class AttentionGroup:
    """n sequences of the row whose attention is computed together, padded to Lq queries and Lk keys."""

    query_rows: Tensor
    """(n, Lq) int64 rows of the queries; padding points at row 0."""
    key_rows: Tensor
    """(n, Lk) int64 rows of the keys; padding points at row 0."""
    visible: Tensor
    """(n, 1, Lq, Lk) bool: True where the query sees the key."""


@dataclass(frozen=True)
class PackedRow:
    """R tokens of several examples, ready for the LLM."""

    token_ids: Tensor
    """(R,) int64 text tokens; 0 where a skeleton token stands."""
    position_ids: Tensor
    """(R,) int64: skeleton tokens have the positions of their slots, text after them continues behind the last slot."""
    skeleton_rows: Tensor
    """(M,) int64 rows of the skeleton tokens."""
    features: Tensor
    """(M, C + Q) float32 pooled encoder features of the skeleton tokens."""
    granularities: Tensor
    """(M,) int64: SEMANTIC, SPATIAL or TEMPORAL."""
    predicting_rows: Tensor
    """(A,) int64: the row before each answer token; only these reach the LLM's output head."""
    answer_ids: Tensor
    """(A,) int64: the answer tokens to predict."""
    answer_index: Tensor
    """(A,) int64: the answer that each token belongs to, counted over all examples."""
    answers: int
    """Number of answers in the row."""
    groups: tuple[AttentionGroup, ...]
    """Which tokens see each other: each is a query in exactly one group."""
    unpack: Tensor
    """(R,) int64: where each token's output stands among the concatenated outputs of the groups."""

    def to(self, device: torch.device) -> PackedRow:
        def move(record: object) -> dict[str, Any]:
            return {name: value.to(device, non_blocking=True) for name, value in vars(record).items() if isinstance(value, Tensor)}

        return replace(self, **move(self), groups=tuple(AttentionGroup(**move(group)) for group in self.groups))


def pack(examples: Sequence[Example], slots: Slots, share_prefix: bool = True) -> PackedRow:
    """Packs examples into one row.

    Args:
        share_prefix: compute each distinct prompt prefix once; False gives every example its own copy (same likelihoods and gradients,
            more work; with LoRA dropout each example then has its own noise).
    """
    token_ids: list[int] = []
    position_ids: list[int] = []
    skeleton_rows: list[int] = []
    predicting_rows: list[int] = []
    prefixes: dict[tuple[int, ...], PackedSequence] = {}
    sequences: list[PackedSequence] = []

    def append(ids: Sequence[int], positions: Sequence[int]) -> range:
        token_ids.extend(ids)
        position_ids.extend(positions)
        return range(len(token_ids) - len(ids), len(token_ids))

    for index, example in enumerate(examples):
        before, after = example.prompt.before, example.prompt.after
        ids, positions = (values.tolist() for values in example.sequence(slots))
        key = before if share_prefix else (index,)
        if key not in prefixes:
            rows = append(ids[: len(before)], positions[: len(before)])
            prefixes[key] = rows, rows, torch.ones(len(rows), len(rows), dtype=torch.bool).tril()
        prefix = prefixes[key][0]
        prompt = append(ids[len(before) :], positions[len(before) :])
        skeleton_rows.extend(prompt[: len(example.motion.rows)])
        first_answer, answer_rows = len(before) + slots.total + len(after), []
        for answer in example.answers:  # the last token is only predicted
            answer_rows.append(append(answer[:-1], range(first_answer, first_answer + len(answer) - 1)))
            predicting_rows.extend([prompt.stop - 1, *answer_rows[-1]])
        own = range(prompt.start, len(token_ids))
        visible = torch.ones(len(own), len(prefix) + len(own), dtype=torch.bool)  # (Lq, Lk)
        visible[:, len(prefix) :].tril_()
        for rows in answer_rows[1:]:  # an answer does not see the answers before it
            queries = slice(rows.start - own.start, rows.stop - own.start)
            visible[queries, len(prefix) + len(prompt) : len(prefix) + queries.start] = False
        sequences.append((own, [*prefix, *own], visible))

    answers = [answer for example in examples for answer in example.answers]
    groups, unpack = _pad_groups(_of_similar_size([*prefixes.values()]) + _of_similar_size(sequences))
    return PackedRow(
        token_ids=torch.tensor(token_ids),
        position_ids=torch.tensor(position_ids),
        skeleton_rows=torch.tensor(skeleton_rows, dtype=torch.long),  # none, if every skeleton token is removed
        features=torch.cat([example.motion.rows for example in examples]),
        granularities=torch.cat([example.motion.granularities for example in examples]),
        predicting_rows=torch.tensor(predicting_rows),
        answer_ids=torch.tensor([token for answer in answers for token in answer]),
        answer_index=torch.arange(len(answers)).repeat_interleave(torch.tensor([len(answer) for answer in answers])),
        answers=len(answers),
        groups=groups,
        unpack=unpack,
    )


def _of_similar_size(sequences: Sequence[PackedSequence]) -> list[list[PackedSequence]]:
    """Sequences sorted by size and divided where padding to the largest would cost more than another call."""
    groups: list[list[PackedSequence]] = []
    for sequence in sorted(sequences, key=lambda sequence: sequence[2].numel()):
        if not groups or sequence[2].numel() > MOST_PADDING * groups[-1][0][2].numel():
            groups.append([])
        groups[-1].append(sequence)
    return groups


def _pad_groups(groups: Sequence[Sequence[PackedSequence]]) -> tuple[tuple[AttentionGroup, ...], Tensor]:
    """The groups, each padded to its longest queries and keys, and `PackedRow.unpack`."""
    padded, every_query = [], []
    for sequences in groups:
        queries, keys = (
            pad_sequence([torch.tensor(rows) for rows in side], batch_first=True, padding_value=-1)
            for side in ([queries for queries, _, _ in sequences], [keys for _, keys, _ in sequences])
        )  # (n, Lq), (n, Lk)
        visible = torch.zeros(len(sequences), 1, queries.shape[1], keys.shape[1], dtype=torch.bool)
        for index, (_, _, seen) in enumerate(sequences):
            visible[index, 0, : len(seen), : seen.shape[1]] = seen
            visible[index, 0, len(seen) :, 0] = True  # a padded query must see something, or its unused output is NaN
        padded.append(AttentionGroup(queries.clamp(min=0), keys.clamp(min=0), visible))
        every_query.append(queries.flatten())
    rows = torch.cat(every_query)
    return tuple(padded), rows.argsort()[int((rows < 0).sum()) :]


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
    **other: object,  # transformers passes each model's extra arguments to every attention
) -> tuple[Tensor, None]:
    """Attention within a packed row.

    Shape:
        query (1, heads, R, d), key and value (1, key heads, R, d) -> (1, R, heads, d)

    Raises:
        UserError: the architecture does not hand the row on, or its attention caps scores or has too short a window.
    """
    if packed_row is None:
        raise UserError(
            f"--llm: {type(module).__name__} of this architecture does not receive the packed row, so answers would see each other; "
            "choose another LLM"
        )
    if softcap is not None:
        raise UserError(
            f"--llm: its attention caps its scores at {softcap:g}, as Gemma 2's does; this is not supported, choose another LLM"
        )
    longest = max(group.key_rows.shape[1] for group in packed_row.groups)
    if sliding_window is not None and longest > sliding_window:
        raise UserError(
            f"--llm: its attention sees {sliding_window} tokens back, and a motion with its question and answer has {longest}; "
            "choose another LLM, or train the encoder with a smaller --window-frames"
        )
    q, k, v = (heads[0].transpose(0, 1) for heads in (query, key, value))  # (R, heads, d)
    repeats = q.shape[1] // k.shape[1]
    outputs = []
    for group in packed_row.groups:
        q_side, k_side, v_side = _take(q, group.query_rows), _take(k, group.key_rows), _take(v, group.key_rows)
        if repeats > 1:  # grouped-query attention
            k_side, v_side = k_side.repeat_interleave(repeats, dim=1), v_side.repeat_interleave(repeats, dim=1)
        out = nn.functional.scaled_dot_product_attention(
            q_side, k_side, v_side, attn_mask=group.visible, dropout_p=dropout, scale=scaling
        )  # (n, heads, Lq, d)
        outputs.append(out.transpose(1, 2).flatten(0, 1))  # (n Lq, heads, d)
    return torch.cat(outputs).index_select(0, packed_row.unpack)[None], None  # (1, R, heads, d)


def _take(tokens: Tensor, rows: Tensor) -> Tensor:
    """
    Shape:
        tokens (R, heads, d), rows (n, L) -> (n, heads, L, d)
    """
    return tokens.index_select(0, rows.flatten()).unflatten(0, rows.shape).transpose(1, 2)


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, sdpa_mask)
