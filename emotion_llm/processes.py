"""The processes that work together on one job, whichever launcher started them (deepspeed, torchrun or none).

a value on every process  ->  its sum on every process
"""

from __future__ import annotations

import torch
from torch import Tensor


def process_count() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def process_rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum over all processes, the same on each; comes back on the device it came from."""
    if process_count() == 1:
        return value
    device = torch.device("cuda", torch.cuda.current_device()) if torch.distributed.get_backend() == "nccl" else torch.device("cpu")
    total = value.detach().clone().to(device)
    torch.distributed.all_reduce(total)
    return total.to(value.device)


def gather_over_processes(value: object) -> list:
    """Every process's value, in rank order, on each process."""
    if process_count() == 1:
        return [value]
    values: list = [None] * process_count()
    torch.distributed.all_gather_object(values, value)
    return values
