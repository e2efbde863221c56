"""CTR-GCN: graph convolution over adjacency refined per motion, then convolutions over time in four branches.

x (C_in, R, T)  ->  (C_out, R, T')
"""

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from emotion_llm.runtime.validation import STRICT
from emotion_llm.skeleton_encoder.encoder import BlockSettings
from emotion_llm.skeleton_encoder.graph import SUBSETS
from emotion_llm.skeleton_encoder.layers import Block, Rows, pointwise
from emotion_llm.skeleton_encoder.norm import MaskedBatchNorm


@dataclass(frozen=True, config=STRICT)
class CtrGcnSettings(BlockSettings):
    """A network of the CTR-GCN family (our choice; the paper does not specify the encoder)."""

    reduction: Annotated[int, Field(ge=1)] = 8
    """A block of width C compares joints in max(8, C / reduction) channels (our choice: CTR-GCN's)."""
    channels_per_topology: Annotated[int, Field(ge=1)] = 1
    """Neighbouring channels that share one refined adjacency (our choice: 1, as in CTR-GCN)."""
    kind: Literal["ctr-gcn"] = "ctr-gcn"

    @model_validator(mode="after")
    def _check_widths(self) -> Self:
        if any(width % 4 for width in self.widths):
            raise ValueError(f"encoder: widths {self.widths}; each must be a positive multiple of 4 (four temporal branches)")
        if any(width % self.channels_per_topology for width in self.widths):
            given = f"encoder: {self.channels_per_topology} channels per topology"
            raise ValueError(f"{given}; give a number that divides the widths {self.widths}")
        return self

    def block(self, channels_in: int, channels_out: int, stride: int) -> Block:
        graph = GraphConvolution(channels_in, channels_out, self.reduction, self.channels_per_topology)
        return Block(channels_in, channels_out, stride, graph, TemporalConvolution(channels_out, stride))


class GraphConvolution(nn.Module):
    """Each joint aggregates its neighbours with an adjacency that is refined per motion and per group of channels (CTR-GC).

        topology[k, c] = adjacency[k] + strength[k] * refine_k[c] . tanh(query_k(x)[v] - key_k(x)[u])
        y[c, v] = sum over k, u of topology[k, c][v, u] * value_k(x)[c, u]

    Query and key are linear, so they are computed from the mean over time instead of being averaged over time: T times cheaper.

    Shape:
        x (C_in, R, T)  ->  (C_out, R, T)
    """

    def __init__(self, channels_in: int, channels_out: int, reduction: int, channels_per_topology: int) -> None:
        super().__init__()
        self.compared = max(8, channels_out // reduction)
        self.sharing = channels_per_topology
        self.query = nn.Linear(channels_in, SUBSETS * self.compared)
        self.key = nn.Linear(channels_in, SUBSETS * self.compared)
        self.value = pointwise(channels_in, SUBSETS * channels_out)
        self.refine = nn.Parameter(torch.randn(SUBSETS, channels_out // self.sharing, self.compared) / self.compared**0.5)
        self.strength = nn.Parameter(torch.zeros(SUBSETS))

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        sizes = [group.size for group in rows.groups]
        values = self.value(x[None])[0].unflatten(0, (SUBSETS, -1)).split(sizes, dim=2)  # (K, C, N * V, T) per layout
        mean = (x.sum(-1) / rows.real.sum(-1)).T  # (R, C_in)
        queries, keys = (part(mean).T.unflatten(0, (SUBSETS, -1)).split(sizes, dim=2) for part in (self.query, self.key))
        # The adjacency is one more compared channel of weight 1: this saves a pass over all topologies to add it.
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
        """topology (K, G * N, V, V), value (K, C, N * V, T)  ->  (C, N * V, T); the channels of a group lie next to its frames."""
        frames = value.shape[-1]
        value = value.reshape(SUBSETS, -1, self.sharing, value.shape[2] // joints, joints, frames)  # (K, G, C / G, N, V, T)
        value = value.permute(0, 1, 3, 4, 2, 5).reshape(*topology.shape[:3], -1)  # (K, G * N, V, C / G * T)
        # Summing after the product costs no time and 1 % more memory than accumulating the subsets in place (measured on CPU).
        y = (topology @ value).sum(0)  # (G * N, V, C / G * T)
        y = y.view(self.refine.shape[1], -1, joints, self.sharing, frames)  # (G, N, V, C / G, T)
        return y.permute(0, 3, 1, 2, 4).reshape(self.refine.shape[1] * self.sharing, -1, frames)  # (C, N * V, T)


class TemporalConvolution(nn.Module):
    """Four branches over time: kernel 5, kernel 5 with dilation 2, the maximum of 3 frames, identity.

    Shape:
        x (C, R, T), zero at padding, not negative  ->  (C, R, ceil(T / stride))
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, quarter = stride, channels // 4
        self.mix = pointwise(channels, channels)
        self.mix_norm = MaskedBatchNorm(channels)
        self.near = nn.Conv2d(quarter, quarter, (1, 5), stride=(1, stride), padding=(0, 2), bias=False)
        self.far = nn.Conv2d(quarter, quarter, (1, 5), stride=(1, stride), padding=(0, 4), dilation=(1, 2), bias=False)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        x = torch.relu(self.mix_norm(self.mix(x[None])[0], rows.real, rows.count))
        near, far, highest, same = x[None].chunk(4, dim=1)
        # After relu nothing is negative, so zero padding cannot exceed the maximum.
        highest = F.max_pool2d(highest, (1, 3), stride=(1, self.stride), padding=(0, 1))
        x = torch.cat([self.near(near), self.far(far), highest, same[..., :: self.stride]], dim=1)[0]
        return x * rows.strided(self.stride).real  # the kernel reaches from real frames into padding
