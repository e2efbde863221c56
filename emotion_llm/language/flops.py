"""Floating point operations of a training step, counted from shapes.

EmotionLLM, PackedRow  ->  operations of forward and backward

Only useful work counts: real tokens without padding, attention between tokens that see each other, and the output head where an answer
token is predicted. A frozen matrix costs 2 operations per weight and token in the forward pass and 2 in the backward pass (the gradient
of its input); a LoRA matrix costs 2 and 4. Norms, rotary embeddings, softmax, dropout and recomputation by gradient checkpointing are
left out.
"""

from __future__ import annotations

from torch import nn

from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import PackedAttention, PackedRow


class FlopCount:
    """Counts a model's matrices once, then the operations of any row."""

    def __init__(self, model: EmotionLLM) -> None:
        head = model.base_llm.get_output_embeddings()
        projection = model.skeleton_tokenizer.get_parameter("projections.0.weight")
        linears = [(name, module) for name, module in model.llm.named_modules() if isinstance(module, nn.Linear) and module is not head]
        self.cost_per_token = sum(_operations(name, module) for name, module in linears)
        self.head_weights = head.get_parameter("weight").numel()
        self.projection_weights = projection.numel()
        config = model.llm.config.get_text_config()
        head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.layers = config.num_hidden_layers
        self.heads_width = config.num_attention_heads * head_width

    def of_row(self, row: PackedRow) -> int:
        """Operations of the row's forward and backward pass."""
        linear = len(row.token_ids) * self.cost_per_token
        attention = 12 * self.layers * visible_pairs(row.attention) * self.heads_width  # scores and values, 2 each forward, 4 each backward
        head = 4 * len(row.predicting_rows) * self.head_weights
        projections = 4 * len(row.skeleton_rows) * self.projection_weights  # features need no gradient
        return linear + attention + head + projections


def visible_pairs(attention: PackedAttention) -> int:
    """Pairs of a real token and a token that it sees, itself included."""
    query_places = sum(group.query_rows.numel() for group in attention.groups)
    padded_queries = query_places - len(attention.unpack)  # each sees exactly one token
    return sum(int(group.visible.sum()) for group in attention.groups) - padded_queries


def _operations(name: str, matrix: nn.Linear) -> int:
    return (6 if "lora_" in name else 4) * matrix.weight.numel()
