"""Evaluates a run on the held-out motions of its own split.

TrainedRun, prepared corpora  ->  metrics.json, predictions.jsonl
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from emotion_llm.corpus.provenance import corpus_record, data_differences
from emotion_llm.evaluation.metrics import description_metrics, recognition_metrics
from emotion_llm.evaluation.trained_run import TrainedRun, load_run
from emotion_llm.language.explaining import explain, middle
from emotion_llm.language.label_scoring import CorpusScores, score_clips
from emotion_llm.runtime.console import say, settings_to_dict
from emotion_llm.runtime.devices import evaluation_dtype
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import atomic_write, write_json
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes, process_count, process_rank, start_processes
from emotion_llm.runtime.tensorboard import TensorBoardWriter
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus, encode_corpora


@dataclass(frozen=True)
class EvaluateSettings:
    """What to evaluate."""

    checkpoint: Path = Path("runs/description")
    """Run folder of launch/finetune.py (its newest checkpoint), <run>/checkpoints/best.json (its best), or one checkpoint folder."""
    run: Path | None = None
    """Where metrics.json and predictions.jsonl go; by default `evaluation` in the checkpoint's run folder."""
    data: Path | None = None
    """Folder of the prepared corpora; by default the one the run was trained with."""
    corpora: tuple[str, ...] | None = None
    """Corpora to evaluate on; by default those the run was trained with."""
    llm: str | None = None
    """Name or folder of the base LLM, where it has moved since training."""
    explanations: int = 64
    """Held-out motions per corpus to be explained in words (description runs only), at most."""
    accept_other_data: bool = False
    """Evaluate although data or split differ from the training's; recorded in metrics.json."""


PRESETS = {
    "paper": EvaluateSettings(),
    "demo": EvaluateSettings(checkpoint=Path("runs/demo/description"), explanations=16),
    "smollm2": EvaluateSettings(checkpoint=Path("runs/bandai-namco-2/recognition")),
}


def evaluate(settings: EvaluateSettings) -> dict:
    """Evaluates and writes; returns what metrics.json holds.

    Raises:
        UserError: data or split are not those of the training and `accept_other_data` is off.
    """
    device = start_processes()
    trained = load_run(settings.checkpoint, settings.llm, device, evaluation_dtype(device))
    names = settings.corpora or tuple(trained.settings["corpora"])
    corpora = encode_corpora(trained.encoder, settings.data or Path(trained.settings["data"]), names, device, settings.accept_other_data)
    now = {encoded.corpus.name: corpus_record(encoded.corpus, encoded.split) for encoded in corpora}
    differing = data_differences(trained.checkpoint.metadata["corpora"], now)
    if differing and not settings.accept_other_data:
        raise UserError(f"{'; '.join(differing)}; restore what the run was trained on, or pass --accept-other-data (it will be recorded)")

    metrics, predictions = {}, []
    for encoded in corpora:
        scores = score_clips(trained.model, trained.prompts, encoded, encoded.split.held_out, device)
        by_encoder = encoder_scores(trained, encoded, scores.clips)
        metrics[encoded.corpus.name] = recognition_metrics(scores) | {"encoder_accuracy": by_encoder.accuracy}
        records = prediction_records(encoded, scores)
        if trained.stage == "description":
            explanations = explain_clips(trained, encoded, scores, settings.explanations)
            metrics[encoded.corpus.name]["description"] = _overlap(encoded, explanations)
            records = [record | {"explanation": explanations.get(clip)} for record, clip in zip(records, scores.clips, strict=True)]
        predictions += records
        say(
            f"{encoded.corpus.name}: held-out accuracy {scores.accuracy:.1%} (encoder alone {by_encoder.accuracy:.1%}, chance {scores.chance:.1%}), "
            f"{len(scores.clips)} clips"
        )
    result = {
        "corpora": metrics,
        "checkpoint": str(trained.checkpoint.folder),
        "step": trained.checkpoint.step,
        "trained": trained.checkpoint.metadata,
        "evaluated_with": settings_to_dict(settings),
        "differs_from_training": differing,
    }
    if is_first_rank():
        folder = settings.run or trained.checkpoint.folder.parents[1] / "evaluation"
        write_json(folder / "metrics.json", result)
        _write_lines(folder / "predictions.jsonl", predictions)
        _draw(folder, metrics, trained.checkpoint.step)
        say(f"wrote {folder / 'metrics.json'} and {folder / 'predictions.jsonl'} ({len(predictions)} clips)")
    return result


def encoder_scores(trained: TrainedRun, encoded: EncodedCorpus, clips: Sequence[int]) -> CorpusScores:
    """What the encoder's own classifier says of the same clips: the mark that the LLM has to reach."""
    probabilities = [encoded.classifier_probabilities(trained.encoder, clip) for clip in clips]  # each (K,)
    truth = [encoded.emotion_index(int(encoded.windows_of_clips([clip])[0])) for clip in clips]
    return CorpusScores(encoded.corpus.emotions, tuple(clips), torch.stack(probabilities), torch.tensor(truth))


def explain_clips(trained: TrainedRun, encoded: EncodedCorpus, scores: CorpusScores, most: int) -> dict[int, str]:
    """Clip -> explanation of the emotion that was recognised; clips with a written description come first."""
    order = sorted(range(len(scores.clips)), key=lambda place: not encoded.corpus.clip(scores.clips[place]).texts)[:most]
    own = order[process_rank() :: process_count()]
    windows = [middle(encoded.windows_of_clips([scores.clips[place]])) for place in own]
    emotions = [scores.emotions[int(scores.probabilities[place].argmax())] for place in own]
    texts = explain(trained.model, trained.prompts, [encoded.motion(window) for window in windows], emotions)
    gathered = gather_over_processes(list(zip((scores.clips[place] for place in own), texts, strict=True)))
    return dict(pair for part in gathered for pair in part)


def prediction_records(encoded: EncodedCorpus, scores: CorpusScores) -> list[dict]:
    """One record per clip for predictions.jsonl."""
    records = []
    for clip, truth, row in zip(scores.clips, scores.truth.tolist(), scores.probabilities.tolist(), strict=True):
        records.append(
            {
                "corpus": encoded.corpus.name,
                "clip": str(encoded.corpus.names[clip]),
                "emotion": scores.emotions[truth],
                "predicted": scores.emotions[max(range(len(row)), key=row.__getitem__)],
                "probabilities": {emotion: round(value, 6) for emotion, value in zip(scores.emotions, row, strict=True)},
            }
        )
    return records


def _overlap(encoded: EncodedCorpus, explanations: dict[int, str]) -> dict | None:
    written = {clip: encoded.corpus.clip(clip).texts for clip in explanations}
    with_text = [clip for clip in explanations if written[clip]]
    if not with_text:
        return None
    return description_metrics([explanations[clip] for clip in with_text], [list(written[clip]) for clip in with_text])


def _draw(folder: Path, metrics: dict, step: int) -> None:
    from emotion_llm.runtime.figures import confusion_figure

    tensorboard = TensorBoardWriter(folder)
    for name, values in metrics.items():
        tensorboard.figure(f"confusion/{name}", confusion_figure(values["confusion"], values["emotions"], f"{name}: held-out clips"), step)
        tensorboard.scalars({f"evaluation/{key}/{name}": values[key] for key in ("accuracy", "macro_f1", "calibration_error")}, step)
    tensorboard.close()


def _write_lines(path: Path, records: list[dict]) -> None:
    with atomic_write(path) as tmp, tmp.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
