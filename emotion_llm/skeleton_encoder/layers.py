"""Layers of the skeleton encoder.

x (C_in, R, T), zero at padded frames  ->  (C_out, R, T'), zero at padded frames

R counts the rows of a batch: every joint of every motion, layout after layout. A temporal convolution works on rows and needs no
layout; a graph convolution works on the rows of one layout at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotion_llm.skeleton_encoder.graph import SUBSETS
from emotion_llm.skeleton_encoder.norm import MaskedBatchNorm


@dataclass(frozen=True)
class Group:
    """The rows of one layout in (C, R, T)."""

    layout: int
    samples: Tensor
    """Indices of its motions in the batch."""
    size: int
    """Its rows: samples times joints. The groups follow one another in R."""
    joints: int
    adjacency: Tensor
    """(K, V, V)."""


@dataclass(frozen=True)
class Rows:
    """Where everything lies in (C, R, T)."""

    groups: tuple[Group, ...]
    real: Tensor
    """(R, T) float, 1 = real."""
    count: Tensor
    """() number of real positions."""

    def strided(self, stride: int) -> Rows:
        """The same rows after a temporal convolution of that stride."""
        if stride == 1:
            return self
        real = self.real[:, ::stride].contiguous()
        return replace(self, real=real, count=real.sum())


def _pointwise(channels_in: int, channels_out: int, bias: bool = False) -> nn.Conv2d:
    """A 1x1 convolution of (1, C, R, T). No bias before a batch norm: it would be subtracted again, and padding stays zero."""
    return nn.Conv2d(channels_in, channels_out, kernel_size=1, bias=bias)


class GraphConvolution(nn.Module):
    """Every joint gathers from its neighbours along topologies that each motion refines, group of channels by group (CTR-GC).

        topology[k, c] = adjacency[k] + strength[k] * refine_k[c] . tanh(query_k(x)[v] - key_k(x)[u])
        y[c, v] = sum over k, u of topology[k, c][v, u] * value_k(x)[c, u]

    Query and key look at the mean over time. They are taken of the mean, not averaged afterwards: the same, and T times cheaper.

    Shape:
        x: (C_in, R, T)  ->  (C_out, R, T)
    """

    def __init__(self, channels_in: int, channels_out: int, reduction: int, channels_per_topology: int) -> None:
        super().__init__()
        self.compared = max(8, channels_out // reduction)
        self.sharing = channels_per_topology
        self.query = nn.Linear(channels_in, SUBSETS * self.compared)
        self.key = nn.Linear(channels_in, SUBSETS * self.compared)
        self.value = _pointwise(channels_in, SUBSETS * channels_out)
        self.refine = nn.Parameter(torch.randn(SUBSETS, channels_out // self.sharing, self.compared) / self.compared**0.5)
        self.strength = nn.Parameter(torch.zeros(SUBSETS))

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        sizes = [group.size for group in rows.groups]
        values = self.value(x[None])[0].unflatten(0, (SUBSETS, -1)).split(sizes, dim=2)  # (K, C, N * V, T) per layout
        mean = (x.sum(-1) / rows.real.sum(-1)).T  # (R, C_in)
        queries, keys = (part(mean).T.unflatten(0, (SUBSETS, -1)).split(sizes, dim=2) for part in (self.query, self.key))
        # The adjacency rides along as one more compared channel of weight 1: no pass over all topologies to add it.
        weights = torch.cat([self.strength[:, None, None] * self.refine, self.refine.new_ones(*self.refine.shape[:2], 1)], dim=2)
        gathered = []
        for group, value, query, key in zip(rows.groups, values, queries, keys, strict=True):
            query, key = (part.unflatten(2, (-1, group.joints)) for part in (query, key))  # (K, compared, N, V)
            compared = torch.tanh(query[..., :, None] - key[..., None, :])  # (K, compared, N, V, V)
            adjacency = group.adjacency[:, None, None].expand(-1, 1, *compared.shape[2:])
            topology = torch.bmm(weights, torch.cat([compared, adjacency], dim=1).flatten(2))  # (K, G, N * V * V); G groups of channels
            gathered.append(self._gather(topology.view(SUBSETS, -1, group.joints, group.joints), value, group.joints))
        return torch.cat(gathered, dim=1) if len(gathered) > 1 else gathered[0]  # (C, R, T)

    def _gather(self, topology: Tensor, value: Tensor, joints: int) -> Tensor:
        """topology (K, G * N, V, V), value (K, C, N * V, T)  ->  (C, N * V, T); the channels of a group stand beside its frames."""
        frames = value.shape[-1]
        value = value.reshape(SUBSETS, -1, self.sharing, value.shape[2] // joints, joints, frames)  # (K, G, C / G, N, V, T)
        value = value.permute(0, 1, 3, 4, 2, 5).reshape(*topology.shape[:3], -1)  # (K, G * N, V, C / G * T)
        y = _SumOfProducts.apply(topology, value)  # (G * N, V, C / G * T)
        y = y.view(self.refine.shape[1], -1, joints, self.sharing, frames)  # (G, N, V, C / G, T)
        return y.permute(0, 3, 1, 2, 4).reshape(self.refine.shape[1] * self.sharing, -1, frames)  # (C, N * V, T)


class _SumOfProducts(torch.autograd.Function):
    """a (K, B, V, U), b (K, B, U, T)  ->  sum over k of a[k] @ b[k] (B, V, T), without a copy per subset there and back."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        y = torch.bmm(a[0], b[0])
        for k in range(1, len(a)):
            y.baddbmm_(a[k], b[k])
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_a, to_b = torch.empty_like(a), torch.empty_like(b)
        for k in range(len(a)):
            torch.bmm(gradient, b[k].mT, out=to_a[k])
            torch.bmm(a[k].mT, gradient, out=to_b[k])
        return to_a, to_b


