"""Unified skeleton tokens (UST): one common form for motions of any layout and length.

V joints, T' time steps  ->  a canonical slot for every token, the same for all corpora

A motion has 1 semantic + V spatial + T' temporal tokens. Every token has a fixed slot (our choice; the paper gives the idea,
not the order):

    slot 0                           the semantic token
    slots 1 ... V_max                the spatial tokens, joint by joint
    slots V_max+1 ... V_max+T'_max   the temporal tokens, step by step

The slot is the token's position in the LLM. An empty slot is masked; because a masked slot changes nothing, only the real tokens
are ever computed (the compact form), with their slots as position ids.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from emotion_llm.runtime.errors import UserError

SEMANTIC, SPATIAL, TEMPORAL = 0, 1, 2
"""The granularities of skeleton tokens, in the order of their slots."""


@dataclass(frozen=True)
class Slots:
    """How many slots the unified form has; part of what a checkpoint was trained with."""

    spatial: int = 72
    """V_max: the joints of the largest layout, KDAE's 72 nodes (our choice)."""
    temporal: int = 32
    """T'_max: the time steps of the longest window after the encoder's stride (our choice)."""

    def __post_init__(self) -> None:
        if self.spatial < 1 or self.temporal < 1:
            raise UserError(f"slots: spatial {self.spatial} and temporal {self.temporal}: each must be at least 1")

    @property
    def total(self) -> int:
        """S_max: slots of the unified form."""
        return 1 + self.spatial + self.temporal

    def of_motion(self, joints: int, time_steps: int) -> Tensor:
        """The slots of a motion's tokens in their order: semantic, V spatial, T' temporal.

        Shape: (1 + V + T',) int64

        Raises:
            UserError: more joints or time steps than there are slots.
        """
        if joints > self.spatial:
            raise UserError(f"a motion has {joints} joints but there are {self.spatial} spatial slots; set --slots.spatial {joints}")
        if time_steps > self.temporal:
            raise UserError(
                f"a motion has {time_steps} time steps but there are {self.temporal} temporal slots; set --slots.temporal {time_steps}"
            )
        first_temporal = 1 + self.spatial
        return torch.cat(
            [torch.zeros(1, dtype=torch.long), 1 + torch.arange(joints), first_temporal + torch.arange(time_steps)]
        )  # (1 + V + T',)


@dataclass(frozen=True)
class MotionFeatures:
    """The pooled encoder features of one window of motion: what the fine-tunes know of it."""

    rows: Tensor
    """(1 + V + T', C) float32: the semantic, V spatial and T' temporal features."""
    joints: int
    time_steps: int

    def __post_init__(self) -> None:
        if len(self.rows) != 1 + self.joints + self.time_steps:
            raise ValueError(f"{len(self.rows)} feature rows for {self.joints} joints and {self.time_steps} time steps")

    @property
    def granularities(self) -> Tensor:
        """(1 + V + T',) int64: SEMANTIC, SPATIAL or TEMPORAL for every row."""
        return torch.tensor([SEMANTIC] + [SPATIAL] * self.joints + [TEMPORAL] * self.time_steps)
