"""One motion file explained.

clip.bvh, TrainedRun  ->  emotion, probabilities, explanation
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from emotion_llm.evaluation.trained_run import TrainedRun, load_run
from emotion_llm.language.explaining import explain, middle
from emotion_llm.language.label_scoring import emotion_probabilities
from emotion_llm.motion.canonical import CanonicalSettings, canonicalise, to_motion
from emotion_llm.motion.checks import check_clip
from emotion_llm.motion.motion import Motion
from emotion_llm.motion.reading import read_motion_file
from emotion_llm.motion.table import table_columns_from_dict
from emotion_llm.runtime.devices import evaluation_dtype
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.processes import start_processes
from emotion_llm.skeleton_tokens.encoded_corpus import encode_motion


@dataclass(frozen=True)
class PredictSettings:
    """Which motion to explain, and with what."""

    clip: Annotated[Path, tyro.conf.Positional]
    """The motion file: BVH, or a table or array laid out like those of the corpus."""
    checkpoint: Path = Path("runs/description")
    """Run folder of launch/finetune.py (its newest checkpoint), <run>/checkpoints/best.json (its best), or one checkpoint folder."""
    corpus: str | None = None
    """Training corpus that the clip is like: brings the unit, the axes, the layout and the label set. By default the one whose layout fits."""
    llm: str | None = None
    """Name or folder of the base LLM, where it has moved since training."""
    json: bool = False
    """Print one JSON object instead of text."""


PRESETS = {
    "paper": PredictSettings(Path("clip.bvh")),
    "demo": PredictSettings(Path("clip.bvh"), checkpoint=Path("runs/demo/description")),
    "smollm2": PredictSettings(Path("clip.bvh"), checkpoint=Path("runs/bandai-namco-2/recognition")),
}


@dataclass(frozen=True)
class Prediction:
    """What the model says of one motion."""

    clip: str
    corpus: str
    """Whose label set was scored."""
    emotion: str
    probability: float
    probabilities: dict[str, float]
    """Over the label set, likeliest first."""
    explanation: str | None
    """None where the run has not learnt to explain."""
    findings: tuple[str, ...]
    """What looks wrong with the recording, in words."""

    def text(self) -> str:
        """For people."""
        others = ", ".join(f"{emotion} {value:.1%}" for emotion, value in list(self.probabilities.items())[1:])
        why = self.explanation or "(no explanation: this run has learnt recognition only; fine-tune it with --stage description)"
        lines = [f"{self.clip}: {self.emotion} ({self.probability:.1%}; {others})", why]
        return "\n".join([*lines, *(f"note: {finding}" for finding in self.findings)])


def predict(settings: PredictSettings) -> Prediction:
    """Names and explains the emotion of one clip, on the evaluation's own code path.

    Raises:
        UserError: no such clip, one that cannot be read, or one of a layout that the run does not know.
    """
    if not settings.clip.is_file():
        raise UserError(f"{settings.clip}: no such motion file")
    device = start_processes()
    trained = load_run(settings.checkpoint, settings.llm, device, evaluation_dtype(device))
    trained.encoder.model.to(device)
    corpus, motion = recognise_file(settings.clip, trained, settings.corpus)
    metadata = trained.checkpoint.metadata["corpora"][corpus]
    canonical = canonicalise(motion, CanonicalSettings(**metadata["canonical"]), place=str(settings.clip))
    windows = encode_motion(trained.encoder, trained.encoder.layout_index(motion.layout), canonical.positions.astype("float32"))
    row = emotion_probabilities(trained.model, trained.prompts, windows, metadata["emotions"], device).mean(0)  # (K,)
    ranked = sorted(zip(metadata["emotions"], row.tolist(), strict=True), key=lambda pair: -pair[1])
    emotion, probability = ranked[0]
    explanation = None
    if trained.stage == "description":
        explanation = explain(trained.model, trained.prompts, [windows[middle(range(len(windows)))]], [emotion])[0]
    return Prediction(str(settings.clip), corpus, emotion, probability, dict(ranked), explanation, tuple(check_clip(motion)))


def recognise_file(path: Path, trained: TrainedRun, named: str | None) -> tuple[str, Motion]:
    """The training corpus that a file is like, and its motion read by that corpus's conventions.

    Raises:
        UserError: a corpus that the run was not trained on, a file that fits none of the layouts, or fits several corpora.
    """
    known = trained.checkpoint.metadata["corpora"]
    if named is not None and named not in known:
        raise UserError(f"--corpus {named}: the run was trained on {', '.join(known)}; choose one of them")
    layouts = {layout.name: layout for layout in trained.encoder.encoder.layouts}
    fitting: dict[str, Motion] = {}
    faults = []
    for corpus in [named] if named is not None else known:
        reading = known[corpus]["reading"]
        try:
            recorded = read_motion_file(path, table_columns_from_dict(reading["columns"], place=corpus))
            layout = layouts[known[corpus]["layout"]]
            fitting[corpus] = to_motion(
                recorded, layout, reading["metres_per_unit"], reading["up"], reading["frames_per_second"], place=str(path)
            )
        except UserError as error:
            faults.append(str(error))
    if not fitting:
        if len(faults) == 1 or len(set(faults)) == 1:
            raise UserError(faults[0])
        shapes = ", ".join(f"{known[corpus]['layout']} (corpus '{corpus}')" for corpus in known)
        raise UserError(f"{path}: fits none of the layouts that the run was trained on: {shapes}; with the first of them: {faults[0]}")
    if len(fitting) > 1:
        raise UserError(f"{path}: fits several training corpora; say which it is like: --corpus {' or --corpus '.join(fitting)}")
    return next(iter(fitting.items()))


def as_json(prediction: Prediction) -> str:
    """For programs."""
    return json.dumps(asdict(prediction), indent=2, ensure_ascii=False)
