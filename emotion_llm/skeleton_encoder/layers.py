"""Building blocks of the encoders.

x (C_in, R, T), zero at padded frames  ->  (C_out, R, T'), zero at padded frames

R counts the rows of a batch: every joint of every motion, grouped by layout. A temporal convolution works on all rows at once;
a graph convolution works on the rows of one layout at a time.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from emotion_llm.skeleton_encoder.norm import MaskedBatchNorm


@dataclass(frozen=True)
class Group:
    """The rows of one layout in (C, R, T)."""

    layout: int
    samples: Tensor  # (samples,) indices of its motions in the batch
    size: int  # Its rows: samples times joints. Groups are contiguous in R.
    joints: int
    adjacency: Tensor  # (K, V, V)


@dataclass(frozen=True)
class Rows:
    """The layout of a batch in (C, R, T)."""

    groups: tuple[Group, ...]
    real: Tensor  # (R, T) float, 1 = real
    count: Tensor  # () number of ones in `real`

    def strided(self, stride: int) -> Self:
        """The same rows after a temporal convolution of that stride."""
        if stride == 1:
            return self
        real = self.real[:, ::stride].contiguous()
        return replace(self, real=real, count=real.sum())


def pointwise(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A 1x1 convolution of (1, C, R, T). Without a bias, which batch norm would cancel, padding stays zero."""
    return nn.Conv2d(channels_in, channels_out, kernel_size=1, bias=False)


class Skip(nn.Module):
    """Residual connection: identity, or a projection where width or stride change.

    Shape:
        x (C_in, R, T)  ->  (C_out, R, ceil(T / stride))
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.project = None
        if (channels_in, stride) != (channels_out, 1):
            self.project = pointwise(channels_in, channels_out)
            self.norm = MaskedBatchNorm(channels_out)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        if self.project is None:
            return x
        rows = rows.strided(self.stride)
        return self.norm(self.project(x[None, ..., :: self.stride])[0], rows.real, rows.count)


class Block(nn.Module):
    """Graph convolution over joints, then temporal convolution over frames, each with a residual connection.

    Shape:
        x (C_in, R, T)  ->  (C_out, R, ceil(T / stride))
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, graph: nn.Module, temporal: nn.Module) -> None:
        """
        Args:
            graph: called with x (C_in, R, T) and rows; returns (C_out, R, T).
            temporal: called with x (C_out, R, T) and rows; returns (C_out, R, ceil(T / stride)), zero at padding.
        """
        super().__init__()
        self.stride = stride
        self.graph = graph
        self.graph_norm = MaskedBatchNorm(channels_out)
        self.graph_skip = Skip(channels_in, channels_out, stride=1)
        self.temporal = temporal
        self.temporal_norm = MaskedBatchNorm(channels_out)
        self.skip = Skip(channels_in, channels_out, stride)

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Rows]:
        shortcut = self.skip(x, rows)
        x = torch.relu(self.graph_norm(self.graph(x, rows), rows.real, rows.count) + self.graph_skip(x, rows))
        x = self.temporal(x, rows)
        rows = rows.strided(self.stride)
        return torch.relu(self.temporal_norm(x, rows.real, rows.count) + shortcut), rows
