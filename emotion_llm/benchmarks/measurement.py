"""One measurement of ours against another way.

two ways of doing one thing  ->  how many times faster ours is  ->  Measurement, one record of launch/benchmark.py --json
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measurement:
    """One line of the benchmark."""

    name: str
    ratio: float
    """How many times better ours is: faster, or smaller; the median."""
    low: float
    """The lowest ratio seen."""
    high: float
    """The highest ratio seen."""
    unit: str
    """What the ratio is a ratio of, such as 'seconds'."""
    compared: str
    """What was compared with what, on which data, with the figures of both."""
    machine: str


@dataclass(frozen=True)
class Ratio:
    """How two ways compare in time."""

    median: float
    low: float
    high: float
    our_seconds: float
    """Median of our runs."""
    their_seconds: float
    """Median of their runs."""


def interleaved_ratio(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> Ratio:
    """Runs both in turns, so that whatever else the machine does falls on both alike. The first turn warms up and is not counted."""
    turns = []
    for _ in range(repeats + 1):
        turns.append((_seconds(ours), _seconds(theirs)))
    turns = turns[1:]
    ratios = [their_time / our_time for our_time, their_time in turns]
    return Ratio(
        median=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        our_seconds=statistics.median(our_time for our_time, _ in turns),
        their_seconds=statistics.median(their_time for _, their_time in turns),
    )


def machine_name() -> str:
    """Processor and the cores of it that this process may use."""
    metadata = Path("/proc/cpuinfo")
    lines = metadata.read_text(encoding="utf-8").splitlines() if metadata.is_file() else []
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor() or platform.machine()
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores"


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
