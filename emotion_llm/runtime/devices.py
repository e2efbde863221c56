"""Cores and devices of this process.

environment set by the launcher (torchrun, deepspeed)  ->  threads per process, device, arithmetic
"""

from __future__ import annotations

import logging
import os
import warnings


def share_cores() -> None:
    """Divides the machine's cores among its processes; must run before torch is imported, so the package's __init__ calls it.

    Four processes that each start a thread per core took 3.8-7.5 s for a step that takes 0.3 s with shared cores.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or 1)  # torchrun; deepspeed
    if processes > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def silence_libraries() -> None:
    """Keeps from the user what libraries say to their own developers: deprecations inside them, and that a CPU machine has no GPU."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|transformers|peft|deepspeed)\b.*")
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")  # said of the caller's line, not of torch's
    logging.getLogger("DeepSpeed").addFilter(lambda record: "Setting accelerator to CPU" not in record.getMessage())


def bf16_is_fast_on_cpu() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware; without, bf16 is about a hundred times slower than fp32."""
    import torch

    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
