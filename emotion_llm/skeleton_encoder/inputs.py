"""Input channels of the encoder's first block.

positions (N, T, V, 3)  ->  (6, N, V, T): position relative to the pelvis, and velocity in the world
"""

from __future__ import annotations

import torch
from torch import Tensor

INPUT_CHANNELS = 6
"""Position relative to the pelvis (3, metres) and velocity in the world (3, metres per second) of each joint (our choice)."""


def joint_inputs(positions: Tensor, frame_mask: Tensor, pelvis: int, frames_per_second: float) -> Tensor:
    """Position relative to the pelvis and velocity in the world, per joint.

    The pelvis's own position is zero; its velocity is that of the whole body. The first frame repeats the velocity of the second.

    Shape:
        positions (N, T, V, 3) metres, frame_mask (N, T)  ->  (6, N, V, T) metres and metres per second
    """
    velocity = positions.diff(dim=1) * frames_per_second * frame_mask[:, 1:, None, None]  # (N, T - 1, V, 3)
    velocity = torch.cat([velocity[:, :1], velocity], dim=1) if positions.shape[1] > 1 else torch.zeros_like(positions)
    centred = positions - positions[:, :, pelvis, None]
    return torch.cat([centred, velocity], dim=-1).permute(3, 0, 2, 1)  # (6, N, V, T)
