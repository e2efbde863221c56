"""Skeleton encoder: graph convolutions over joints and frames, shared by all layouts.

MotionBatch: positions (N, T, V, 3), layouts mixed  ->  EncodedMotion: joint features (N, C, T', V), T' = ceil(T / 4)

All layouts share the blocks; each layout has its own adjacency and input normalisation. Inside, a batch is (C, R, T): R counts every
joint of every motion, grouped by layout, so joints are not padded. Padded frames stay zero in every layer, so padding does not change
the features.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from emotion_llm.kinematics.descriptors import DESCRIPTORS
from emotion_llm.motion.layout import Layout
from emotion_llm.runtime.validation import STRICT
from emotion_llm.skeleton_encoder.batch import INPUT_CHANNELS, MotionBatch, joint_inputs
from emotion_llm.skeleton_encoder.graph import adjacency_subsets
from emotion_llm.skeleton_encoder.layers import Block, Group, Rows
from emotion_llm.skeleton_encoder.statistics import DescriptorsMap, StatisticsMap, describe_windows, movement_statistics

TEMPORAL_STRIDE = 4  # Frames per feature frame: T' = ceil(T / 4)
SMALLEST_STD = (0.01, 0.01, 0.01, 0.05, 0.05, 0.05)
"""Lower bound of the inputs' standard deviation, metres and metres per second: noise of still joints is not amplified."""
MAX_BLOCKS = 100
Width = Annotated[int, Field(ge=4, le=8192, strict=True)]
Stride = Annotated[int, Field(ge=1, le=TEMPORAL_STRIDE, strict=True)]


@dataclass(frozen=True, config=STRICT)
class BlockSettings(ABC):
    """A chain of blocks; CTR-GCN's widths and strides by default. The paper does not specify the encoder."""

    widths: tuple[Width, ...] = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
    """Channels after each block (our choice: CTR-GCN's); the last is C."""
    strides: tuple[Stride, ...] = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
    """Temporal stride of each block (our choice: CTR-GCN's); their product is 4."""

    statistics: bool = True
    """Add a linear map of each joint's movement statistics to the features, and one of the kinematic descriptors, the same at every joint
    and frame (our choice; skeleton_encoder/statistics.py)."""
    network_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Weight of the network's features beside those: alone, it is too sure of people it has never seen (our choice)."""

    @model_validator(mode="after")
    def _check_blocks(self) -> Self:
        if len(self.widths) != len(self.strides) or not 1 <= len(self.widths) <= MAX_BLOCKS:
            raise ValueError(
                f"encoder: {len(self.widths)} widths and {len(self.strides)} strides; give one of each per block, for 1 to {MAX_BLOCKS} blocks"
            )
        if math.prod(self.strides) != TEMPORAL_STRIDE:
            raise ValueError(f"encoder: strides {self.strides} must multiply to {TEMPORAL_STRIDE}")
        return self

    @abstractmethod
    def block(self, channels_in: int, channels_out: int, stride: int) -> Block:
        """One block of the network; each kind of encoder defines its own."""

    def build(self, layouts: Sequence[Layout]) -> SkeletonEncoder:
        """The network with fresh weights."""
        shapes = zip(pairwise((INPUT_CHANNELS, *self.widths)), self.strides, strict=True)
        blocks = (self.block(before, after, stride) for (before, after), stride in shapes)
        return SkeletonEncoder(layouts, self, self.widths[-1], blocks)


@dataclasses.dataclass(frozen=True)
class EncodedMotion:
    """Joint features of a batch. Masks: True = real."""

    features: Tensor  # (N, C, T', V), zero at padding
    frame_mask: Tensor  # (N, T') bool
    joint_mask: Tensor  # (N, V) bool
    parts: tuple[Tensor, Tensor, Tensor] | None = None
    """(N, C) each, None without statistics: means over joints and frames of network and statistics, and the map of the descriptors. The
    features are the sum of what these are means of, the network weighted."""
    descriptors: Tensor | None = None
    """(N, Q): the kinematic descriptors, standardised within their layout; None without statistics."""


