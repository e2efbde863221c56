"""ST-GCN: graph convolution over fixed adjacency, then one convolution over time.

x (C_in, R, T)  ->  (C_out, R, T')
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from emotion_llm.runtime.validation import STRICT
from emotion_llm.skeleton_encoder.encoder import BlockSettings
from emotion_llm.skeleton_encoder.graph import SUBSETS
from emotion_llm.skeleton_encoder.layers import Block, Rows, pointwise


@dataclass(frozen=True, config=STRICT)
class StGcnSettings(BlockSettings):
    """ST-GCN without learned edge weights, which would belong to one layout."""

    kernel: Annotated[int, Field(ge=1, le=99)] = 9  # Frames of the temporal convolution; odd (ST-GCN's default)
    kind: Literal["st-gcn"] = "st-gcn"

    def block(self, channels_in: int, channels_out: int, stride: int) -> Block:
        temporal = FrameConvolution(channels_out, stride, self.kernel)
        return Block(channels_in, channels_out, stride, FixedGraphConvolution(channels_in, channels_out), temporal)


class FixedGraphConvolution(nn.Module):
    """Shape:
    x (C_in, R, T)  ->  (C_out, R, T)
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.value = pointwise(channels_in, SUBSETS * channels_out)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        values = self.value(x[None])[0].unflatten(0, (SUBSETS, -1)).split([group.size for group in rows.groups], dim=2)
        gathered = [
            torch.einsum("kvu,kcnut->cnvt", group.adjacency, value.unflatten(2, (-1, group.joints))).flatten(1, 2)
            for group, value in zip(rows.groups, values, strict=True)
        ]
        return torch.cat(gathered, dim=1)  # (C_out, R, T)


class FrameConvolution(nn.Module):
    """Shape:
    x (C, R, T), zero at padding  ->  (C, R, ceil(T / stride)), zero at padding
    """

    def __init__(self, channels: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.stride = stride
        self.convolution = nn.Conv2d(channels, channels, (1, kernel), stride=(1, stride), padding=(0, kernel // 2), bias=False)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        return self.convolution(x[None])[0] * rows.strided(self.stride).real
