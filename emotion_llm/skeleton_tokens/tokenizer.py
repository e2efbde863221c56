"""Skeleton tokenizer (MGST): projects features of three granularities to the LLM's width.

pooled encoder features (S, C), each semantic, spatial or temporal  ->  skeleton tokens (S, D)

The paper projects the encoder's feature map with 1x1 convolutions and then pools. Pooling is a mean and a 1x1 convolution is linear, so
the two commute: features are pooled once and projected afterwards. A test checks that both orders give the same tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emotion_llm.skeleton_tokens.unified import SEMANTIC, SPATIAL, TEMPORAL


class SkeletonTokenizer(nn.Module):
    """One linear layer per granularity; on pooled features it is the paper's 1x1 convolution.

    Features are first standardised per channel with the mean and standard deviation of the training features (our choice: frozen
    buffers; linear, so it still commutes with pooling). The layers are initialised so that tokens are as large as the LLM's own
    embeddings (our choice: a pretrained LLM makes no sense of inputs ten times larger).

    Shape:
        features (S, C), granularities (S,)  ->  tokens (S, D); the tokens of several motions may be concatenated
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, channels: int, width: int, embedding_scale: float = 0.02) -> None:
        """
        Args:
            channels: C of the skeleton encoder.
            width: D of the LLM.
            embedding_scale: root mean square of the LLM's token embeddings.
        """
        super().__init__()
        projections = [nn.Linear(channels, width) for _ in (SEMANTIC, SPATIAL, TEMPORAL)]
        self.projections = nn.ModuleList(projections)
        self.register_buffer("feature_mean", torch.zeros(3, channels))  # (granularity, C)
        self.register_buffer("feature_std", torch.ones(3, channels))  # (granularity, C)
        for projection in projections:
            nn.init.normal_(projection.weight, std=embedding_scale / channels**0.5)  # unit features in, embedding-sized tokens out
            nn.init.zeros_(projection.bias)

    def set_feature_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation of the training features, each (3, C); constant channels are not scaled."""
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    @torch.no_grad()
    def point_to_words(self, classifier: Tensor, words: Tensor, semantic: Tensor) -> None:
        """Lets semantic tokens start where the encoder's classifier sees them: near the embeddings of the likely emotions' words, by a part
        that is as large as the random one.

        Args:
            classifier: weights (E, C) of the encoder's classifier.
            words: embeddings (E, D) of the emotions' words.
            semantic: features (N, C) of the training motions, whose statistics are set.
        """
        projection = self.projections[SEMANTIC].get_parameter("weight")  # (D, C)
        weights = (classifier - classifier.mean(0)) * self.feature_std[SEMANTIC]  # (E, C) for standardised features
        directions = (words - words.mean(0)).T @ weights  # (D, C)
        standard = (semantic - self.feature_mean[SEMANTIC]) / self.feature_std[SEMANTIC]
        sizes = [(standard @ part.T).square().mean().sqrt() for part in (projection.to(standard), directions)]
        projection.add_(sizes[0] / sizes[1].clamp(min=torch.finfo(torch.float32).tiny) * directions)

    def forward(self, features: Tensor, granularities: Tensor) -> Tensor:
        standard = (features - self.feature_mean[granularities]) / self.feature_std[granularities]  # (S, C)
        standard = standard.to(next(self.projections.parameters()).dtype)
        every = torch.stack([projection(standard) for projection in self.projections])  # (granularity, S, D)
        return every[granularities, torch.arange(len(features), device=features.device)]  # (S, D), without synchronising the device
