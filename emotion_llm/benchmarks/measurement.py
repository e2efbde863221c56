"""One measurement against a baseline.

two callables that do the same  ->  Measurement: the ratio of their times, one record of launch/benchmark.py --json
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn


@dataclass(frozen=True)
class Measurement:
    """One line of the benchmark."""

    name: str
    ratio: float
    """How many times better than the baseline; the median of all rounds."""
    low: float
    high: float
    unit: str
    """What the ratio is a ratio of, such as 'seconds'."""
    compared: str
    """What was compared on which data, with the figures of both sides."""
    machine: str


def measurement(name: str, ratios: Sequence[float], unit: str, compared: str, threads: str | None = None) -> Measurement:
    """A record of several ratios, with their median, lowest and highest."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{processor}, {cores} cores, {threads or f'{torch.get_num_threads()} threads'}, fp32"
    return Measurement(name, statistics.median(ratios), min(ratios), max(ratios), unit, compared, machine)


def compare(
    name: str, ours: Callable[[], object], baseline: Callable[[], object], what: str, against: str, repeats: int, unit: str = "seconds"
) -> Measurement:
    """Runs both in turns, so that other load on the machine affects both. The first round is a warm-up and is not counted.

    Args:
        what: was done on which data.
        against: what the baseline is.
    """
    rounds = [(seconds_of(ours), seconds_of(baseline)) for _ in range(repeats + 1)][1:]
    own, theirs = (statistics.median(times) for times in zip(*rounds, strict=True))
    compared = f"{what}: {own:.2f} s; {against}: {theirs:.2f} s"
    return measurement(name, [baseline_seconds / seconds for seconds, baseline_seconds in rounds], unit, compared)


def check_gradients(module: nn.Module) -> None:
    """Makes sure that a backward pass has reached every trainable weight: a benchmark must not time work that trains nothing.

    Raises:
        RuntimeError: names parameters whose gradient is missing, zero or not finite.
    """
    trainable = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.requires_grad}
    wrong = [name for name, gradient in trainable.items() if gradient is None or not 0 < float(gradient.float().norm()) < math.inf]
    if wrong:
        raise RuntimeError(f"{len(wrong)} trainable parameters without a finite non-zero gradient, for example {wrong[0]}")


def seconds_of(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
