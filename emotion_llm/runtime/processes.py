"""The processes that work together on one job, whichever launcher started them (deepspeed, torchrun or none).

a value on every process  ->  its sum on every process
"""

from __future__ import annotations

import os
import socket

import torch
from torch import Tensor

from emotion_llm.runtime.process_tree import Peer
from emotion_llm.runtime.watchdog import Watchdog, current, set_current


def process_count() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def process_rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def get_watchdog() -> Watchdog:
    """Starts this process's watch over the others, where it is not kept already. Every process must call it."""
    watch = current()
    if watch is not None and watch.peers[watch.rank] == Peer.this():  # a forked child needs a watch of its own
        return watch
    rank, peers = process_rank(), gather_over_processes(Peer.this())
    if len(peers) == 1:
        return set_current(Watchdog(torch.distributed.HashStore(), rank, peers))
    host = os.environ["MASTER_ADDR"]
    store = torch.distributed.TCPStore(host, 0, is_master=True, wait_for_workers=False) if rank == 0 else None
    port = gather_over_processes(None if store is None else store.port)[0]
    return set_current(Watchdog(store or torch.distributed.TCPStore(host, port, is_master=False), rank, peers))


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
