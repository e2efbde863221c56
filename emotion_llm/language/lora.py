"""A LoRA layer's training pass with fewer walks through memory.

activations  ->  frozen map + scale * (B A noise(activations)), the scale and the sum inside one matrix product
"""

from __future__ import annotations

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn


class LoraLinear(Linear):
    """PEFT's LoRA layer. In training, PEFT multiplies the adapter's output by its scale, then adds it to the frozen one: two walks more
    through activations of full width, and a third in the backward pass. A matrix product does both on its way. Elsewhere PEFT's own pass.

    Shape:
        (..., in) -> (..., out)
    """

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        names = self.active_adapters
        if not self.training or self.disable_adapters or self.merged or len(names) != 1 or x.dtype != self.lora_A[names[0]].weight.dtype:
            return super().forward(x, *args, **kwargs)
        name = names[0]
        frozen = self.base_layer(x)  # (..., out)
        low = self.lora_A[name](self.lora_dropout[name](x))  # (..., rank)
        up = self.lora_B[name].weight.t()  # (rank, out)
        return torch.addmm(frozen.flatten(0, -2), low.flatten(0, -2), up, alpha=self.scaling[name]).view_as(frozen)


def use_quick_layers(adapted: nn.Module) -> None:
    """Gives a PEFT model's plain LoRA layers the pass above; weights and names stay as they are."""
    for module in adapted.modules():
        if type(module) is Linear and not module.lora_variant:
            module.__class__ = LoraLinear
