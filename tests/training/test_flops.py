"""The operations counted from shapes are those that torch counts while it computes."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from emotion_llm.benchmarks.workload import TINY, build_model, draw_examples
from emotion_llm.language.packed import pack
from emotion_llm.training.efficiency import FlopCount, visible_pairs


def counted_by_torch(model, row) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(row).sum().backward()
    return {str(operation): count for operation, count in counter.get_flop_counts()["Global"].items()}


@pytest.mark.parametrize("stage", ["recognition", "description"])
def test_matrix_products_are_counted_as_torch_counts_them(stage):
    model = build_model(TINY, dropout=0.0)
    row = pack(draw_examples(TINY, stage, 3, seed=0), model.slots)
    counts, flops = counted_by_torch(model, row), FlopCount(model)
    linear = counts["aten.mm"] + counts["aten.addmm"]
    attention = 12 * TINY.layers * visible_pairs(row) * flops.heads_width
    unused = 2 * 4 * len(row.skeleton_rows) * flops.projection_weights  # all three granularities' maps run, one is used
    assert flops.of_row(row) == linear + attention - unused


def test_attention_is_counted_on_visible_pairs_alone():
    model = build_model(TINY, dropout=0.0)
    row = pack(draw_examples(TINY, "recognition", 1, seed=0), model.slots)  # one example: no padding
    pairs = sum(group.visible.numel() for group in row.groups)
    counts, flops = counted_by_torch(model, row), FlopCount(model)
    assert counts["aten.bmm"] == 12 * TINY.layers * pairs * flops.heads_width
    assert visible_pairs(row) == sum(int(group.visible.sum()) for group in row.groups) < pairs


def test_padding_is_not_counted():
    model = build_model(TINY, dropout=0.0)
    examples = draw_examples(TINY, "recognition", 3, seed=0)
    flops = FlopCount(model)
    together = flops.of_row(pack(examples, model.slots, share_prefix=False))
    assert together == sum(flops.of_row(pack([example], model.slots)) for example in examples)
    assert flops.of_row(pack(examples, model.slots)) < together
    assert torch.is_grad_enabled()
