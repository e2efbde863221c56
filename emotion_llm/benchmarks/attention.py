"""Attention over a packed row: in groups of like length, against one call per sequence and against one dense mask.

a drawn batch  ->  Measurements of forward and backward through the attention of one layer
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from emotion_llm.benchmarks.measurement import Measurement, interleaved_ratio, machine_name
from emotion_llm.benchmarks.workload import SMOLLM2, LlmShape, draw_examples
from emotion_llm.language.packed import AttentionGroup, PackedAttention, pack, packed_attention
from emotion_llm.skeleton_tokens.unified import Slots

CALLS = 10
"""Of one layer's attention in one timed run: a single one is too short."""


def measure(shape: LlmShape = SMOLLM2, motions: int = 16, repeats: int = 5) -> list[Measurement]:
    """Both stages' batches against both other ways."""
    measurements = []
    for stage in ("recognition", "description"):
        row = pack(draw_examples(shape, stage, motions, seed=1), Slots())
        heads = _random_heads(shape, len(row.token_ids))
        for name, other in (("one call per sequence", one_by_one(row.attention)), ("one dense mask", dense(row.attention))):
            ratio = interleaved_ratio(partial(_run, heads, row.attention), partial(_run, heads, other), repeats)
            measurements.append(
                Measurement(
                    name=f"attention, {stage}: groups of like length against {name}",
                    ratio=ratio.median,
                    low=ratio.low,
                    high=ratio.high,
                    unit="seconds",
                    compared=f"{CALLS} layers of {shape.name}, {motions} motions, {len(row.token_ids):,} tokens, {len(row.attention.groups)} "
                    f"groups: {ratio.our_seconds:.3f} s against {ratio.their_seconds:.3f} s",
                    machine=f"{machine_name()}, {torch.get_num_threads()} threads, fp32",
                )
            )
    return measurements


def one_by_one(attention: PackedAttention) -> PackedAttention:
    """Every sequence a group of its own, unpadded."""
    groups, unpack, laid_out, first = [], torch.empty_like(attention.unpack), 0, 0
    for group in attention.groups:
        sequences, width = group.query_rows.shape
        for index in range(sequences):
            there = (attention.unpack >= first) & (attention.unpack < first + width)
            queries = there.nonzero()[:, 0]
            keys = group.visible[index, 0, : len(queries)].any(0)
            groups.append(
                AttentionGroup(queries[None], group.key_rows[index, keys][None], group.visible[index, :, : len(queries), keys][None])
            )
            unpack[there] = laid_out + torch.arange(len(queries))
            laid_out, first = laid_out + len(queries), first + width
    return PackedAttention(tuple(groups), unpack)


def dense(attention: PackedAttention) -> PackedAttention:
    """One group of one sequence: every token against every token, with a block-diagonal mask."""
    tokens = len(attention.unpack)
    rows = torch.arange(tokens)
    sees = torch.zeros(tokens, tokens, dtype=torch.bool)
    for group in one_by_one(attention).groups:
        sees[group.query_rows[0][:, None], group.key_rows[0]] = group.visible[0, 0]
    return PackedAttention((AttentionGroup(rows[None], rows[None], sees[None, None]),), rows)


def attend(heads: tuple[Tensor, Tensor, Tensor], attention: PackedAttention) -> Tensor:
    """One layer's attention, whatever the groups.

    Shape:
        query (1, heads, R, d), key and value (1, key heads, R, d) -> (1, R, heads, d)
    """
    row = SimpleNamespace(attention=attention)
    return packed_attention(nn.Module(), *heads, attention_mask=None, packed_row=row)[0]


def _random_heads(shape: LlmShape, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    width = shape.width // shape.heads
    query = torch.randn(1, tokens, shape.heads, width).transpose(1, 2).requires_grad_()
    key, value = (torch.randn(1, tokens, shape.key_heads, width).transpose(1, 2).requires_grad_() for _ in range(2))
    return query, key, value


def _run(heads: tuple[Tensor, Tensor, Tensor], attention: PackedAttention) -> None:
    for _ in range(CALLS):
        torch.autograd.grad(attend(heads, attention).sum(), heads)
