"""Heartbeats, and what they say about a job that makes no progress.

progress of a process, its main thread's stack  ->  Heartbeat;  heartbeats of all processes  ->  a message that names the slowest
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

RESUME = "run the same command again to resume from the newest checkpoint"
COLLECTIVES = ("/torch/distributed/", "/deepspeed/comm/")
"""Folders of the code that waits for other processes."""
PHASES = ("data", "forward", "backward", "optimizer", "checkpoint", "evaluation")
"""The parts of a step, in order."""


@dataclass(frozen=True, order=True)
class Progress:
    """How far a process has come. Processes that wait for another one have come as far as it, or further."""

    step: int = 0
    micro_step: int = 0
    phase: int = 0
    """Index into PHASES."""

    def __str__(self) -> str:
        return f"step {self.step}, micro-step {self.micro_step}, {PHASES[self.phase]}"


@dataclass(frozen=True)
class Heartbeat:
    """What a process publishes once a second."""

    count: int
    """Increases with every heartbeat."""
    progress: tuple[int, int, int]
    idle_seconds: float
    """Seconds since the main thread last made progress."""
    in_collective: bool
    """True if the main thread waits for other processes."""
    stack: str
    """The main thread's stack, once it has been idle for long."""


def heartbeat_of(count: int, progress: Progress, idle_seconds: float, thread: int | None) -> Heartbeat:
    """The heartbeat of this process.

    Args:
        thread: identifier of the thread whose stack is reported; None: no stack.
    """
    frame = sys._current_frames().get(thread) if thread is not None else None
    stack = traceback.extract_stack(frame) if frame is not None else traceback.StackSummary()
    in_collective = any(folder in line.filename for line in stack for folder in COLLECTIVES)
    place = (progress.step, progress.micro_step, progress.phase)
    return Heartbeat(count, place, idle_seconds, in_collective, "".join(stack.format()[-5:]))


def killed_message(rank: int) -> str:
    return f"error: rank {rank} was killed, by a signal or because the machine ran out of memory; {RESUME}"


def hang_message(heartbeats: Mapping[int, Heartbeat], silent: Mapping[int, float], timeout: float) -> str:
    """Names the ranks that the others wait for, and where they are.

    Args:
        heartbeats: by rank; not needed from ranks that are silent.
        silent: rank -> seconds without a heartbeat: the process is frozen, or its machine is unreachable.
    """
    begin = f"error: no progress for {timeout:g} s (--hang-timeout-seconds); "
    if silent:
        named = ", ".join(f"rank {rank} (no heartbeat for {seconds:.0f} s)" for rank, seconds in sorted(silent.items()))
        return f"{begin}waiting for {named}; {RESUME}"
    # Of two ranks at the same point, the one in a collective is further.
    points = {rank: (Progress(*heartbeat.progress), heartbeat.in_collective) for rank, heartbeat in heartbeats.items()}
    first, last = min(points.values()), max(points.values())
    slowest = sorted(rank for rank, point in points.items() if point == first)
    if first == last and len(points) > 1:
        who = f"all ranks are at {first[0]}; check the network"
    else:
        who = f"waiting for {', '.join(f'rank {rank}' for rank in slowest)} at {first[0]}"
        who += f"; the others are at {last[0]}" if first != last else ""
    stack = heartbeats[slowest[0]].stack
    return f"{begin}{who}" + (f"\nstack of rank {slowest[0]}:\n{stack}" if stack else "; ") + RESUME
