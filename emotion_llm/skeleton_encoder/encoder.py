"""Skeleton encoder: a graph convolution network of the CTR-GCN family over the joint graph (the family is our choice).

MotionBatch: positions (N, T, V, 3), layouts mixed  ->  EncodedMotion: joint features (N, C, T', V), T' = ceil(T / 4)

One trunk is shared by all layouts; only adjacency and input normalisation belong to a layout. Inside the trunk the
batch lies as (C, R, T): R counts every joint of every motion, layout after layout, so that joints are never padded.
Padded frames are exactly zero after every layer, as the frames beyond a motion's end are: padding never changes an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from emotion_llm.motion.layout import Layout
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_encoder.batch import MotionBatch
from emotion_llm.skeleton_encoder.graph import adjacency_subsets
from emotion_llm.skeleton_encoder.inputs import INPUT_CHANNELS, joint_inputs
from emotion_llm.skeleton_encoder.layers import Block, Group, Rows

TEMPORAL_STRIDE = 4
"""Frames per feature frame: T' = ceil(T / 4)."""
SMALLEST_SPREAD = (0.01, 0.01, 0.01, 0.05, 0.05, 0.05)
"""Metres and metres per second: an input that varies less is not blown up by its normalisation."""


@dataclass(frozen=True)
class SkeletonEncoderSettings:
    """Architecture of the encoder; CTR-GCN's widths and strides by default. The paper does not give any of it."""

    widths: tuple[int, ...] = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
    """Channels after each block, multiples of 4 (our choice: CTR-GCN's); the last is C."""
    strides: tuple[int, ...] = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
    """Temporal stride of each block (our choice: CTR-GCN's); their product is 4."""
    reduction: int = 8
    """A block of width C compares joints in max(8, C / reduction) channels to refine its topology (our choice: CTR-GCN's)."""

    channels_per_topology: int = 1
    """Neighbouring channels that share one refined topology (our choice: each has its own, as in CTR-GCN)."""

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.strides) or not self.widths:
            raise UserError(f"encoder: {len(self.widths)} widths and {len(self.strides)} strides; give one of each per block")
        if any(width < 4 or width % 4 for width in self.widths):
            raise UserError(f"encoder: widths {self.widths}; each must be a positive multiple of 4 (four temporal branches)")
        if torch.tensor(self.strides).prod() != TEMPORAL_STRIDE:
            raise UserError(f"encoder: strides {self.strides} must multiply to {TEMPORAL_STRIDE}")
        if self.reduction < 1:
            raise UserError(f"encoder: reduction {self.reduction}; give a whole number from 1 up")
        if self.channels_per_topology < 1 or any(width % self.channels_per_topology for width in self.widths):
            given = f"encoder: {self.channels_per_topology} channels per topology"
            raise UserError(f"{given}; give a number that divides the widths {self.widths}")


@dataclass(frozen=True)
class EncodedMotion:
    """Joint features of a batch. Masks: True = real."""

    features: Tensor
    """(N, C, T', V), zero at padding."""
    frame_mask: Tensor
    """(N, T') bool."""
    joint_mask: Tensor
    """(N, V) bool."""


class SkeletonEncoder(nn.Module):
    """Motions of any of its layouts -> joint features.

    Shape:
        positions (N, T, V, 3)  ->  features (N, C, T', V), T' = ceil(T / 4)
    """

    def __init__(self, layouts: Sequence[Layout], settings: SkeletonEncoderSettings) -> None:
        super().__init__()
        self.layouts = tuple(layouts)
        self.settings = settings
        self.width = settings.widths[-1]
        for index, layout in enumerate(self.layouts):
            self.register_buffer(f"adjacency_{index}", adjacency_subsets(layout.parents), persistent=False)
            self.register_buffer(f"input_mean_{index}", torch.zeros(INPUT_CHANNELS, layout.joints))
            self.register_buffer(f"input_spread_{index}", torch.ones(INPUT_CHANNELS, layout.joints))
        widths = (INPUT_CHANNELS, *settings.widths)
        self.blocks = nn.ModuleList(
            Block(before, after, stride, settings.reduction, settings.channels_per_topology)
            for (before, after), stride in zip(pairwise(widths), settings.strides, strict=True)
        )

    def forward(self, batch: MotionBatch) -> EncodedMotion:
        rows = self._rows(batch)
        x = self._inputs(batch, rows)  # (6, R, T)
        for block in self.blocks:
            x, rows = block(x, rows)  # (C, R, T')
        features = x.new_zeros(len(batch), batch.positions.shape[2], self.width, x.shape[-1])  # (N, V, C, T')
        for group, part in zip(rows.groups, x.split([group.size for group in rows.groups], dim=1), strict=True):
            features[group.samples, : group.joints] = part.unflatten(1, (-1, group.joints)).permute(1, 2, 0, 3)
        return EncodedMotion(features.permute(0, 2, 3, 1), batch.frame_mask[:, ::TEMPORAL_STRIDE], batch.joint_mask)

    def _rows(self, batch: MotionBatch) -> Rows:
        groups, real = [], []
        for index in batch.layout_index.unique().tolist():
            joints = self.layouts[index].joints
            samples = (batch.layout_index == index).nonzero()[:, 0].to(batch.positions.device)
            groups.append(Group(index, samples, len(samples) * joints, joints, getattr(self, f"adjacency_{index}")))
            real.append(batch.frame_mask[samples].repeat_interleave(joints, dim=0))
        real = torch.cat(real).to(batch.positions.dtype)  # (R, T)
        return Rows(tuple(groups), real, real.sum())

    def _inputs(self, batch: MotionBatch, rows: Rows) -> Tensor:
        parts = []
        for group in rows.groups:
            pelvis = self.layouts[group.layout].landmarks["pelvis"]
            positions = batch.positions[group.samples, :, : group.joints]  # (N, T, V, 3)
            x = joint_inputs(positions, batch.frame_mask[group.samples], pelvis, batch.frames_per_second)  # (6, N, V, T)
            mean, std = getattr(self, f"input_mean_{group.layout}"), getattr(self, f"input_spread_{group.layout}")
            parts.append(((x - mean[:, None, :, None]) / std[:, None, :, None]).flatten(1, 2))
        return torch.cat(parts, dim=1) * rows.real  # (6, R, T)

    @torch.no_grad()
    def set_input_statistics(self, layout: int, mean: Tensor, std: Tensor) -> None:
        """Fix the input normalisation of a layout: mean and standard deviation (6, V) over the training motions."""
        getattr(self, f"input_mean_{layout}").copy_(mean)
        getattr(self, f"input_spread_{layout}").copy_(torch.maximum(std, torch.tensor(SMALLEST_SPREAD)[:, None].to(std)))
