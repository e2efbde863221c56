"""What is kept of a motion's joint features, and the emotion they show.

EncodedMotion: features (N, C, T', V)  ->  PooledFeatures: semantic (N, C), spatial (N, V, C), temporal (N, T', C)
semantic (N, C)                        ->  logits over all emotion words (N, E), those of other corpora at -inf
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion_llm.skeleton_encoder.encoder import EncodedMotion


@dataclass(frozen=True)
class PooledFeatures:
    """Means of the joint features over real joints and frames: all that the skeleton tokenizer reads."""

    semantic: Tensor
    """(N, C): over frames and joints."""
    spatial: Tensor
    """(N, V, C): over frames; zero at padding."""
    temporal: Tensor
    """(N, T', C): over joints; zero at padding."""
    joint_mask: Tensor
    """(N, V) bool."""
    frame_mask: Tensor
    """(N, T') bool."""


def pool(encoded: EncodedMotion) -> PooledFeatures:
    """Masked means: padding is zero in the sums and absent from the counts."""
    frames = encoded.frame_mask.sum(1)[:, None, None]  # (N, 1, 1)
    joints = encoded.joint_mask.sum(1)[:, None, None]
    spatial = encoded.features.sum(2).transpose(1, 2) / frames  # (N, V, C)
    temporal = encoded.features.sum(3).transpose(1, 2) / joints  # (N, T', C)
    return PooledFeatures(spatial.sum(1) / joints[:, 0], spatial, temporal, encoded.joint_mask, encoded.frame_mask)


class EmotionClassifier(nn.Module):
    """A linear head over the emotion words of all corpora together; a motion is judged among its own corpus's words only.

    Shape:
        semantic (N, C), candidates (N, E) bool  ->  logits (N, E), -inf where not a candidate
    """

    def __init__(self, width: int, emotions: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, emotions)

    def forward(self, semantic: Tensor, candidates: Tensor) -> Tensor:
        return self.head(semantic).masked_fill(~candidates, -torch.inf)
