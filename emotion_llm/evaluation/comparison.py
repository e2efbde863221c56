"""Many trainings in one table: recipes, joint and single corpora, folds and seeds.

CompareSettings            ->  cells: one training (or one set of baselines) each
cells' predictions.jsonl   ->  a row per recipe, training, method and corpus: mean and interval over folds and seeds  ->  Markdown, JSON

All clips of all folds are pooled, so every clip counts once per seed; a score is the mean over the seeds. Its interval is a bootstrap
over people (actions in leave-actions-out, clips where neither is known) and over seeds. Differences are paired: both rows are resampled
with the same people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.corpus.store import open_corpus
from emotion_llm.corpus.windows import windows
from emotion_llm.evaluation.metrics import PredictionRecord, bootstrap_of, counts_of_clips, read_predictions, scores_of_counts
from emotion_llm.evaluation.uncertainty import RESAMPLES, fit_temperature, interval
from emotion_llm.pretraining.data import count_steps
from emotion_llm.pretraining.settings import PRESETS as PRETRAIN_PRESETS
from emotion_llm.pretraining.settings import PretrainSettings
from emotion_llm.runtime.console import settings_to_dict
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import atomic_write, write_json, write_json_lines
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.validation import STRICT, read_json_object
from emotion_llm.training.settings import PRESETS as FINETUNE_PRESETS
from emotion_llm.training.settings import FinetuneSettings

BASELINES = "baselines"
"""Stands for the recipe of the methods that need no training of ours."""
PREDICTIONS, ABOUT, ENCODERS = "predictions.jsonl", "cell.json", "encoders"


@dataclass(frozen=True, config=STRICT)
class CompareSettings:
    """A grid of trainings. Every combination of training, fold and seed is a cell; finished cells are skipped."""

    run: Path = Path("runs/compare")
    """Folder of the cells, of their encoders and of the table, table.md and table.json. Recipes that share a folder share the table, and
    encoders that train alike."""
    recipe: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "default"
    """Name of the settings below in the table."""
    reference: str = "default"
    """The recipe that the others are compared with."""
    trainings: Annotated[tuple[str, ...], Field(min_length=1)] = ("kdae+emilya+egbm", "kdae", "emilya", "egbm")
    """The corpora of each training, joined by +."""
    folds: tuple[int, ...] | None = None
    """Folds of the split; by default all. A random split has one."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """Each trains every cell anew: initial weights, order of the data, dropout. The split stays."""
    equal_steps: bool = True
    """Every training takes as many optimizer steps as the largest of them: a single corpus is seen more often than within a joint
    training of the same epochs."""
    baselines: bool = True
    """Fit the baselines that need no encoder."""
    llm: bool = False
    """Also fine-tune the LLM for recognition in every cell."""
    pretrain: PretrainSettings = field(default_factory=PretrainSettings)
    """The encoder's training, and the split. The grid sets run, corpora, seed and the fold."""
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    """The recognition stage. The grid sets run, data, corpora, encoder and seed."""


def _leaving_out(settings: PretrainSettings, kind: Literal["leave-actors-out", "leave-actions-out"]) -> PretrainSettings:
    return replace(settings, split=SplitSettings(kind))


