"""Starting from a trained encoder: a new layout, or a small corpus, joins a trained trunk (ours).

fresh PretrainingModel, TrainedEncoder  ->  the same model with the trained network, and with the maps and classifier rows both know

Inputs are standardised by the new corpora. What only the new model has starts anew: the maps of new layouts, the rows of new emotions, and
the alignment with texts.
"""

from collections.abc import Sequence
from dataclasses import asdict

import torch

from emotion_llm.pretraining.model import PretrainingModel
from emotion_llm.pretraining.trained_encoder import TrainedEncoder
from emotion_llm.runtime.errors import UserError


@torch.no_grad()
def take_over(model: PretrainingModel, emotions: Sequence[str], trained: TrainedEncoder) -> str:
    """Copies the weights and returns what was copied, in words.

    Args:
        emotions: the classifier's, row by row.

    Raises:
        UserError: the trained encoder has another architecture.
    """
    own, other = model.encoder, trained.encoder
    there, here = asdict(other.settings), asdict(own.settings)
    if differing := [f"{name} = {there[name]}, here {here[name]}" for name in there if there[name] != here.get(name)]:
        raise UserError(f"--start-from: the trained encoder has {'; '.join(differing)}; give the same encoder settings")
    own.blocks.load_state_dict(other.blocks.state_dict())
    layouts = [layout for layout in own.layouts if layout in other.layouts]
    if own.statistics is not None and own.descriptors is not None and other.statistics is not None and other.descriptors is not None:
        own.descriptors.weight.copy_(other.descriptors.weight)
        for layout in layouts:
            rows = other.statistics.joints(other.layouts.index(layout))
            own.statistics.weight[own.statistics.joints(own.layouts.index(layout))] = other.statistics.weight[rows]
    known = [emotion for emotion in emotions if emotion in trained.record.emotions]
    head, trained_head = model.classifier.head, trained.model.classifier.head
    for emotion in known:
        row, other_row = emotions.index(emotion), trained.record.emotions.index(emotion)
        head.weight[row], head.bias[row] = trained_head.weight[other_row], trained_head.bias[other_row]
    return f"layouts {', '.join(layout.name for layout in layouts) or 'none'}; emotions {', '.join(known) or 'none'}"
