"""Batches of motions of different layouts and lengths, and the encoder's input channels.

positions (T, V, 3) of N motions  ->  MotionBatch: (N, T, V, 3) padded to the longest motion and the largest layout
positions (N, T, V, 3)            ->  (6, N, V, T): position relative to the pelvis, and velocity in the world
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

INPUT_CHANNELS = 6
"""Position relative to the pelvis (3, metres) and velocity in the world (3, metres per second) of each joint (our choice)."""


@dataclass(frozen=True)
class MotionBatch:
    """N motions. Masks: True = real."""

    positions: Tensor  # (N, T, V, 3) float32 canonical metres (motion/canonical.py); zero at padding
    frame_mask: Tensor  # (N, T) bool; the real frames of a motion come first
    joint_mask: Tensor  # (N, V) bool; the real joints of a motion come first
    layout_index: Tensor  # (N,) index into the encoder's layouts; stays on the CPU, where it is used for control flow
    frames_per_second: float
    descriptors: Tensor | None = None  # (N, Q) kinematic descriptors, where they are known already; the encoder measures them otherwise

    def to(self, device: torch.device | str) -> Self:
        moved = {
            name: value.to(device, non_blocking=True)
            for name in ("positions", "frame_mask", "joint_mask", "descriptors")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved)

    def __len__(self) -> int:
        return len(self.positions)


def collate(
    motions: Sequence[np.ndarray], layout_index: Sequence[int], frames_per_second: float, descriptors: Tensor | None = None
) -> MotionBatch:
    """N arrays (T_n, V_n, 3) and their layouts -> one batch."""
    frames = max(len(positions) for positions in motions)
    joints = max(positions.shape[1] for positions in motions)
    padded = torch.zeros(len(motions), frames, joints, 3)  # (N, T, V, 3)
    frame_mask = torch.zeros(len(motions), frames, dtype=torch.bool)
    joint_mask = torch.zeros(len(motions), joints, dtype=torch.bool)
    for n, positions in enumerate(motions):
        t, v, _ = positions.shape
        padded[n, :t, :v] = torch.from_numpy(np.array(positions, dtype=np.float32))  # a copy: the corpus is a read-only memory map
        frame_mask[n, :t] = True
        joint_mask[n, :v] = True
    return MotionBatch(padded, frame_mask, joint_mask, torch.tensor(layout_index, dtype=torch.long), frames_per_second, descriptors)


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
