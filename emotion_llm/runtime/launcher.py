"""What this process knows about its job without asking anyone: its rank, and which processes are alive.

environment, process table  ->  rank, launchers, alive or not

Imports no torch, so that tools that compute nothing start quickly.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

LAUNCHERS = {"deepspeed", "ds", "torchrun", "deepspeed.launcher.runner", "deepspeed.launcher.launch", "torch.distributed.run"}
"""Programs and modules that start one process per device."""


def is_first_rank() -> bool:
    """True in the one process that prints and writes, before and after the processes have joined (every launcher sets RANK)."""
    return int(os.environ.get("RANK", "0")) == 0


@dataclass(frozen=True)
class Peer:
    """A process of the job."""

    host: str
    pid: int
    machine: str  # The scope of `pid`: several machines, or containers on one machine, may share a host name

    @classmethod
    def this(cls) -> Self:
        return cls(socket.gethostname(), os.getpid(), _this_machine())

    @property
    def is_gone(self) -> bool:
        """True if the process is known to have ended; nothing is known about processes of other machines."""
        return self.machine == _this_machine() and not is_alive(self.pid)


def _this_machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()}, boot {boot}, {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return socket.gethostname()


def launchers() -> tuple[int, ...]:
    """Process ids of the launchers above this process (launch.py and deepspeed, or torchrun); empty if it was started by hand."""
    found = []
    for parent in psutil.Process().parents():
        try:
            words = parent.cmdline()[:4]
        except psutil.Error:
            break
        if not any(word.rpartition("/")[2] in LAUNCHERS for word in words):
            break
        found.append(parent.pid)
    return tuple(found)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs. A zombie, which has ended but was not yet waited for, does not."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
