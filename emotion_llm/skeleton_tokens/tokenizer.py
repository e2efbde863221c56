"""Skeleton tokenizer (MGST): features of three granularities become tokens of the LLM's width.

pooled encoder features (M, C), each semantic, spatial or temporal  ->  skeleton tokens (M, D)

The paper projects the encoder's feature map with 1x1 convolutions and pools. Pooling is a mean and a 1x1 convolution is linear, so the
two commute: we pool first, once and for all, and project the pooled features. A test holds that both orders give the same tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emotion_llm.skeleton_tokens.unified import SEMANTIC, SPATIAL, TEMPORAL


class SkeletonTokenizer(nn.Module):
    """One 1x1 convolution per granularity, written as the linear map that it is on pooled features.

    The features are first standardised per channel with the training features' mean and deviation (our choice: frozen buffers, linear,
    so it still commutes with pooling), and the maps start so that a token is as large as the LLM's own embeddings are (our choice: a
    pretrained LLM understands nothing ten times larger).

    Shape:
        features (M, C), granularities (M,) -> tokens (M, D)
    """

    def __init__(self, channels: int, width: int, embedding_scale: float = 0.02) -> None:
        """
        Args:
            channels: C of the skeleton encoder.
            width: D of the LLM.
            embedding_scale: root mean square of the LLM's token embeddings.
        """
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(channels, width) for _ in (SEMANTIC, SPATIAL, TEMPORAL))
        self.register_buffer("feature_mean", torch.zeros(3, channels))  # (granularity, C)
        self.register_buffer("feature_deviation", torch.ones(3, channels))  # (granularity, C)
        for projection in self.projections:
            nn.init.normal_(projection.weight, std=embedding_scale / channels**0.5)  # unit features in, embedding-sized tokens out
            nn.init.zeros_(projection.bias)

    def set_feature_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and deviation of the training features, each (3, C); a channel that never moves is left as it is."""
        self.feature_mean.copy_(mean)
        self.feature_deviation.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, features: Tensor, granularities: Tensor) -> Tensor:
        standard = (features - self.feature_mean[granularities]) / self.feature_deviation[granularities]  # (M, C)
        standard = standard.to(self.projections[0].weight.dtype)
        every = torch.stack([projection(standard) for projection in self.projections])  # (granularity, M, D)
        return every[granularities, torch.arange(len(features), device=features.device)]  # (M, D), without asking the device for indices
