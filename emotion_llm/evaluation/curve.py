"""How good explanations get with the number of described motions, in one table with what they have to beat.

CurveSettings                 ->  one description run per number, and its evaluation
metrics.json of several runs  ->  a row per run, and one per baseline of the last  ->  Markdown

Every run takes the same number of steps from the same checkpoint, so fewer motions are seen more often. One seed. All of this is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from emotion_llm.evaluation.evaluate import EvaluateSettings
from emotion_llm.evaluation.explanations import GREEDY, NARRATOR, OTHER_MOTION, TEMPLATE, VERIFIED
from emotion_llm.runtime.console import settings_to_dict
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import STRICT, check_same_settings, read_json_object
from emotion_llm.training.assembly import FREE_TO_CHANGE
from emotion_llm.training.settings import PRESETS as FINETUNE_PRESETS
from emotion_llm.training.settings import Count, FinetuneSettings

COLUMNS = (
    "method", "described motions", "explained clips", "supported", "contradicted", "of another clip: supported", "contradicted",
    "claims per text", "distinct", "label named", "held-out accuracy",
)  # fmt: skip
"""Shares of checkable claims, of texts and of clips, over all corpora. "Of another clip": the same texts held against other movements."""


@dataclass(frozen=True, config=STRICT)
class CurveSettings:
    """A series of description runs. Finished ones are skipped."""

    run: Path = Path("runs/curve")
    """Folder of the runs and of the table, table.md."""
    motions: tuple[Count, ...] = (10, 30, 100, 300)
    """Numbers of described motions; a last run learns from all."""
    beside: tuple[Path, ...] = ()
    """Other evaluated run folders that get a row, such as a run on words."""
    explanations: Annotated[int, Field(ge=1)] = 64
    """Held-out clips per corpus to explain, at most."""
    finetune: FinetuneSettings = field(default_factory=lambda: FINETUNE_PRESETS["description"]["paper"])
    """The description stage. The series sets run and described_motions."""


PRESETS = {
    "default": CurveSettings(),
    "demo": CurveSettings(Path("runs/demo/curve"), explanations=16, finetune=FINETUNE_PRESETS["description"]["demo"]),
    "smollm2": CurveSettings(Path("runs/bandai-namco-2/curve"), finetune=FINETUNE_PRESETS["description"]["smollm2"]),
}


def points(settings: CurveSettings) -> list[FinetuneSettings]:
    """The description run of every number, fewest motions first; the last learns from all."""
    return [
        replace(settings.finetune, stage="description", run=settings.run / str(count or "all"), described_motions=count)
        for count in (*sorted(settings.motions), None)
    ]


def evaluation_of(settings: CurveSettings, point: FinetuneSettings) -> EvaluateSettings:
    """Greedy texts only: sampling would take most of the time."""
    return EvaluateSettings(run=point.run, explanations=settings.explanations, candidates=1, controls=False)


def is_finished(point: FinetuneSettings) -> bool:
    """
    Raises:
        UserError: the run was evaluated with other settings of its training.
    """
    path = metrics_file(point.run)
    if not path.is_file():
        return False
    check_same_settings(path, _metrics(point.run)["trained"]["settings"], settings_to_dict(point), FREE_TO_CHANGE)
    return True


def metrics_file(run: Path) -> Path:
    return run / "evaluation" / "metrics.json"


def explanation_table(runs: Sequence[Path]) -> str:
    """Markdown: a row per run with its greedy texts, one with the verified ones where they were sampled, and the last run's baselines.

    Raises:
        UserError: a run that was not evaluated, or explains nothing.
    """
    rows = []
    for run in runs:
        metrics = _metrics(run)
        motions = str(metrics["trained"]["settings"].get("described_motions") or "all")
        for method in (GREEDY, VERIFIED) if metrics["evaluated_with"]["candidates"] > 1 else (GREEDY,):
            rows.append(_row(f"{run.name}, {method}", motions, metrics, method))
    rows += [_row(method.replace("_", " "), "", metrics, method) for method in (OTHER_MOTION, TEMPLATE, NARRATOR)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (COLUMNS, ["---"] * len(COLUMNS), *rows))


def _row(name: str, motions: str, metrics: dict[str, Any], method: str) -> list[str]:
    corpora = metrics["corpora"].values()
    described = [values["description"] for values in corpora]
    methods = [values["methods"][method] for values in described]
    clips = [values["clips"] for values in described]
    claims = [count * values["claims_per_text"] for count, values in zip(clips, methods, strict=True)]

    def share(key: str, weights: Sequence[float]) -> str:
        known = [(values[key], weight) for values, weight in zip(methods, weights, strict=True) if values[key] is not None and weight]
        return f"{sum(value * weight for value, weight in known) / sum(weight for _, weight in known):.1%}" if known else "–"

    of_claims = [share(key, claims) for key in ("supported", "contradicted", "shuffled_supported", "shuffled_contradicted")]
    of_texts = [share(key, clips) for key in ("distinct", "label_consistency")]
    accuracy = np.average([values["accuracy"] for values in corpora], weights=[values["clips"] for values in corpora])
    own = f"{accuracy:.1%}" if method == GREEDY else ""
    return [name, motions, str(sum(clips)), *of_claims, f"{sum(claims) / sum(clips):.1f}", *of_texts, own]


def _metrics(run: Path) -> dict[str, Any]:
    path, remedy = metrics_file(run), f"run launch/evaluate.py --run {run} with a description run"
    metrics = read_json_object(path, remedy)
    if not all("description" in values for values in metrics["corpora"].values()):
        raise UserError(f"{path}: holds no figures about explanations; {remedy}")
    return metrics