class SkeletonEncoder(nn.Module):
    """Encodes motions of any of its layouts.

    Shape:
        positions (N, T, V, 3)  ->  features (N, C, T', V), T' = ceil(T / 4)
    """

    def __init__(self, layouts: Sequence[Layout], settings: BlockSettings, width: int, blocks: Iterable[nn.Module]) -> None:
        """
        Args:
            width: C of the features.
            blocks: each called with x (C_in, R, T) and rows; returns x (C_out, R, T') and its rows.
        """
        super().__init__()
        self.layouts = tuple(layouts)
        self.settings = settings
        self.width = width
        for index, layout in enumerate(self.layouts):
            self.register_buffer(f"adjacency_{index}", adjacency_subsets(layout.parents), persistent=False)
            self.register_buffer(f"input_mean_{index}", torch.zeros(INPUT_CHANNELS, layout.joints))
            self.register_buffer(f"input_std_{index}", torch.ones(INPUT_CHANNELS, layout.joints))
        self.blocks = nn.ModuleList(blocks)
        self.statistics = StatisticsMap(self.layouts, width) if settings.statistics else None
        self.descriptors = DescriptorsMap(len(self.layouts), width) if settings.statistics else None

    @property
    def row_width(self) -> int:
        """C + Q: numbers per row of `pooled_rows`."""
        return self.width + (len(DESCRIPTORS) if self.settings.statistics else 0)

    def forward(self, batch: MotionBatch) -> EncodedMotion:
        rows = self._rows(batch)
        x = self._inputs(batch, rows)  # (6, R, T)
        for block in self.blocks:
            x, rows = block(x, rows)  # (C, R, T')
        features = x.new_zeros(len(batch), batch.positions.shape[2], self.width, x.shape[-1])  # (N, V, C, T')
        for group, part in zip(rows.groups, x.split([group.size for group in rows.groups], dim=1), strict=True):
            features[group.samples, : group.joints] = part.unflatten(1, (-1, group.joints)).permute(1, 2, 0, 3)
        features, frame_mask = features.permute(0, 2, 3, 1), batch.frame_mask[:, ::TEMPORAL_STRIDE]  # (N, C, T', V)
        if self.statistics is None or self.descriptors is None:
            return EncodedMotion(features, frame_mask, batch.joint_mask)
        mapped = self._map_statistics(batch, rows, self.statistics)  # (N, C, V)
        joints, frames = batch.joint_mask.sum(1)[:, None], frame_mask.sum(1)[:, None]  # (N, 1) each
        described = batch.descriptors
        if described is None:
            windows = [x[:count].cpu().numpy() for x, count in zip(batch.positions, batch.frame_mask.sum(1).tolist(), strict=True)]
            layouts = [self.layouts[index] for index in batch.layout_index.tolist()]
            described = describe_windows(windows, layouts, batch.frames_per_second).to(features)
        standard = self.descriptors.standardise(described, batch.layout_index)
        parts = features.sum((2, 3)) / (joints * frames), mapped.sum(-1) / joints, self.descriptors(standard)
        of_joints = mapped + parts[2][..., None] * batch.joint_mask[:, None]  # (N, C, V)
        features = self.settings.network_share * features + of_joints[:, :, None] * frame_mask[:, None, :, None]
        return EncodedMotion(features, frame_mask, batch.joint_mask, parts, standard)

    def _map_statistics(self, batch: MotionBatch, rows: Rows, statistics: StatisticsMap) -> Tensor:
        mapped = batch.positions.new_zeros(len(batch), self.width, batch.positions.shape[2])  # (N, C, V)
        for group in rows.groups:
            positions = batch.positions[group.samples, :, : group.joints]  # (N, T, V, 3)
            parents = self.layouts[group.layout].parents
            values = movement_statistics(positions, batch.frame_mask[group.samples], parents, batch.frames_per_second)  # (9, N, V)
            mapped[group.samples, :, : group.joints] = statistics(values, group.layout)
        return mapped

    def _rows(self, batch: MotionBatch) -> Rows:
        groups, real = [], []
        for index in batch.layout_index.unique().tolist():
            joints = self.layouts[index].joints
            samples = (batch.layout_index == index).nonzero()[:, 0].to(batch.positions.device)
            groups.append(Group(index, samples, len(samples) * joints, joints, getattr(self, f"adjacency_{index}")))
            real.append(batch.frame_mask[samples].repeat_interleave(joints, dim=0))
        mask = torch.cat(real).to(batch.positions.dtype)  # (R, T)
        return Rows(tuple(groups), mask, mask.sum())

    def _inputs(self, batch: MotionBatch, rows: Rows) -> Tensor:
        parts = []
        for group in rows.groups:
            pelvis = self.layouts[group.layout].landmarks["pelvis"]
            positions = batch.positions[group.samples, :, : group.joints]  # (N, T, V, 3)
            x = joint_inputs(positions, batch.frame_mask[group.samples], pelvis, batch.frames_per_second)  # (6, N, V, T)
            mean, std = getattr(self, f"input_mean_{group.layout}"), getattr(self, f"input_std_{group.layout}")
            parts.append(((x - mean[:, None, :, None]) / std[:, None, :, None]).flatten(1, 2))
        return torch.cat(parts, dim=1) * rows.real  # (6, R, T)

    @torch.no_grad()
    def set_input_statistics(self, layout: int, mean: Tensor, std: Tensor) -> None:
        """Sets the input normalisation of a layout: mean and standard deviation (6, V) over the training motions."""
        getattr(self, f"input_mean_{layout}").copy_(mean)
        getattr(self, f"input_std_{layout}").copy_(torch.maximum(std, torch.tensor(SMALLEST_STD)[:, None].to(std)))