PRESETS = {
    "default": CompareSettings(pretrain=_leaving_out(PRETRAIN_PRESETS["paper"], "leave-actors-out")),
    "demo": CompareSettings(
        run=Path("runs/demo/compare"), pretrain=_leaving_out(PRETRAIN_PRESETS["demo"], "leave-actors-out"),
        finetune=FINETUNE_PRESETS["recognition"]["demo"],
    ),
    "smollm2": CompareSettings(
        run=Path("runs/bandai-namco-2/compare"), trainings=("bandai-namco-2",),
        pretrain=_leaving_out(PRETRAIN_PRESETS["smollm2"], "leave-actions-out"), finetune=FINETUNE_PRESETS["recognition"]["smollm2"],
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One training of the grid, or the baselines of one corpus and fold."""

    recipe: str
    corpora: tuple[str, ...]
    fold: int
    seed: int

    @property
    def is_baseline(self) -> bool:
        return self.recipe == BASELINES

    @property
    def training(self) -> str:
        return "+".join(self.corpora)

    def folder(self, run: Path) -> Path:
        return run / self.recipe / self.training / f"fold-{self.fold}" / f"seed-{self.seed}"


def cells(settings: CompareSettings) -> list[Cell]:
    """The baselines of every corpus and fold, then all folds of a seed before the next seed: the table is readable early.

    Raises:
        UserError: the recipe has the name that stands for the baselines.
    """
    if settings.recipe == BASELINES:
        raise UserError(f"--recipe {BASELINES}: this name stands for the simple models in the table; choose another")
    trainings, folds = [tuple(training.split("+")) for training in settings.trainings], _folds(settings)
    corpora = dict.fromkeys(corpus for training in trainings for corpus in training) if settings.baselines else ()
    baselines = [Cell(BASELINES, (corpus,), fold, 0) for corpus in corpora for fold in folds]
    return baselines + [Cell(settings.recipe, corpora, fold, seed) for seed in settings.seeds for corpora in trainings for fold in folds]


def _folds(settings: CompareSettings) -> tuple[int, ...]:
    split = settings.pretrain.split
    return settings.folds if settings.folds is not None else tuple(range(1 if split.kind == "random" else split.folds))


def pretrain_settings(settings: CompareSettings, cell: Cell) -> PretrainSettings:
    """The encoder's settings in a cell. For equal steps, epochs, milestones and warm-up are multiplied. Recipes that differ in the LLM's
    settings alone share the encoder, which is trained once."""
    base, factor = replace(settings.pretrain, split=replace(settings.pretrain.split, fold=cell.fold)), 1.0
    if settings.equal_steps and not cell.is_baseline:
        largest = max(_steps_per_epoch(base, tuple(training.split("+"))) for training in settings.trainings)
        factor = largest / _steps_per_epoch(base, cell.corpora)
    of_cell = replace(
        base, corpora=cell.corpora, seed=cell.seed, epochs=round(base.epochs * factor), warmup_epochs=round(base.warmup_epochs * factor),
        milestones=tuple(round(epoch * factor) for epoch in base.milestones),
    )  # fmt: skip
    key = hashlib.sha256(json.dumps(settings_to_dict(replace(of_cell, run=Path())), sort_keys=True).encode()).hexdigest()[:8]
    return replace(of_cell, run=settings.run / ENCODERS / f"{cell.training}-fold-{cell.fold}-seed-{cell.seed}-{key}")


def _steps_per_epoch(settings: PretrainSettings, corpora: Sequence[str]) -> int:
    count = 0
    for name in corpora:
        corpus = open_corpus(settings.data / name)
        count += sum(len(windows(int(corpus.clips["frames"][clip]), settings.window_frames)) for clip in settings.split.of(corpus).train)
    return count_steps(settings.global_batch, count, processes=1)


def finetune_settings(settings: CompareSettings, cell: Cell) -> FinetuneSettings:
    """The recognition stage's settings in a cell."""
    folder = cell.folder(settings.run)
    return replace(
        settings.finetune, stage="recognition", run=folder / "recognition", data=settings.pretrain.data, corpora=cell.corpora,
        encoder=pretrain_settings(settings, cell).run, seed=cell.seed,
    )  # fmt: skip


def cell_record(settings: CompareSettings, cell: Cell) -> dict[str, Any]:
    """What determines a cell's result, as JSON values."""
    pretrain = pretrain_settings(settings, cell)
    if cell.is_baseline:
        return {"data": str(pretrain.data), "split": settings_to_dict(pretrain.split)}
    record: dict[str, Any] = {"equal_steps": settings.equal_steps, "pretrain": settings_to_dict(pretrain), "finetune": None}
    if settings.llm:
        record["finetune"] = settings_to_dict(finetune_settings(settings, cell))
        del record["finetune"]["encoder"]  # its folder's name follows from the settings in "pretrain"
    del record["pretrain"]["run"]
    return record


def is_finished(settings: CompareSettings, cell: Cell) -> bool:
    """
    Raises:
        UserError: the cell was run with other settings.
    """
    path = cell.folder(settings.run) / ABOUT
    if not path.is_file():
        return False
    before, now = read_json_object(path, f"delete {path.parent} to run it again")["settings"], cell_record(settings, cell)
    if before != now:
        changed = ", ".join(_differences(before, now))
        raise UserError(f"{path.parent}: was run with other settings ({changed}); give these another --recipe, or delete the folder")
    return True


def _differences(before: Any, now: Any, name: str = "") -> Iterable[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
    elif before != now:
        yield f"{name} {before} -> {now}" if not isinstance(now, dict) and not isinstance(before, dict) else name


def write_cell(settings: CompareSettings, cell: Cell, method: str, records: Sequence[PredictionRecord], seconds: float) -> None:
    """Writes the answers of a cell; cell.json comes last and marks it as finished.

    Args:
        method: whose answers `predicted` is; the others are in `baselines`.
    """
    if not is_first_rank():
        return
    folder = cell.folder(settings.run)
    write_json_lines(folder / PREDICTIONS, (asdict(record) for record in records))
    write_json(folder / ABOUT, {"method": method, "seconds": round(seconds, 1), "settings": cell_record(settings, cell)})


Key = tuple[str, str, str, str]
"""Recipe, training, method, corpus."""


def write_table(settings: CompareSettings) -> str:
    """Summarises all finished cells of the folder, of every recipe; writes table.md and table.json and returns the Markdown."""
    answers: dict[Key, dict[int, dict[int, list[PredictionRecord]]]] = {}  # -> seed -> fold -> records
    seconds: dict[tuple[str, str], list[float]] = {}
    for path in sorted(settings.run.glob(f"*/*/fold-*/seed-*/{ABOUT}")):
        recipe, training, fold, seed = path.parent.relative_to(settings.run).parts
        about = json.loads(path.read_text(encoding="utf-8"))
        seconds.setdefault((recipe, training), []).append(about["seconds"])
        for corpus, records in read_predictions(path.parent / PREDICTIONS).items():
            for name in (None, *records[0].baselines):
                key = (recipe, training, name or about["method"], corpus)
                of_method = [replace(record, **vars(record.baselines[name]) if name else {}, baselines={}) for record in records]
                answers.setdefault(key, {}).setdefault(int(seed.removeprefix("seed-")), {})[int(fold.removeprefix("fold-"))] = of_method
    by: Literal["actor", "action"] = "action" if settings.pretrain.split.kind == "leave-actions-out" else "actor"
    samples = {key: _Sample(_calibrated(seeds, by), by) for key, seeds in answers.items()}
    rows = [_row(key, samples, settings.reference) for key in samples]
    text = _markdown(settings, rows)
    if is_first_rank():
        write_json(
            settings.run / "table.json", {"rows": rows, "mean_seconds": {"/".join(key): float(np.mean(v)) for key, v in seconds.items()}}
        )
        with atomic_write(settings.run / "table.md") as tmp:
            tmp.write_text(text, encoding="utf-8")
    return text


def _calibrated(
    seeds: Mapping[int, Mapping[int, list[PredictionRecord]]], by: Literal["actor", "action"]
) -> dict[int, list[PredictionRecord]]:
    """All folds' records of each seed. The temperature of a fold is fitted on the clips that the other folds hold out: none of them is
    among its own, and each was answered by a model that had not trained on it."""
    pooled: dict[int, list[PredictionRecord]] = {}
    for seed, folds in seeds.items():
        for fold, records in folds.items():
            others = [record for other, more in folds.items() if other != fold for record in more]
            temperature = None
            if others:
                emotions = list(others[0].probabilities)
                probabilities = np.array([[record.probabilities[emotion] for emotion in emotions] for record in others])
                clusters = len({getattr(record, by) or record.clip for record in others})
                temperature = fit_temperature(probabilities, np.array([emotions.index(record.emotion) for record in others]), clusters)
            pooled.setdefault(seed, []).extend(replace(record, temperature=temperature) for record in records)
    return pooled


class _Sample:
    """One row's scores and their bootstrap."""

    def __init__(self, seeds: Mapping[int, Sequence[PredictionRecord]], by: Literal["actor", "action"]) -> None:
        first = next(iter(seeds.values()))
        self.clips = {(record.clip, record.emotion) for record in first}
        self.seeds = sorted(seeds)
        classes = len(first[0].probabilities)
        bootstraps, counts = zip(*((bootstrap_of(seeds[seed], by), counts_of_clips(seeds[seed])) for seed in self.seeds), strict=True)
        self.clusters = bootstraps[0].about
        self.scores = scores_of_counts(np.stack([one.sum(axis=0) for one in counts]), classes)  # (seeds,) each
        of_seed = scores_of_counts(np.stack([some.sums(one) for some, one in zip(bootstraps, counts, strict=True)]), classes)  # (seeds, R)
        chosen = np.random.default_rng(2).integers(len(counts), size=(RESAMPLES, len(counts)))  # (R, seeds)
        self.resampled = {name: np.take_along_axis(values.T, chosen, axis=1).mean(axis=1) for name, values in of_seed.items()}
        self.calibrated = all(record.temperature is not None for record in first)


def _row(key: Key, samples: Mapping[Key, _Sample], reference: str) -> dict[str, Any]:
    """A row, compared with the same training in the reference recipe; a joint training of that recipe with the single one."""
    (recipe, training, method, corpus), sample = key, samples[key]
    row: dict[str, Any] = {
        "recipe": recipe, "training": training, "method": method, "corpus": corpus, "clips": len(sample.clips), "seeds": sample.seeds,
        "interval_clusters": sample.clusters, "calibrated": sample.calibrated, "difference": None,
    }  # fmt: skip
    for name, values in sample.scores.items():
        row[name] = {"mean": float(values.mean()), "interval": interval(sample.resampled[name]), "seeds": values.tolist()}
    to = (reference, training if recipe != reference else corpus, method, corpus)
    if to != key and to in samples and samples[to].clips == sample.clips:
        row["difference"] = {
            "to": {"recipe": to[0], "training": to[1]},
            "accuracy": float(sample.scores["accuracy"].mean() - samples[to].scores["accuracy"].mean()),
            "interval": interval(sample.resampled["accuracy"] - samples[to].resampled["accuracy"]),
        }
    return row


def _markdown(settings: CompareSettings, rows: Sequence[Mapping[str, Any]]) -> str:
    split = settings.pretrain.split
    lines = [
        f"Split: {split.kind}. Mean over seeds [95 % interval over {'actions' if 'actions' in split.kind else 'people'} and seeds], %."
    ]
    for corpus in dict.fromkeys(row["corpus"] for row in rows):
        own = [row for row in rows if row["corpus"] == corpus]
        own.sort(key=lambda row: (row["recipe"] != BASELINES, row["recipe"] != settings.reference, row["recipe"], row["training"]))
        lines += [
            f"\n### {corpus}\n",
            "| recipe | trained on | method | seeds | clips | accuracy | difference | average recall | calibration error | … after temperature |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += ["| " + " | ".join(_fields(row)) + " |" for row in own]
    return "\n".join(lines) + "\n"


def _fields(row: Mapping[str, Any]) -> list[str]:
    names = ("accuracy", "unweighted_average_recall", "calibration_error", "calibration_error_after_temperature")
    accuracy, recall, before, after = (_percent(row[name]["mean"], row[name]["interval"]) for name in names)
    difference = "–"
    if found := row["difference"]:
        versus = found["to"]["recipe"] if found["to"]["training"] == row["training"] else f"{found['to']['training']} alone"
        difference = f"{_percent(found['accuracy'], found['interval'], sign='+')} vs. {versus}"
    counts = (str(len(row["seeds"])), str(row["clips"]))
    calibrated = after if row["calibrated"] else "–"
    return [row["recipe"], row["training"], row["method"], *counts, accuracy, difference, recall, before, calibrated]


def _percent(value: float, interval: Sequence[float], sign: str = "") -> str:
    low, high = (format(100 * bound, f"{sign}.1f") for bound in interval)
    return f"{100 * value:{sign}.1f} [{low}, {high}]"
