"""The whole benchmark: groups of measurements, one after the other.

BenchmarkSettings  ->  a line per measurement, and one JSON record each in --json FILE
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from emotion_llm.benchmarks import attention, corpus_scale, encoding, finetuning, gpu, loss_curves, overhead, readers, scaling
from emotion_llm.benchmarks.cost_model import table
from emotion_llm.benchmarks.measurement import Measurement
from emotion_llm.benchmarks.workload import LLAMA_7B, SMALL, SMOLLM2
from emotion_llm.runtime.console import say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import write_json
from emotion_llm.training.settings import PRESETS as PRESETS_OF_STAGES

DEMO = PRESETS_OF_STAGES["recognition"]["demo"]


@dataclass(frozen=True)
class BenchmarkSettings:
    """What to measure."""

    only: str | None = None
    """One group; by default all that need nothing but a CPU: training, memory, attention, curves (after the demo), overhead, answering, scaling,
    encoder, corpus."""
    json: Path | None = None
    """File for one record per measurement."""
    quick: bool = False
    """Small sizes and one repeat: shows that everything runs, not how fast it is."""
    clips: Path | None = None
    """Folder of BVH files, such as an unpacked Bandai-Namco archive; the group 'readers' needs it."""

    def __post_init__(self) -> None:
        if self.only is not None and self.only not in GROUPS:
            raise UserError(f"--only {self.only}: no such group; choose one of {', '.join(GROUPS)}")
        if self.only == "readers" and self.clips is None:
            raise UserError("--only readers: needs motion files to read; name a folder of BVH files with --clips")


def run_benchmarks(settings: BenchmarkSettings) -> list[Measurement]:
    """Runs the chosen groups; what is measured so far is on disk after each measurement.

    Raises:
        UserError: a group without what it needs: a GPU, or the demo's files.
    """
    if settings.only == "curves" and not _have("curves", settings):
        needed = f"{DEMO.data}, {DEMO.encoder}, {DEMO.llm}"
        raise UserError(f"--only curves: needs the demo's corpora, encoder and LLM ({needed}); run launch/demo.py first")
    if settings.only == "gpu" and not torch.cuda.is_available():
        raise UserError("--only gpu: no GPU here; run it on a machine that has one")
    names = [settings.only] if settings.only else [name for name in GROUPS if name not in NEED_MORE or _have(name, settings)]
    measurements: list[Measurement] = []
    for name in names:
        say(f"== {name}")
        for measurement in GROUPS[name](settings):
            measurements.append(measurement)
            std = f"{measurement.low:.2f} to {measurement.high:.2f}"
            say(f"{measurement.name}: {measurement.ratio:.2f}x ({std}), {measurement.unit}\n    {measurement.compared}")
            if settings.json is not None:
                write_json(settings.json, [dataclasses.asdict(record) for record in measurements])
    if measurements:
        say(f"machine: {measurements[-1].machine}")
    return measurements


def _have(name: str, settings: BenchmarkSettings) -> bool:
    if name == "curves":
        return all(Path(path).is_dir() for path in (DEMO.data, DEMO.encoder, DEMO.llm))
    return settings.clips is not None if name == "readers" else torch.cuda.is_available()


def _training(settings: BenchmarkSettings) -> Iterator[Measurement]:
    few = {"batch": 4, "repeats": 1} if settings.quick else {}
    for stage in ("recognition", "description"):
        yield finetuning.measure_training(SMALL, stage, **few)
    yield finetuning.measure_training(SMALL, "recognition", encoder_in_loop=True, **few)
    if not settings.quick:
        for stage in ("recognition", "description"):
            yield finetuning.measure_training(SMOLLM2, stage, batch=finetuning.MICRO_BATCH, repeats=3)


def _memory(settings: BenchmarkSettings) -> Iterator[Measurement]:
    for shape in (SMALL,) if settings.quick else (SMALL, SMOLLM2):
        for stage in ("recognition", "description"):
            yield finetuning.measure_memory(shape, stage)


def _attention(settings: BenchmarkSettings) -> Iterator[Measurement]:
    yield from attention.measure(SMALL, motions=4, repeats=1) if settings.quick else attention.measure()


def _curves(settings: BenchmarkSettings) -> Iterator[Measurement]:
    for stage in ("recognition", "description"):
        yield loss_curves.measure(PRESETS_OF_STAGES[stage]["demo"], steps=loss_curves.SMOOTHED_STEPS if settings.quick else 60)


def _overhead(settings: BenchmarkSettings) -> Iterator[Measurement]:
    yield from overhead.measure(SMALL, repeats=1) if settings.quick else overhead.measure()


def _answering(settings: BenchmarkSettings) -> Iterator[Measurement]:
    few = {"motions": 4, "repeats": 1} if settings.quick else {}
    yield finetuning.measure_labels(SMALL, **few)
    yield finetuning.measure_descriptions(SMALL, **few)
    if not settings.quick:
        yield finetuning.measure_labels(SMOLLM2, repeats=2)
        yield finetuning.measure_descriptions(SMOLLM2, repeats=1)


def _scaling(settings: BenchmarkSettings) -> Iterator[Measurement]:
    yield scaling.measure_weak_scaling(steps=2 if settings.quick else 8)
    yield scaling.measure_overlap(steps=2 if settings.quick else 8)
    yield from scaling.check_cost_model((SMALL,) if settings.quick else (SMALL, SMOLLM2), repeats=1 if settings.quick else 3)
    say("cost model, a LLaMA-7B on A100s:\n" + table(LLAMA_7B))


def _encoder(settings: BenchmarkSettings) -> Iterator[Measurement]:
    yield from encoding.measure(motions=4, repeats=1) if settings.quick else encoding.measure()


def _corpus(settings: BenchmarkSettings) -> Iterator[Measurement]:
    yield from corpus_scale.measure((100, 1_000) if settings.quick else (1_000, 100_000))


def _readers(settings: BenchmarkSettings) -> Iterator[Measurement]:
    yield from readers.measure(settings.clips, repeats=1 if settings.quick else 5)


def _gpu(settings: BenchmarkSettings) -> Iterator[Measurement]:
    say(gpu.measure_step(repeats=2 if settings.quick else 10).table())
    yield from ()


GROUPS: dict[str, Callable[[BenchmarkSettings], Iterator[Measurement]]] = {
    "training": _training, "memory": _memory, "attention": _attention, "curves": _curves, "overhead": _overhead, "answering": _answering,
    "scaling": _scaling, "encoder": _encoder, "corpus": _corpus, "readers": _readers, "gpu": _gpu,
}  # fmt: skip
"""In the order in which they run."""
NEED_MORE = ("curves", "readers", "gpu")
"""Groups that run only where there is what they need."""
PRESETS = {"paper": BenchmarkSettings(), "demo": BenchmarkSettings(quick=True)}
