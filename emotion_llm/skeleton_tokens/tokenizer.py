"""Skeleton tokenizer (MGST): projects features of three granularities to the LLM's width.

pooled encoder features (S, C), each semantic, spatial or temporal  ->  skeleton tokens (S, D)

The paper projects the encoder's feature map with 1x1 convolutions and then pools. Pooling is a mean and a 1x1 convolution is linear, so
the two commute: features are pooled once and projected afterwards. A test checks that both orders give the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emotion_llm.skeleton_tokens.unified import SEMANTIC, SPATIAL, TEMPORAL


class SkeletonTokenizer(nn.Module):
    """One linear layer per granularity; on pooled features it is the paper's 1x1 convolution.

    Features are first standardised per channel with the mean and standard deviation of the training features (our choice: frozen
    buffers; linear, so it still commutes with pooling). The layers are initialised so that tokens are as large as the LLM's own
    embeddings (our choice: a pretrained LLM makes no sense of inputs ten times larger).

    Shape:
        features (S, C + Q), granularities (S,)  ->  tokens (S, D); the tokens of several motions may be concatenated
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, channels: int, width: int, embedding_scale: float = 0.02) -> None:
        """
        Args:
            channels: numbers per feature row, C + Q of the skeleton encoder.
            width: D of the LLM.
            embedding_scale: root mean square of the LLM's token embeddings.
        """
        super().__init__()
        projections = [nn.Linear(channels, width) for _ in (SEMANTIC, SPATIAL, TEMPORAL)]
        self.projections = nn.ModuleList(projections)
        self.register_buffer("feature_mean", torch.zeros(3, channels))  # (granularity, C + Q)
        self.register_buffer("feature_std", torch.ones(3, channels))  # (granularity, C + Q)
        for projection in projections:
            nn.init.normal_(projection.weight, std=embedding_scale / channels**0.5)  # unit features in, embedding-sized tokens out
            nn.init.zeros_(projection.bias)

    def set_feature_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation of the training features, each (3, C + Q); constant channels are not scaled."""
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    @torch.no_grad()
    def point_to_words(self, readings: Sequence[Tensor], words: Sequence[Tensor], semantic: Tensor) -> None:
        """Lets semantic tokens start near the words for what linear readings of them say, such as the emotions that the encoder's
        classifier finds likely. Every group of readings adds a part that is as large as the random one.

        Args:
            readings: weights (K, C + Q) of each group.
            words: what one unit of each reading adds to the token, up to a scale, (K, D) of each group.
            semantic: features (N, C + Q) of the training motions, whose statistics are set.
        """
        projection = self.projections[SEMANTIC].get_parameter("weight")  # (D, C + Q)
        standard = (semantic - self.feature_mean[SEMANTIC]) / self.feature_std[SEMANTIC]
        random_size = (standard @ projection.T.to(standard)).square().mean().sqrt()
        for reading, word in zip(readings, words, strict=True):
            directions = word.T @ (reading * self.feature_std[SEMANTIC])  # (D, C + Q), for standardised features
            size = (standard @ directions.T).square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)
            projection.add_(random_size / size * directions)

    def forward(self, features: Tensor, granularities: Tensor) -> Tensor:
        standard = (features - self.feature_mean[granularities]) / self.feature_std[granularities]  # (S, C + Q)
        standard = standard.to(next(self.projections.parameters()).dtype)
        every = torch.stack([projection(standard) for projection in self.projections])  # (granularity, S, D)
        return every[granularities, torch.arange(len(features), device=features.device)]  # (S, D), without synchronising the device
