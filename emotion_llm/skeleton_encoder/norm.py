"""Batch normalisation over real positions only.

x (C, R, T), zero at padding  ->  normalised (C, R, T), zero at padding

torch.nn.BatchNorm2d counts padded positions as data. This is one autograd function because, composed of torch operations, a training
step of the encoder takes 8 % longer (measured on CPU) and keeps one more copy of x per layer.
"""

import torch
from torch import Tensor, nn

EPSILON = 1e-5
MOMENTUM = 0.1  # Weight of a new batch in the running statistics (torch's default)


class _MaskedNormalisation(torch.autograd.Function):
    """y = (weight * (x - mean) / sqrt(variance + EPSILON) + bias) * real."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, real: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        flat = x.flatten(1)  # (C, R * T)
        mean = flat.sum(1) / count  # padding is zero and adds nothing to the sums
        variance = (torch.linalg.vecdot(flat, flat) / count - mean.square()).clamp(min=0)
        inverse = torch.rsqrt(variance + EPSILON)
        scale = weight * inverse
        y = torch.addcmul((bias - mean * scale)[:, None, None], x, scale[:, None, None]).mul_(real)  # (C, R, T)
        ctx.save_for_backward(x, weight, mean, inverse, real, count)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, real, count = ctx.saved_tensors
        gradient = gradient * real
        to_bias = gradient.sum((1, 2))
        to_weight = (torch.linalg.vecdot(gradient.flatten(1), x.flatten(1)) - mean * to_bias) * inverse
        a = weight * inverse
        b = -a * inverse * to_weight / count
        c = -a * to_bias / count - b * mean
        to_x = torch.addcmul(c[:, None, None], x, b[:, None, None])
        to_x = to_x.addcmul_(gradient, a[:, None, None]).mul_(real)  # (C, R, T)
        return to_x, to_weight, to_bias, None, None


class MaskedBatchNorm(nn.Module):
    """Batch norm over the real positions of (C, R, T); R counts the joints of all samples.

    Shape:
        x (C, R, T), zero at padding; real (R, T) float, 1 = real; count () number of ones  ->  (C, R, T), zero at padding
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_variance", torch.ones(channels))

    def forward(self, x: Tensor, real: Tensor, count: Tensor) -> Tensor:
        if not self.training:
            scale = self.weight * torch.rsqrt(self.running_variance + EPSILON)
            shift = self.bias - self.running_mean * scale
            return torch.addcmul(shift[:, None, None], x, scale[:, None, None]) * real
        y, mean, variance = _MaskedNormalisation.apply(x, self.weight, self.bias, real, count)
        with torch.no_grad():
            self.running_mean.lerp_(mean, MOMENTUM)
            self.running_variance.lerp_(variance * count / (count - 1).clamp(min=1), MOMENTUM)
        return y


def running_statistics(model: nn.Module) -> Tensor:
    """(statistics,) running means and variances of all batch norms of a model, concatenated."""
    return torch.cat(_statistics(model))


@torch.no_grad()
def set_running_statistics(model: nn.Module, values: Tensor) -> None:
    """Sets what `running_statistics` returns."""
    buffers = _statistics(model)
    for buffer, value in zip(buffers, values.split([len(buffer) for buffer in buffers]), strict=True):
        buffer.copy_(value)


def _statistics(model: nn.Module) -> list[Tensor]:
    norms = [module for module in model.modules() if isinstance(module, MaskedBatchNorm)]
    return [buffer for norm in norms for buffer in (norm.running_mean, norm.running_variance)]
