"""What this machine computes quickly.

device  ->  dtype
"""

from __future__ import annotations

import torch


def bf16_is_fast_on_cpu() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware; without, bf16 is about a hundred times slower than fp32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def evaluation_dtype(device: torch.device) -> torch.dtype:
    """The dtype of evaluation and prediction: bf16 where the device is fast at it, else fp32."""
    return torch.bfloat16 if device.type == "cuda" or bf16_is_fast_on_cpu() else torch.float32
