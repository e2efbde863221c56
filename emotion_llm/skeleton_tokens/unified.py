"""Unified skeleton tokens (UST): one form for motions of any layout and length.

V joints, T' feature frames  ->  a slot for every token, the same for all corpora

A motion has S = 1 + V + T' tokens: 1 semantic, V spatial, T' temporal. Every token has a fixed slot (our choice; the paper gives the
idea, not the order):

    slot 0                           the semantic token
    slots 1 ... V_max                the spatial tokens, joint by joint
    slots V_max+1 ... V_max+T'_max   the temporal tokens, step by step

The slot determines the token's position in the LLM. Empty slots are masked, so only the real tokens are computed (the compact form),
with their slots as position ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass
from torch import Tensor

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import STRICT

SEMANTIC, SPATIAL, TEMPORAL = 0, 1, 2
"""The granularities of skeleton tokens, in the order of their slots."""


@validated_dataclass(frozen=True, config=STRICT)
class Slots:
    """Number of slots of the unified form; saved in checkpoints."""

    spatial: Annotated[int, Field(ge=1)] = 72
    """V_max: the joints of the largest layout, KDAE's 72 nodes (our choice)."""
    temporal: Annotated[int, Field(ge=1)] = 32
    """T'_max: the time steps of the longest window after the encoder's stride (our choice)."""

    @property
    def total(self) -> int:
        """S_max: slots of the unified form."""
        return 1 + self.spatial + self.temporal

    def of_motion(self, joints: int, time_steps: int) -> Tensor:
        """The slots of a motion's tokens: semantic, V spatial, T' temporal.

        Shape:
            V joints, T' feature frames  ->  (S,) int64

        Raises:
            UserError: there are more joints or feature frames than slots.
        """
        if joints > self.spatial:
            raise UserError(f"a motion has {joints} joints but there are {self.spatial} spatial slots; set --slots.spatial {joints}")
        if time_steps > self.temporal:
            raise UserError(
                f"a motion has {time_steps} time steps but there are {self.temporal} temporal slots; set --slots.temporal {time_steps}"
            )
        first_temporal = 1 + self.spatial
        return torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.arange(joints), first_temporal + torch.arange(time_steps)])  # (S,)


@dataclass(frozen=True)
class MotionFeatures:
    """The pooled encoder features of one window, or of a whole clip: the fine-tunes' input."""

    rows: Tensor
    """(S, C + Q) float32: the semantic, V spatial and T' temporal features."""
    joints: int
    time_steps: int
    kept: Tensor | None = None
    """(S,) int64: which of the 1 + V + T' tokens these rows are, ascending; None: all of them."""
    words: str = ""
    """What the prompt says of the movement beside its tokens, or in their place."""

    def __post_init__(self) -> None:
        if len(self.rows) != (1 + self.joints + self.time_steps if self.kept is None else len(self.kept)):
            raise ValueError(f"{len(self.rows)} feature rows for {self.joints} joints and {self.time_steps} time steps")

    def keep(self, tokens: Sequence[int] | Tensor) -> MotionFeatures:
        """Only these tokens, counted among all 1 + V + T'; of those that were removed before, none. The others are masked like empty slots:
        for the LLM they are not there."""
        before = torch.arange(1 + self.joints + self.time_steps) if self.kept is None else self.kept
        chosen = torch.isin(before, torch.as_tensor(tokens, dtype=torch.long))
        return MotionFeatures(self.rows[chosen], self.joints, self.time_steps, before[chosen], self.words)

    def in_slots(self, slots: Slots) -> Tensor:
        """The slot of every row, (S,) int64.

        Raises:
            UserError: there are more joints or feature frames than slots.
        """
        every = slots.of_motion(self.joints, self.time_steps)
        return every if self.kept is None else every[self.kept]

    @property
    def granularities(self) -> Tensor:
        """(S,) int64: SEMANTIC, SPATIAL or TEMPORAL for every row."""
        every = torch.tensor([SEMANTIC] + [SPATIAL] * self.joints + [TEMPORAL] * self.time_steps)
        return every if self.kept is None else every[self.kept]


def whole_motion(windows: Sequence[MotionFeatures]) -> MotionFeatures:
    """The features of a clip that was encoded in windows: as many tokens as one window has, each a mean over all of them. Temporal tokens
    divide the clip, not a window, into T' steps."""
    first = windows[0]
    if len(windows) == 1 or not len(first.rows):
        return first
    rows = torch.stack([window.rows for window in windows])  # (W, 1 + V + T', C + Q)
    temporal = rows[:, 1 + first.joints :].flatten(0, 1).unflatten(0, (first.time_steps, len(windows)))  # (T', W, C + Q)
    return replace(first, rows=torch.cat([rows[:, : 1 + first.joints].mean(0), temporal.mean(1)]))
