"""Pooled features of a motion, and the classifier on them.

EncodedMotion: features (N, C, T', V)  ->  PooledFeatures: semantic (N, C), spatial (N, V, C), temporal (N, T', C)
semantic (N, C)                        ->  logits over all emotions (N, E), -inf for emotions of other corpora
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotion_llm.skeleton_encoder.batch import collate
from emotion_llm.skeleton_encoder.encoder import TEMPORAL_STRIDE, EncodedMotion, SkeletonEncoder

WINDOWS_PER_BATCH = 64  # Motions encoded at once


@dataclass(frozen=True)
class PooledFeatures:
    """Means of the joint features over real joints and frames; the input of the skeleton tokenizer."""

    semantic: Tensor  # (N, C): over frames and joints
    spatial: Tensor  # (N, V, C): over frames; zero at padding
    temporal: Tensor  # (N, T', C): over joints; zero at padding
    joint_mask: Tensor  # (N, V) bool
    frame_mask: Tensor  # (N, T') bool
    descriptors: Tensor | None  # (N, Q): standardised kinematic descriptors


def pool(encoded: EncodedMotion) -> PooledFeatures:
    """Masked means: padding is zero in the sums and not counted."""
    frames = encoded.frame_mask.sum(1)[:, None, None]  # (N, 1, 1)
    joints = encoded.joint_mask.sum(1)[:, None, None]
    spatial = encoded.features.sum(2).transpose(1, 2) / frames  # (N, V, C)
    temporal = encoded.features.sum(3).transpose(1, 2) / joints  # (N, T', C)
    semantic = spatial.sum(1) / joints[:, 0]
    return PooledFeatures(semantic, spatial, temporal, encoded.joint_mask, encoded.frame_mask, encoded.descriptors)


class EmotionClassifier(nn.Module):
    """A linear head over the emotions of all corpora; a motion is classified among the emotions of its own corpus.

    Shape:
        semantic (N, C), candidates (N, E) bool  ->  logits (N, E), -inf where not a candidate
    """

    def __init__(self, width: int, emotions: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, emotions)

    def forward(self, semantic: Tensor, candidates: Tensor) -> Tensor:
        return self.head(semantic).masked_fill(~candidates, -torch.inf)


@torch.inference_mode()
def pooled_rows(
    encoder: SkeletonEncoder,
    motions: Sequence[np.ndarray],
    layout_index: int,
    frames_per_second: float,
    descriptors: Tensor | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yields the index and the pooled features of each motion, sorted by length and in evaluation mode.

    Args:
        descriptors: of every motion (N, Q), if they are known already.

    Shape:
        N motions (T, V, 3)  ->  N times (1 + V + T', C + Q) float32 on the CPU: semantic, spatial, temporal rows. Semantic and
        temporal rows end with the motion's standardised descriptors, so that those of a clip show how it changes from window to window;
        spatial rows end with zeros. Q = 0 without statistics.
    """
    device = next(encoder.parameters()).device
    encoder.eval()
    order = sorted(range(len(motions)), key=lambda index: len(motions[index]))
    for start in range(0, len(order), WINDOWS_PER_BATCH):
        batch = order[start : start + WINDOWS_PER_BATCH]
        known = None if descriptors is None else descriptors[batch]
        motion_batch = collate([motions[index] for index in batch], [layout_index] * len(batch), frames_per_second, known)
        pooled = pool(encoder(motion_batch.to(device)))
        rows = torch.cat([pooled.semantic[:, None], pooled.spatial, pooled.temporal], dim=1)  # (N, 1 + V + T', C)
        rows = F.pad(rows, (0, encoder.row_width - encoder.width))  # (N, 1 + V + T', C + Q)
        if pooled.descriptors is not None:
            rows[:, 0, encoder.width :] = pooled.descriptors
            rows[:, -pooled.temporal.shape[1] :, encoder.width :] = pooled.descriptors[:, None]
        rows = rows.cpu()
        for n, index in enumerate(batch):
            yield index, rows[n, : 1 + motions[index].shape[1] + feature_frames(len(motions[index]))].clone()


def feature_frames(frames: int) -> int:
    """T' = ceil(T / 4)."""
    return -(-frames // TEMPORAL_STRIDE)