class TemporalConvolution(nn.Module):
    """Four branches over time: five frames, five frames two apart, the maximum of three frames, the frame itself.

    Shape:
        x: (C, R, T), zero at padding and nowhere negative  ->  (C, R, ceil(T / stride))
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, quarter = stride, channels // 4
        self.mix = _pointwise(channels, channels)
        self.mix_norm = MaskedBatchNorm(channels)
        self.near = nn.Conv2d(quarter, quarter, (1, 5), stride=(1, stride), padding=(0, 2), bias=False)
        self.far = nn.Conv2d(quarter, quarter, (1, 5), stride=(1, stride), padding=(0, 4), dilation=(1, 2), bias=False)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        x = torch.relu(self.mix_norm(self.mix(x[None])[0], rows.real, rows.count))
        near, far, highest, same = x[None].chunk(4, dim=1)
        # Nothing is negative after relu, so the zeros of padding cannot win a maximum that -inf would lose.
        highest = F.max_pool2d(highest, (1, 3), stride=(1, self.stride), padding=(0, 1))
        x = torch.cat([self.near(near), self.far(far), highest, same[..., :: self.stride]], dim=1)[0]
        return x * rows.strided(self.stride).real  # the first padded frames have seen real ones


class _Skip(nn.Module):
    """The shortcut around a layer: x itself, or projected where width or stride change."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.project = None
        if (channels_in, stride) != (channels_out, 1):
            self.project = _pointwise(channels_in, channels_out)
            self.norm = MaskedBatchNorm(channels_out)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        if self.project is None:
            return x
        rows = rows.strided(self.stride)
        return self.norm(self.project(x[None, ..., :: self.stride])[0], rows.real, rows.count)


class Block(nn.Module):
    """Graph convolution over joints, then temporal convolution over frames, each with its shortcut.

    Shape:
        x: (C_in, R, T)  ->  (C_out, R, ceil(T / stride))
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, reduction: int, channels_per_topology: int) -> None:
        super().__init__()
        self.stride = stride
        self.graph = GraphConvolution(channels_in, channels_out, reduction, channels_per_topology)
        self.graph_norm = MaskedBatchNorm(channels_out)
        self.graph_skip = _Skip(channels_in, channels_out, stride=1)
        self.temporal = TemporalConvolution(channels_out, stride)
        self.temporal_norm = MaskedBatchNorm(channels_out)
        self.skip = _Skip(channels_in, channels_out, stride)

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Rows]:
        shortcut = self.skip(x, rows)
        x = torch.relu(self.graph_norm(self.graph(x, rows), rows.real, rows.count) + self.graph_skip(x, rows))
        x = self.temporal(x, rows)
        rows = rows.strided(self.stride)
        return torch.relu(self.temporal_norm(x, rows.real, rows.count) + shortcut), rows
