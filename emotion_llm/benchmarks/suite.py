"""All benchmarks, group by group.

BenchmarkSettings  ->  a line per measurement, and one JSON record each in --json FILE
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from emotion_llm.benchmarks import encoding, finetuning, gpu, scaling
from emotion_llm.benchmarks.cost_model import table
from emotion_llm.benchmarks.measurement import Measurement
from emotion_llm.benchmarks.workload import LLAMA_7B, SMALL_LLAMA, SMOLLM2, TINY
from emotion_llm.runtime.console import say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import write_json


@dataclass(frozen=True)
class BenchmarkSettings:
    """What to measure."""

    only: str | None = None
    """One group: training, encoder, scaling or gpu; by default all, gpu only where there is one."""
    json: Path | None = None
    """File for one record per measurement."""
    quick: bool = False
    """Tiny sizes and one round: shows that everything runs, not how fast it is."""

    def __post_init__(self) -> None:
        if self.only is not None and self.only not in GROUPS:
            raise UserError(f"--only {self.only}: no such group; choose one of {', '.join(GROUPS)}")


def run_benchmarks(settings: BenchmarkSettings) -> list[Measurement]:
    """Runs the chosen groups and writes the records after each measurement.

    Raises:
        UserError: the group gpu without a GPU.
    """
    if settings.only == "gpu" and not torch.cuda.is_available():
        raise UserError("--only gpu: no GPU here; run it on a machine that has one")
    names = [settings.only] if settings.only else [name for name in GROUPS if name != "gpu" or torch.cuda.is_available()]
    measurements: list[Measurement] = []
    for name in names:
        say(f"== {name}")
        for found in GROUPS[name](settings.quick):
            measurements.append(found)
            say(f"{found.name}: {found.ratio:.2f}x ({found.low:.2f} to {found.high:.2f}), {found.unit}\n    {found.compared}")
            if settings.json is not None:
                write_json(settings.json, [dataclasses.asdict(record) for record in measurements])
    if measurements:
        say(f"machine: {measurements[-1].machine}")
    return measurements


def _training(quick: bool) -> Iterator[Measurement]:
    sizes = [(TINY, 4, 1)] if quick else [(SMALL_LLAMA, None, 5), (SMOLLM2, finetuning.MICRO_BATCH, 3)]
    for shape, batch, repeats in sizes:
        for stage in finetuning.BATCH:
            for grouped in (False, True):
                yield finetuning.measure_training(shape, stage, grouped, batch, repeats)


def _encoder(quick: bool) -> Iterator[Measurement]:
    yield from encoding.measure(llm=TINY, motions=4, repeats=1) if quick else encoding.measure()


def _scaling(quick: bool) -> Iterator[Measurement]:
    yield scaling.measure_weak_scaling(TINY, steps=2, rounds=1) if quick else scaling.measure_weak_scaling()
    yield from scaling.check_cost_model((TINY,), repeats=1) if quick else scaling.check_cost_model((SMALL_LLAMA, SMOLLM2))
    say("cost model, LLaMA-7B on A100s:\n" + table(LLAMA_7B))


def _gpu(quick: bool) -> Iterator[Measurement]:
    say(gpu.measure_step(repeats=2 if quick else 10))
    yield from ()


GROUPS: dict[str, Callable[[bool], Iterator[Measurement]]] = {
    "training": _training, "encoder": _encoder, "scaling": _scaling, "gpu": _gpu,
}  # fmt: skip
"""In the order in which they run."""
PRESETS = {"default": BenchmarkSettings(), "demo": BenchmarkSettings(quick=True)}
