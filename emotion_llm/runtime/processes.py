"""The processes of a job, under any launcher (deepspeed, torchrun or none).

environment set by the launcher  ->  process group, device of this process;  a value per process  ->  sums and lists
"""

import os
import socket
from datetime import timedelta

import torch
from torch import Tensor

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.launcher import Peer
from emotion_llm.runtime.watchdog import Watchdog, current, set_current

COLLECTIVE_TIMEOUT = timedelta(minutes=30)
DEEPSPEED_PORT = "29500"  # The deepspeed launcher's default --master_port, the same for every job


def start_processes() -> torch.device:
    """Joins this process to the others of its launcher, or starts it alone, and returns its device. May be called again.

    Raises:
        UserError: the port is in use, or there are fewer GPUs than processes.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or 1)  # torchrun; deepspeed
    device = torch.device("cpu")
    if torch.cuda.is_available():
        if local_rank >= (gpus := torch.cuda.device_count()):
            raise UserError(f"process {local_rank} has no GPU: this machine has {gpus}; start at most {gpus} processes")
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    if local_processes > 1 and "OMP_NUM_THREADS" not in os.environ:
        # A thread per core in each of four processes made a step take 3.8-7.5 s instead of 0.3 s.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_processes))
    if not torch.distributed.is_initialized():
        _join("nccl" if device.type == "cuda" else "gloo")
    get_watchdog()
    return device


def _join(backend: str) -> None:
    if "RANK" not in os.environ:  # no launcher: needs no port
        torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
        return
    if os.environ.get("MASTER_PORT") == DEEPSPEED_PORT and os.environ.get("LOCAL_SIZE") == os.environ["WORLD_SIZE"]:
        # All ranks are children of one deepspeed launcher, so they agree on a port that two jobs of a machine do not share.
        os.environ["MASTER_PORT"] = str(10_000 + os.getppid() % 20_000)
    try:
        torch.distributed.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
    except torch.distributed.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise UserError(
            f"port {os.environ['MASTER_PORT']} of this machine is in use: another job runs here, or the last one is still saving; "
            "wait for it, or give the launcher another port (--master_port)"
        ) from None


def process_count() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def process_rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get_watchdog() -> Watchdog:
    """This process's watchdog, started at the first call. Every process must call it."""
    watch = current()
    if watch is not None and watch.peers[watch.rank] == Peer.this():  # a forked child needs its own
        return watch
    rank, peers = process_rank(), gather_over_processes(Peer.this())
    if len(peers) == 1:
        return set_current(Watchdog(torch.distributed.HashStore(), rank, peers))
    host = os.environ["MASTER_ADDR"]
    store = torch.distributed.TCPStore(host, 0, is_master=True, wait_for_workers=False) if rank == 0 else None
    port = gather_over_processes(None if store is None else store.port)[0]
    return set_current(Watchdog(store or torch.distributed.TCPStore(host, port, is_master=False), rank, peers))


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum over all processes, on the device of `value`."""
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


def bf16_is_fast_on_cpu() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware; without, bf16 is about a hundred times slower than fp32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def evaluation_dtype(device: torch.device) -> torch.dtype:
    """The dtype of evaluation and prediction: bf16 where the device is fast at it, else fp32."""
    return torch.bfloat16 if device.type == "cuda" or bf16_is_fast_on_cpu() else torch.float32
