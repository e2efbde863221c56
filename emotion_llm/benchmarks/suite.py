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

STAGES = ("recognition", "description")


@dataclass(frozen=True)
class BenchmarkSettings:
    """What to measure."""

    only: str | None = None
    """One group: training, memory, answering, encoder, scaling or gpu; by default all, gpu only where there is one."""
    json: Path | None = None
    """File for one record per measurement."""
    quick: bool = False
    """Tiny sizes and one repeat: shows that everything runs, not how fast it is."""

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
        for measurement in GROUPS[name](settings.quick):
            measurements.append(measurement)
            low_to_high = f"{measurement.low:.2f} to {measurement.high:.2f}"
            say(f"{measurement.name}: {measurement.ratio:.2f}x ({low_to_high}), {measurement.unit}\n    {measurement.compared}")
            if settings.json is not None:
                write_json(settings.json, [dataclasses.asdict(record) for record in measurements])
    if measurements:
        say(f"machine: {measurements[-1].machine}")
    return measurements


def _training(quick: bool) -> Iterator[Measurement]:
    for stage in STAGES:
        for grouped in (False, True):
            if quick:
                yield finetuning.measure_training(TINY, stage, grouped, batch=4, repeats=1)
            else:
                yield finetuning.measure_training(SMALL_LLAMA, stage, grouped)
    for stage in () if quick else STAGES:
        for grouped in (False, True):
            yield finetuning.measure_training(SMOLLM2, stage, grouped, batch=finetuning.MICRO_BATCH, repeats=3)


def _memory(quick: bool) -> Iterator[Measurement]:
    for shape in (TINY,) if quick else (SMALL_LLAMA, SMOLLM2):
        for stage in STAGES:
            yield finetuning.measure_memory(shape, stage)


def _answering(quick: bool) -> Iterator[Measurement]:
    for shape in (TINY,) if quick else (SMALL_LLAMA, SMOLLM2):
        yield finetuning.measure_labels(shape, repeats=1 if quick else 3)
        yield finetuning.measure_descriptions(shape, repeats=1)


def _encoder(quick: bool) -> Iterator[Measurement]:
    yield from encoding.measure(llm=TINY, motions=4, repeats=1) if quick else encoding.measure()


def _scaling(quick: bool) -> Iterator[Measurement]:
    yield scaling.measure_weak_scaling(TINY, steps=2, rounds=1) if quick else scaling.measure_weak_scaling()
    yield from scaling.check_cost_model((TINY,) if quick else (SMALL_LLAMA, SMOLLM2), repeats=1 if quick else 3)
    say("cost model, LLaMA-7B on A100s:\n" + table(LLAMA_7B))


def _gpu(quick: bool) -> Iterator[Measurement]:
    say(gpu.measure_step(repeats=2 if quick else 10).table())
    yield from ()


GROUPS: dict[str, Callable[[bool], Iterator[Measurement]]] = {
    "training": _training, "memory": _memory, "answering": _answering, "encoder": _encoder, "scaling": _scaling, "gpu": _gpu,
}  # fmt: skip
"""In the order in which they run."""
PRESETS = {"default": BenchmarkSettings(), "demo": BenchmarkSettings(quick=True)}
