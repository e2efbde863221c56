"""Evaluates a run on the held-out motions of its own split.

TrainedModel, prepared corpora  ->  metrics.json, predictions.jsonl
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from pydantic import Field
from pydantic.dataclasses import dataclass

from emotion_llm.corpus.provenance import corpus_record, data_differences, open_verified
from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.corpus.store import Corpus
from emotion_llm.evaluation.attributions import attributions, faithfulness_summary
from emotion_llm.evaluation.baselines import baseline_scores, control_scores, encoder_probe, identity_probe, motion_baselines
from emotion_llm.evaluation.explanations import explain_clips, explanation_record, explanation_summary
from emotion_llm.evaluation.metrics import MethodAnswer, PredictionRecord, corpus_metrics
from emotion_llm.evaluation.tensorboard_pages import write_pages
from emotion_llm.inference.trained_model import TrainedModel
from emotion_llm.language.explaining import CANDIDATES
from emotion_llm.language.label_scoring import CorpusScores, score_clips
from emotion_llm.pretraining.trained_encoder import TrainedEncoder
from emotion_llm.runtime.console import say, settings_to_dict
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import write_json, write_json_lines
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.validation import STRICT, Share
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus


@dataclass(frozen=True, config=STRICT)
class EvaluateSettings:
    """What to evaluate."""

    run: Annotated[Path, tyro.conf.arg(aliases=["--checkpoint"])] = Path("runs/description")
    """Run folder of launch/finetune.py (its newest checkpoint), <run>/checkpoints/best.json (its best), or one checkpoint folder."""
    output: Path | None = None
    """Folder for metrics.json and predictions.jsonl; by default `evaluation` in the run folder."""
    data: Path | None = None
    """Folder of the prepared corpora; by default the one the run was trained with."""
    corpora: tuple[str, ...] | None = None
    """Corpora to evaluate on; by default those the run was trained with."""
    llm: str | None = None
    """Name or folder of the base LLM, if it has moved since training."""
    encoder_share: Share | None = None
    """Weight of the encoder's classifier in the answers, by default that of the run's settings; 0: the LLM alone, as in the paper."""
    explanations: Annotated[int, Field(ge=0)] = 64
    """Maximum number of held-out motions per corpus to explain in words, evenly spaced among them (description runs only)."""
    controls: bool = True
    """Also answer from another clip's movement, from a masked one and from none (evaluation/baselines.py)."""
    html: Path | None = None
    """Folder for a page of every held-out clip, and an index with the confusion matrix. Implies --attribution."""
    attribution: bool = False
    """Also weigh what answers rest on, of as many clips as `explanations` says, and whether the weights are faithful
    (evaluation/attributions.py). Takes as long as some hundred answers per clip."""
    candidates: Annotated[int, Field(ge=1)] = CANDIDATES
    """Explanations per motion of which the verified one is chosen; with 1, only contradicted sentences are left out."""
    accept_other_data: bool = False
    """Evaluate even if data or split differ from the training's; recorded in metrics.json."""


PRESETS = {
    "default": EvaluateSettings(),
    "demo": EvaluateSettings(run=Path("runs/demo/description"), explanations=16),
    "smollm2": EvaluateSettings(run=Path("runs/bandai-namco-2/description")),
}


def check_same_data(trained: TrainedModel, corpora: Sequence[EncodedCorpus], accept_other_data: bool) -> list[str]:
    """How the corpora differ from the training's, in words.

    Raises:
        UserError: they differ and that was not accepted.
    """
    now = {encoded.corpus.name: corpus_record(encoded.corpus, encoded.split) for encoded in corpora}
    differing = data_differences(trained.checkpoint.metadata["corpora"], now)
    if differing and not accept_other_data:
        raise UserError(f"{'; '.join(differing)}; restore what the run was trained on, or pass --accept-other-data (it will be recorded)")
    return differing


