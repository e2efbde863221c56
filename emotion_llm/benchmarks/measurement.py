"""One measurement against a baseline.

two callables that do the same  ->  Ratio of their times  ->  Measurement, one record of launch/benchmark.py --json
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn


@dataclass(frozen=True)
class Measurement:
    """One line of the benchmark."""

    name: str
    ratio: float
    """How many times better than the baseline: faster, or smaller; the median."""
    low: float
    """Lowest ratio of all turns."""
    high: float
    """Highest ratio of all turns."""
    unit: str
    """What the ratio is a ratio of, such as 'seconds'."""
    compared: str
    """What was compared on which data, with the figures of both sides."""
    machine: str


@dataclass(frozen=True)
class Ratio:
    """Times of both sides."""

    median: float
    low: float
    high: float
    seconds: float
    """Median of ours."""
    baseline_seconds: float
    """Median of the baseline."""


def interleaved_ratio(ours: Callable[[], object], baseline: Callable[[], object], repeats: int) -> Ratio:
    """Runs both in turns, so that other load on the machine affects both. The first turn is a warm-up and is not counted."""
    turns = [(seconds_of(ours), seconds_of(baseline)) for _ in range(repeats + 1)][1:]
    ratios = [theirs / own for own, theirs in turns]
    own, theirs = (statistics.median(times) for times in zip(*turns, strict=True))
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), own, theirs)


def timed(name: str, ratio: Ratio, what: str, baseline: str, unit: str = "seconds") -> Measurement:
    """A measurement of time.

    Args:
        what: was done on which data.
        baseline: how the other side did it.
    """
    compared = f"{what}: {ratio.seconds:.2f} s; {baseline}: {ratio.baseline_seconds:.2f} s"
    return Measurement(name, ratio.median, ratio.low, ratio.high, unit, compared, machine())


def check_gradients(module: nn.Module) -> None:
    """Makes sure that a backward pass has reached every trainable weight: a benchmark must not time work that trains nothing.

    Raises:
        RuntimeError: names parameters whose gradient is missing, zero or not finite.
    """
    trainable = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.requires_grad}
    wrong = [name for name, gradient in trainable.items() if gradient is None or not 0 < float(gradient.float().norm()) < math.inf]
    if wrong:
        raise RuntimeError(f"{len(wrong)} trainable parameters without a finite non-zero gradient, for example {wrong[0]}")


def machine(threads: str | None = None) -> str:
    """Processor, the cores that this process may use, threads, precision."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    fallback = platform.processor() or platform.machine()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), fallback)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, {threads or f'{torch.get_num_threads()} threads'}, fp32"


def seconds_of(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
