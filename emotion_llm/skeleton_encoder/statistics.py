"""Measures of a window's movement: the short ways past the network (our choice).

positions (N, T, V, 3), frame_mask (N, T)  ->  movement statistics (9, N, V)  ->  standardised, one linear map per joint  ->  (N, C, V)
windows (T, V, 3)                          ->  kinematic descriptors (N, Q)   ->  standardised, one linear map            ->  (N, C)

On few clips linear models of such measures generalise better to unseen people than a convolutional network does: statistics know every
joint, descriptors are alike for all bodies and layouts. The encoder adds all three, and each learns to name the emotion alone
(pretraining/model.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from emotion_llm.kinematics.descriptors import DESCRIPTORS, describe
from emotion_llm.motion.layout import Layout
from emotion_llm.motion.motion import Motion

STATISTICS = 9
"""Mean direction of the bone that ends in the joint (3), logarithms of its standard deviation (3), of the joint's mean speed, of the
speed's standard deviation, and of the mean acceleration."""
SHORTEST_BONE = 1e-3
"""Metres; the direction of a shorter bone is noise."""
FLOORS = (0.01, 0.02, 0.2)
"""Added before the logarithm: to directions (no unit), speeds (m/s), accelerations (m/s²)."""
SMALLEST_STD, FARTHEST = 0.05, 4.0
"""Lower bound of the statistics' standard deviation over the training windows; standardised values are clamped to ± FARTHEST."""
SMALLEST_DESCRIPTOR_STD = 1e-3
"""The same for the descriptors: a thousandth of a body height, of a degree, of a step per minute."""


def movement_statistics(positions: Tensor, frame_mask: Tensor, parents: Sequence[int], frames_per_second: float) -> Tensor:
    """Directions do not depend on a body's size, logarithms make speeds of all people alike in scale, and all are means over time, which
    noise hardly moves.

    Shape:
        positions (N, T, V, 3) metres, frame_mask (N, T)  ->  (9, N, V)
    """
    parent = torch.tensor([joint if above < 0 else above for joint, above in enumerate(parents)], device=positions.device)
    bones = positions - positions[:, :, parent]
    directions = bones / torch.linalg.vector_norm(bones, dim=-1, keepdim=True).clamp(min=SHORTEST_BONE)  # (N, T, V, 3)
    velocity = positions.diff(dim=1) * frames_per_second  # (N, T - 1, V, 3)
    speed = torch.linalg.vector_norm(velocity, dim=-1)  # (N, T - 1, V)
    acceleration = torch.linalg.vector_norm(velocity.diff(dim=1), dim=-1) * frames_per_second  # (N, T - 2, V)
    mean, deviation = _moments(directions, frame_mask)  # (N, V, 3) each
    mean_speed, speed_deviation = _moments(speed, frame_mask[:, 1:])  # (N, V) each
    mean_acceleration, _ = _moments(acceleration, frame_mask[:, 2:])
    of_direction, of_speed, of_acceleration = FLOORS
    logarithms = [mean_speed + of_speed, speed_deviation + of_speed, mean_acceleration + of_acceleration]
    return torch.cat([mean.movedim(-1, 0), (deviation + of_direction).log().movedim(-1, 0), torch.stack(logarithms).log()])  # (9, N, V)


def _moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over real frames; 0 where there is none.

    Shape:
        values (N, T, ...), mask (N, T)  ->  (N, ...), (N, ...)
    """
    weight = mask.to(values.dtype).view(*mask.shape, *[1] * (values.ndim - 2))
    count = weight.sum(1).clamp(min=1)
    mean = (values * weight).sum(1) / count
    return mean, (((values - mean[:, None]).square() * weight).sum(1) / count).sqrt()


class StatisticsMap(nn.Module):
    """Standardises the statistics of every joint of every layout and maps them to C channels. The map begins at zero.

    Shape:
        (9, N, V) of one layout  ->  (N, C, V)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layouts: Sequence[Layout], width: int) -> None:
        super().__init__()
        self.sizes = [layout.joints for layout in layouts]
        # One tensor for all layouts: every process has a gradient for it, whatever layouts are in its part of a batch.
        self.weight = nn.Parameter(torch.zeros(sum(self.sizes), width, STATISTICS))
        self.register_buffer("mean", torch.zeros(STATISTICS, sum(self.sizes)))
        self.register_buffer("std", torch.ones(STATISTICS, sum(self.sizes)))

    def forward(self, statistics: Tensor, layout: int) -> Tensor:
        joints = self.joints(layout)
        standard = (statistics - self.mean[:, None, joints]) / self.std[:, None, joints]
        mapped = torch.einsum("fnv,vcf->ncv", standard.clamp(-FARTHEST, FARTHEST), self.weight[joints])
        return mapped * self.sizes[layout] ** 0.5  # the mean over the joints then learns as fast in every layout

    @torch.no_grad()
    def set_statistics(self, layout: int, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation over the training windows of a layout, (9, V) each."""
        self.mean[:, self.joints(layout)] = mean.float()
        self.std[:, self.joints(layout)] = std.float().clamp(min=SMALLEST_STD)

    def joints(self, layout: int) -> slice:
        """The rows of a layout's joints."""
        begin = sum(self.sizes[:layout])
        return slice(begin, begin + self.sizes[layout])


def describe_windows(windows: Sequence[np.ndarray], layouts: Sequence[Layout], frames_per_second: float) -> Tensor:
    """The kinematic descriptors of N windows, each of its own layout.

    Shape:
        N arrays (T, V or more, 3) metres  ->  (N, Q) float32, Q = len(DESCRIPTORS)
    """
    motions = (Motion(layout, window[:, : layout.joints], frames_per_second) for window, layout in zip(windows, layouts, strict=True))
    return torch.from_numpy(np.stack([describe(motion) for motion in motions])).float()


class DescriptorsMap(nn.Module):
    """Standardises the descriptors within each layout and maps them to C channels: one map for all layouts, so what one corpus teaches
    holds for all. The map begins at zero.

    Shape:
        standardised descriptors (N, Q)  ->  (N, C)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layouts: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, len(DESCRIPTORS)))
        self.register_buffer("mean", torch.zeros(layouts, len(DESCRIPTORS)))
        self.register_buffer("std", torch.ones(layouts, len(DESCRIPTORS)))

    def standardise(self, descriptors: Tensor, layout_index: Tensor) -> Tensor:
        """By mean and standard deviation of the layout's training windows, clamped.

        Shape:
            descriptors (N, Q), layout_index (N,)  ->  (N, Q)
        """
        index = layout_index.to(self.mean.device)
        return ((descriptors - self.mean[index]) / self.std[index]).clamp(-FARTHEST, FARTHEST)

    def forward(self, standard: Tensor) -> Tensor:
        return standard @ self.weight.T

    @torch.no_grad()
    def set_statistics(self, layout: int, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation over the training windows of a layout, (Q,) each."""
        self.mean[layout] = mean.float()
        self.std[layout] = std.float().clamp(min=SMALLEST_DESCRIPTOR_STD)