def evaluate_corpus(trained: TrainedModel, encoded: EncodedCorpus, settings: EvaluateSettings) -> tuple[dict, list[dict]]:
    """Metrics of one corpus, and one record per held-out clip. Every rank must call it."""
    by_llm = score_clips(trained.model, trained.prompts, encoded, encoded.split.held_out, trained.device)
    by_encoder = encoder_scores(trained.encoder, encoded, by_llm.clips)
    scores = by_llm.pooled_with(by_encoder, trained.encoder_share)
    baselines = {"llm": by_llm, "encoder_classifier": by_encoder} | baseline_scores(encoded, scores.clips)
    if settings.controls:
        baselines |= control_scores(trained, encoded, scores.clips)
    predictions = prediction_records(encoded.corpus, scores, baselines)
    explained = explain_clips(trained, encoded, scores, settings.explanations, settings.candidates) if trained.explains else {}
    weighs = (settings.attribution or settings.html is not None) and trained.movement == "tokens"
    weighed = attributions(trained, encoded, scores, settings.explanations) if weighs else {}
    records = []
    for place, clip in enumerate(scores.clips):
        found = weighed.get(clip)
        predictions[place] = replace(predictions[place], explained=explained.get(clip), removal=found.removal if found else None)
        records.append(
            asdict(predictions[place])
            | (explanation_record(explained.get(clip)) if trained.explains else {})
            | ({"attribution": asdict(found.attribution) if found else None} if weighed else {})
        )
    metrics = corpus_metrics(predictions) | {"encoder_accuracy": by_encoder.accuracy, "identity_probe": identity_probe(encoded)}
    say(
        f"{encoded.corpus.name}: held-out accuracy {scores.accuracy:.1%} (LLM alone {by_llm.accuracy:.1%}, "
        f"encoder alone {by_encoder.accuracy:.1%}, chance {scores.chance:.1%}), {len(scores.clips)} clips"
    )
    if never := by_llm.never_answered:
        say(
            f"the LLM answers no clip with {', '.join(never)}; if it cannot write these words, it needs more steps, or choose a larger --llm"
        )
    say("baselines: " + ", ".join(f"{name} {baseline.accuracy:.1%}" for name, baseline in baselines.items()))
    if probe := metrics["identity_probe"]:
        say(
            f"identity: the actor is read from the encoder's features in {probe['accuracy']:.1%} of the clips (chance {probe['chance']:.1%})"
        )
    if curves := metrics.get("faithfulness"):
        say(f"attribution: {faithfulness_summary(curves)}")
    for method, values in metrics.get("description", {}).get("methods", {}).items():
        say(f"explanations, {method}: {explanation_summary(values)}")
    return metrics, records


def write_results(
    settings: EvaluateSettings,
    trained: TrainedModel,
    corpora: Sequence[Corpus],
    metrics: dict[str, dict],
    predictions: list[dict],
    differing: list[str],
) -> dict:
    """Writes metrics.json, predictions.jsonl and the TensorBoard pages; returns the content of metrics.json."""
    result = {
        "corpora": metrics,
        "checkpoint": str(trained.checkpoint.folder),
        "step": trained.checkpoint.step,
        "trained": trained.checkpoint.metadata,
        "evaluated_with": settings_to_dict(settings),
        "differs_from_training": differing,
    }
    if is_first_rank():
        folder = settings.output or trained.checkpoint.run / "evaluation"
        write_json(folder / "metrics.json", result)
        write_json_lines(folder / "predictions.jsonl", predictions)
        write_pages(folder, trained, corpora, metrics, predictions)
        say(f"wrote {folder / 'metrics.json'} and {folder / 'predictions.jsonl'} ({len(predictions)} clips)")
    return result


def encoder_scores(trained: TrainedEncoder, encoded: EncodedCorpus, clips: Sequence[int]) -> CorpusScores:
    """Scores of the encoder's own classifier on the same clips: what answers are pooled with, and a baseline for the LLM."""
    probabilities = [encoded.classifier_probabilities(trained, clip) for clip in clips]  # each (K,)
    truth = torch.from_numpy(np.asarray(encoded.corpus.clips["emotion"], dtype=np.int64)[list(clips)])
    return CorpusScores(encoded.corpus.emotions, tuple(clips), torch.stack(probabilities), truth)


def prediction_records(corpus: Corpus, scores: CorpusScores, baselines: Mapping[str, CorpusScores]) -> list[PredictionRecord]:
    """One record per clip for predictions.jsonl."""
    records = []
    for place, clip in enumerate(scores.clips):
        about, own = corpus.clip(clip), _answer(scores, place)
        others = {name: _answer(baseline, place) for name, baseline in baselines.items()}
        records.append(
            PredictionRecord(own.predicted, own.probabilities, corpus.name, about.name, about.actor, about.emotion, others, about.action)
        )
    return records


def baseline_records(folder: Path, split: SplitSettings) -> list[PredictionRecord]:
    """The answers of the baselines that need no encoder: the majority's, with the others' beside them. Every rank must call it."""
    corpus = open_verified(folder)
    scores = motion_baselines(corpus, split.of(corpus), split.of(corpus).held_out)
    return prediction_records(corpus, scores.pop("majority"), scores)


def training_records(encoder: TrainedEncoder, trained: TrainedModel | None, encoded: EncodedCorpus) -> list[PredictionRecord]:
    """The answers of the trained run, or of the encoder's classifier if no LLM was trained, with those of its parts beside them. Every rank
    must call it."""
    clips = encoded.split.held_out
    by_encoder, others = encoder_scores(encoder, encoded, clips), {"encoder_probe": encoder_probe(encoded, clips)}
    if trained is None:
        return prediction_records(encoded.corpus, by_encoder, others)
    by_llm = score_clips(trained.model, trained.prompts, encoded, clips, trained.device)
    answers = by_llm.pooled_with(by_encoder, trained.encoder_share)
    return prediction_records(encoded.corpus, answers, {"llm": by_llm, "encoder_classifier": by_encoder} | others)


def _answer(scores: CorpusScores, place: int) -> MethodAnswer:
    row = scores.probabilities[place]
    probabilities = {emotion: round(value, 6) for emotion, value in zip(scores.emotions, row.tolist(), strict=True)}
    return MethodAnswer(scores.emotions[int(row.argmax())], probabilities)
