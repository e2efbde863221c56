"""The arithmetic that a training step needs, counted from the shapes.

EmotionLLM, PackedRow  ->  floating point operations of forward and backward

Only what is useful is counted: real tokens, no padding; attention between tokens that see each other; the head, and most of the last
layer, where an answer is predicted. A frozen matrix costs 2 operations per weight and token forward and 2 backward (the gradient of its
input; it has none of its own); a LoRA matrix 2 and 4. Norms, rotations, softmax, dropout and whatever gradient checkpointing computes
again are left out.
"""

from __future__ import annotations

from torch import nn

from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import PackedAttention, PackedRow


class FlopCount:
    """The matrices of a model, counted once; then the operations of any row."""

    def __init__(self, model: EmotionLLM) -> None:
        head = model.llm.get_output_embeddings()
        linears = [(name, module) for name, module in model.llm.named_modules() if isinstance(module, nn.Linear) and module is not head]
        at_answers = {inner for module in model.last_layer.modules for inner in module.modules()}
        self.cost_per_token = sum(_operations(name, module) for name, module in linears if module not in at_answers)
        self.cost_per_prediction = sum(_operations(name, module) for name, module in linears if module in at_answers)
        self.head_weights = head.weight.numel()
        self.projection_weights = model.skeleton_tokenizer.projections[0].weight.numel()
        config = model.llm.config.get_text_config()
        head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.layers = config.num_hidden_layers
        self.heads_width = config.num_attention_heads * head_width

    def of_row(self, row: PackedRow) -> int:
        """Operations of the row's forward and backward."""
        tokens, predicting = len(row.token_ids), len(row.last_attention.rows)
        linear = tokens * self.cost_per_token + predicting * self.cost_per_prediction
        pairs = (self.layers - 1) * visible_pairs(row.attention) + visible_pairs(row.last_attention)
        attention = 12 * pairs * self.heads_width  # scores and values, 2 each forward, 4 each backward
        head = 4 * len(row.predicting_rows) * self.head_weights
        projections = 4 * len(row.skeleton_rows) * self.projection_weights  # features need no gradient
        return linear + attention + head + projections


def visible_pairs(attention: PackedAttention) -> int:
    """Pairs of a real token and one that it sees, itself included."""
    laid_out = sum(group.query_rows.numel() for group in attention.groups)
    padded_queries = laid_out - len(attention.rows)  # each sees one token, so as not to be empty
    return sum(int(group.visible.sum()) for group in attention.groups) - padded_queries


def _operations(name: str, matrix: nn.Linear) -> int:
    return (6 if "lora_" in name else 4) * matrix.weight.numel()
