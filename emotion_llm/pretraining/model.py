"""All that pre-training trains, and its two losses.

PretrainBatch  ->  cross-entropy (N,), contrastive loss (N,)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotion_llm.pretraining.data import PretrainBatch
from emotion_llm.pretraining.text_alignment import TextAlignment
from emotion_llm.skeleton_encoder.encoder import SkeletonEncoder
from emotion_llm.skeleton_encoder.pooling import EmotionClassifier, pool


class PretrainingModel(nn.Module):
    """The encoder, its classifier, and its projection towards language."""

    def __init__(self, encoder: SkeletonEncoder, classifier: EmotionClassifier, alignment: TextAlignment | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = classifier
        self.alignment = alignment

    def forward(self, batch: PretrainBatch) -> tuple[Tensor, Tensor]:
        """The cross-entropy of each motion's emotion, and its contrastive loss (zero without alignment).

        Shape:
            N motions  ->  (N,), (N,)
        """
        semantic = pool(self.encoder(batch.motions)).semantic  # (N, C)
        classification = F.cross_entropy(self.classifier(semantic, batch.candidates), batch.emotion, reduction="none")
        if self.alignment is None:
            return classification, torch.zeros_like(classification)
        return classification, F.cross_entropy(self.alignment(semantic, batch.candidates), batch.emotion, reduction="none")
