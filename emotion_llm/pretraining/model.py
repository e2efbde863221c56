"""The modules that pre-training trains, and their two losses.

PretrainBatch  ->  cross-entropy (N,), contrastive loss (N,)
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotion_llm.pretraining.data import PretrainBatch, PretrainingData, set_input_statistics, set_movement_statistics
from emotion_llm.pretraining.settings import PretrainSettings
from emotion_llm.pretraining.text_alignment import TextAlignment, embed_emotions
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes
from emotion_llm.skeleton_encoder.encoder import SkeletonEncoder
from emotion_llm.skeleton_encoder.pooling import EmotionClassifier, pool

MOMENTUM = 0.9  # Nesterov momentum of SGD (our choice: CTR-GCN's)


class PretrainingModel(nn.Module):
    """The encoder, its classifier, and its projection to the text embeddings.

    Shape:
        N motions  ->  cross-entropy of each motion's emotion (N,), contrastive loss (N,), zero without alignment
    """

    def __init__(self, encoder: SkeletonEncoder, classifier: EmotionClassifier, alignment: TextAlignment | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = classifier
        self.alignment = alignment

    def forward(self, batch: PretrainBatch) -> tuple[Tensor, Tensor]:
        encoded = self.encoder(batch.motions)
        semantic = pool(encoded).semantic  # (N, C)
        # Network, statistics and descriptors learn to name the emotion alone; their logits add up, as those of independent models.
        parts = (semantic,) if encoded.parts is None else encoded.parts
        losses = [F.cross_entropy(self.classifier(part, batch.candidates), batch.emotion, reduction="none") for part in parts]
        classification = torch.stack(losses).mean(0)  # (N,)
        if self.alignment is None:
            return classification, torch.zeros_like(classification)
        return classification, F.cross_entropy(self.alignment(semantic, batch.candidates), batch.emotion, reduction="none")


def build_model(settings: PretrainSettings, data: PretrainingData) -> PretrainingModel:
    """A model with fresh weights, the same on every process."""
    torch.manual_seed(settings.seed)
    encoder = settings.encoder.build(data.layouts)
    classifier, alignment = EmotionClassifier(encoder.width, len(data.emotions)), None
    if settings.contrastive_weight > 0:  # the first rank runs the text encoder and sends the embeddings to the others
        embeddings = gather_over_processes(embed_emotions(settings.text_encoder, data.emotions) if is_first_rank() else None)[0]
        alignment = TextAlignment(encoder.width, embeddings, settings.temperature)
    set_input_statistics(encoder, data)
    set_movement_statistics(encoder, data)
    return PretrainingModel(encoder, classifier, alignment)


def build_optimizer(model: PretrainingModel, settings: PretrainSettings) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), settings.learning_rate, MOMENTUM, weight_decay=settings.weight_decay, nesterov=True)
