"""One motion file explained.

clip.bvh, TrainedRun  ->  emotion, probabilities, explanation
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass

from emotion_llm.evaluation.trained_run import TrainedRun, load_run
from emotion_llm.language.explaining import explain, middle
from emotion_llm.language.label_scoring import emotion_probabilities
from emotion_llm.motion.canonical import CanonicalSettings, canonicalise, to_motion
from emotion_llm.motion.checks import check_clip
from emotion_llm.motion.motion import Motion
from emotion_llm.motion.reading import read_motion_file
from emotion_llm.motion.table import table_columns_from_dict
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.processes import evaluation_dtype, start_processes
from emotion_llm.runtime.validation import STRICT
from emotion_llm.skeleton_tokens.encoded_corpus import encode_motion


@validated_dataclass(frozen=True, config=STRICT)
class PredictSettings:
    """Which motion to explain, and with what."""

    clip: Annotated[Path, tyro.conf.Positional]
    """The motion file: BVH, or a table or array laid out like those of the corpus."""
    run: Annotated[Path, tyro.conf.arg(aliases=["--checkpoint"])] = Path("runs/description")
    """Run folder of launch/finetune.py (its newest checkpoint), <run>/checkpoints/best.json (its best), or one checkpoint folder."""
    corpus: str | None = None
    """Training corpus whose unit, axes, layout and label set apply. By default the one whose layout fits."""
    frames_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Frame rate of the clip; by default what the file says, else its corpus's."""
    metres_per_unit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Metres in one unit of length of the clip; by default its corpus's."""
    up: str | None = None
    """Axis of the clip that points up; by default its corpus's."""
    llm: str | None = None
    """Name or folder of the base LLM, if it has moved since training."""
    json: bool = False
    """Print one JSON object instead of text; everything else goes to standard error."""


PRESETS = {
    "default": PredictSettings(Path("clip.bvh")),
    "demo": PredictSettings(Path("clip.bvh"), run=Path("runs/demo/description")),
    "smollm2": PredictSettings(Path("clip.bvh"), run=Path("runs/bandai-namco-2/recognition")),
}


MIN_FRAMES, SHORT_SECONDS = 8, 1.0
"""A clip of fewer frames at the model's rate is refused, a shorter one than this gets a note (our choice)."""


@dataclass(frozen=True)
class Prediction:
    """The model's answer for one motion."""

    clip: str
    corpus: str
    """Whose label set was scored."""
    emotion: str
    probability: float
    probabilities: dict[str, float]
    """Over the label set, likeliest first."""
    explanation: str | None
    """None if the run was trained for recognition only."""
    findings: tuple[str, ...]
    """What looks wrong with the recording, in words."""

    def text(self) -> str:
        """Human-readable."""
        others = ", ".join(f"{emotion} {value:.1%}" for emotion, value in list(self.probabilities.items())[1:])
        why = self.explanation or "(no explanation: this run has learnt recognition only; fine-tune it with --stage description)"
        lines = [f"{self.clip}: {self.emotion} ({self.probability:.1%}; {others})", why]
        return "\n".join([*lines, *(f"note: {finding}" for finding in self.findings)])


def predict(settings: PredictSettings) -> Prediction:
    """Names and explains the emotion of one clip, with the code of the evaluation.

    Raises:
        UserError: no such clip, it cannot be read, it has an unknown layout, or it is too short.
    """
    if not settings.clip.is_file():
        raise UserError(f"{settings.clip}: no such motion file")
    device = start_processes()
    trained = load_run(settings.run, settings.llm, device, evaluation_dtype(device))
    trained.encoder.model.to(device)
    corpus, motion, notes = recognise_file(settings, trained)
    metadata = trained.checkpoint.metadata["corpora"][corpus]
    canonical = canonicalise(motion, CanonicalSettings(**metadata["canonical"]), place=str(settings.clip))
    frames, rate = len(canonical.positions), metadata["canonical"]["frames_per_second"]
    if frames < MIN_FRAMES:
        raise UserError(
            f"{settings.clip}: {frames} frames at {rate:g} per second are too few to judge; give at least "
            f"{MIN_FRAMES}, or the clip's true rate with --frames-per-second"
        )
    if frames / rate < SHORT_SECONDS:
        notes = (*notes, f"only {frames / rate:.2f} s long: the answer rests on little movement")
    windows = encode_motion(trained.encoder, trained.encoder.layout_index(motion.layout), canonical.positions.astype("float32"))
    row = emotion_probabilities(trained.model, trained.prompts, windows, metadata["emotions"], device).mean(0)  # (K,)
    ranked = sorted(zip(metadata["emotions"], row.tolist(), strict=True), key=lambda pair: -pair[1])
    emotion, probability = ranked[0]
    explanation = None
    if trained.stage == "description":
        explanation = explain(trained.model, trained.prompts, [windows[middle(range(len(windows)))]], [emotion])[0]
    return Prediction(str(settings.clip), corpus, emotion, probability, dict(ranked), explanation, (*notes, *check_clip(motion)))


def recognise_file(settings: PredictSettings, trained: TrainedRun) -> tuple[str, Motion, tuple[str, ...]]:
    """The training corpus that the clip fits, its motion read with that corpus's conventions, and notes on the reading.

    Raises:
        UserError: a corpus that the run was not trained on, a file that fits none of the layouts, or fits several corpora.
    """
    path, named = settings.clip, settings.corpus
    known = trained.checkpoint.metadata["corpora"]
    if named is not None and named not in known:
        raise UserError(f"--corpus {named}: the run was trained on {', '.join(known)}; choose one of them")
    layouts = {layout.name: layout for layout in trained.encoder.encoder.layouts}
    fitting: dict[str, tuple[Motion, tuple[str, ...]]] = {}
    faults = []
    for corpus in [named] if named is not None else known:
        reading = known[corpus]["reading"]
        try:
            recorded = read_motion_file(path, table_columns_from_dict(reading["columns"], place=corpus))
            layout, notes = layouts[known[corpus]["layout"]], recorded.notes
            if settings.frames_per_second is not None:
                recorded = replace(recorded, frames_per_second=settings.frames_per_second)
            elif recorded.frames_per_second is None and reading["frames_per_second"] is not None:
                assumed = f"assumed {reading['frames_per_second']:g} frames per second, the rate of corpus '{corpus}'"
                notes = (*notes, f"the file does not state its frame rate: {assumed}; set it with --frames-per-second")
            metres, up = settings.metres_per_unit or reading["metres_per_unit"], settings.up or reading["up"]
            fitting[corpus] = to_motion(recorded, layout, metres, up, reading["frames_per_second"], place=str(path)), notes
        except UserError as error:
            faults.append(str(error))
    if not fitting:
        if len(faults) == 1 or len(set(faults)) == 1:
            raise UserError(faults[0])
        shapes = ", ".join(f"{known[corpus]['layout']} (corpus '{corpus}')" for corpus in known)
        raise UserError(f"{path}: fits none of the layouts that the run was trained on: {shapes}; with the first of them: {faults[0]}")
    if len(fitting) > 1:
        raise UserError(f"{path}: fits several training corpora; say which it is like: --corpus {' or --corpus '.join(fitting)}")
    corpus, (motion, notes) = next(iter(fitting.items()))
    return corpus, motion, notes


def as_json(prediction: Prediction) -> str:
    """Machine-readable."""
    return json.dumps(asdict(prediction), indent=2, ensure_ascii=False)
