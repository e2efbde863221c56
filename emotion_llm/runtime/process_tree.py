"""Which processes still live: this machine's, and the launchers above this one.

process id  ->  alive or gone
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

LAUNCHERS = {"deepspeed", "ds", "torchrun", "deepspeed.launcher.runner", "deepspeed.launcher.launch", "torch.distributed.run"}
"""Programs and modules that start one process per device."""


@dataclass(frozen=True)
class Peer:
    """A process of the job."""

    host: str
    pid: int
    machine: str
    """Where `pid` means something: several machines, or containers of one, may go by the same host name."""

    @classmethod
    def this(cls) -> Peer:
        return cls(socket.gethostname(), os.getpid(), _this_machine())

    @property
    def is_gone(self) -> bool:
        """True where the process is known to have ended; of another machine's processes nothing is known."""
        return self.machine == _this_machine() and not is_alive(self.pid)


def _this_machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}, boot {boot}, {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux
        return socket.gethostname()


def launchers() -> tuple[int, ...]:
    """Process ids of the launchers above this process (launch.py and deepspeed, or torchrun); none where it was started by hand."""
    found, pid = [], os.getppid()
    while pid > 1 and _is_launcher(pid):
        found.append(pid)
        pid = _parent(pid)
    return tuple(found)


def _is_launcher(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:4]
    except OSError:
        return False
    return any(word.rpartition("/")[2] in LAUNCHERS for word in words)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs; one that has ended and waits for its parent to notice does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        if Path("/proc/self").exists():
            return False
        try:
            os.kill(pid, 0)  # no /proc on this system
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    return state not in "ZX"
