"""Where a step's time goes, and how much of the device's arithmetic it uses.

phases of a step  ->  seconds each;  useful operations, seconds, measured matrix peak  ->  MFU
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PHASES = ("data", "forward", "backward", "optimizer")
PEAK_SECONDS = 0.3
"""How long the matrix peak is measured, at the start of a run."""


class StepClock:
    """Seconds of one step, in all and per phase. A GPU is waited for at each phase's end, so that its work falls where it belongs."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begin = time.perf_counter()
        self.phases = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time inside to one of PHASES."""
        begin = time.perf_counter()
        yield
        finish(self._device)
        self.phases[name] += time.perf_counter() - begin

    @property
    def seconds(self) -> float:
        """Since the step began."""
        return time.perf_counter() - self._begin


def finish(device: torch.device) -> None:
    """Waits until the device has done what it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_peak(device: torch.device, dtype: torch.dtype, seconds: float = PEAK_SECONDS) -> float:
    """Operations per second of a large matrix product on the device, the best of several: the ceiling that MFU is a share of.

    Measured, not read from a data sheet: a CPU's depends on threads and neighbours, a GPU's on power and cooling.
    """
    side = 8192 if device.type == "cuda" else 1024
    noise = torch.Generator(device).manual_seed(0)  # of its own: nothing else may notice
    left, right = (torch.randn(side, side, device=device, dtype=dtype, generator=noise) for _ in range(2))
    left @ right  # the first call sets up the library
    finish(device)
    durations, end = [], time.perf_counter() + seconds
    while not durations or time.perf_counter() < end:
        begin = time.perf_counter()
        left @ right
        finish(device)
        durations.append(time.perf_counter() - begin)
    return 2 * side**3 / min(durations)


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory so far: allocated on a GPU, resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident if sys.platform == "darwin" else resident * 1024
