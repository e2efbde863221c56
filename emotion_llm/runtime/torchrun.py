"""The processes of plain DDP.

environment set by torchrun, or nothing  ->  this process's device
"""

from __future__ import annotations

import os

import torch

from emotion_llm.runtime.errors import UserError


def start_torchrun_processes() -> torch.device:
    """Joins this process to the others that torchrun started; alone without torchrun.

    Raises:
        UserError: more processes than GPUs, where there are GPUs.
    """
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs that have it; no change on a CPU
    if "RANK" not in os.environ:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device("cpu")
    if torch.cuda.is_available():
        local, present = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= present:
            raise UserError(f"process {local} has no GPU: this machine has {present}; start torchrun --nproc_per_node {present}")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device
