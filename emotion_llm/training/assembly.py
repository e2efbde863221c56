"""The parts of a fine-tune: model, initial weights, run folder, and the metadata stored in every checkpoint.

settings, trained encoder, encoded corpora  ->  EmotionLLM, the checkpoint to start from, RunRecord
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from emotion_llm.corpus.provenance import DATA_AND_SPLIT, DESCRIPTIONS, corpus_record, data_differences
from emotion_llm.grounding.claims import QUALITIES
from emotion_llm.kinematics.descriptors import DESCRIPTORS
from emotion_llm.language.llm import CPU, LoraSettings, add_adapter, embedding_scale, load_llm
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.pretraining.trained_encoder import ABOUT, WEIGHTS, TrainedEncoder
from emotion_llm.runtime.console import say, settings_to_dict
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import atomic_write, write_json
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes
from emotion_llm.runtime.run_folder import versions
from emotion_llm.runtime.stopping import remove_marker
from emotion_llm.runtime.validation import check_same_settings
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus
from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import Slots
from emotion_llm.training.checkpoint import Checkpoint, newest_checkpoint
from emotion_llm.training.settings import FinetuneSettings

FREE_TO_CHANGE = (
    "run", "data", "encoder", "llm", "start_from", "evaluate_every", "evaluate_clips", "checkpoint_every", "keep_checkpoints", "ds_config",
    "resume", "gradient_checkpointing", "max_skipped_in_a_row", "hang_timeout_seconds",
)  # fmt: skip
"""Settings that a resumed run may change; LLM, encoder and data are compared by content instead."""


def build_model(
    llm_name: str, dtype: torch.dtype, lora: LoraSettings, channels: int, slots: Slots, device: torch.device = CPU, checked: bool = False
) -> EmotionLLM:
    """The frozen LLM with a fresh adapter, and fresh projections of rows of so many channels onto its width (`checked`: see `load_llm`)."""
    llm = load_llm(llm_name, dtype, device, checked)
    tokenizer = SkeletonTokenizer(channels, llm.config.get_text_config().hidden_size, embedding_scale(llm))
    return EmotionLLM(add_adapter(llm, lora), tokenizer, slots).to(device)


def start_weights(
    model: EmotionLLM,
    settings: FinetuneSettings,
    corpora: Sequence[EncodedCorpus],
    encoder: TrainedEncoder,
    prompts: PromptWriter,
    llm_hash: str,
) -> Checkpoint | None:
    """Sets the weights before the first step: those of `start_from`, or fresh projections that know the training features.

    Returns:
        The checkpoint of `start_from`. The model may hold its weights rounded to bf16: the engine must take them from here.

    Raises:
        UserError: `start_from` has no checkpoint, or one of another encoder or LLM.
    """
    if settings.start_from is None:
        mean, std = feature_statistics(corpora)
        model.skeleton_tokenizer.set_feature_statistics(mean, std)
        if settings.semantic_start and settings.movement == "tokens":
            _point_to_words(model, corpora, encoder, prompts)
        return None
    checkpoint = newest_checkpoint(settings.start_from)
    if checkpoint is None:
        raise UserError(
            f"{settings.start_from}: no checkpoint to start from; "
            f"run launch/finetune.py --stage recognition --run {settings.start_from} first"
        )
    check_same_origin(checkpoint, llm_hash, encoder.encoder_hash)
    checkpoint.load_model(model)
    say(f"starts from {checkpoint.folder}")
    return checkpoint


@torch.no_grad()
def _point_to_words(model: EmotionLLM, corpora: Sequence[EncodedCorpus], encoder: TrainedEncoder, prompts: PromptWriter) -> None:
    """Semantic tokens start near the words of the likely emotions, and of the qualities that the descriptors measure."""
    embedding = model.base_llm.get_input_embeddings()
    device = embedding.get_parameter("weight").device

    def embed(words: str) -> torch.Tensor:
        return embedding(torch.tensor(prompts.answer(words)[:-1], device=device)).mean(0).float()  # (D,)

    learnt = {emotion for encoded in corpora for emotion in encoded.corpus.emotions}
    emotions = [emotion for emotion in encoder.record.emotions if emotion in learnt]
    classifier = encoder.model.classifier.head.weight[[encoder.record.emotions.index(emotion) for emotion in emotions]].to(device)
    descriptors = encoder.channels - encoder.encoder.width
    readings, words = [F.pad(classifier - classifier.mean(0), (0, descriptors))], [torch.stack([embed(emotion) for emotion in emotions])]
    words[0] -= words[0].mean(0)
    if descriptors:
        told = [quality for quality in QUALITIES.values() if quality.low.adjectives and quality.high.adjectives]
        places = [encoder.encoder.width + list(DESCRIPTORS).index(quality.descriptor) for quality in told]
        readings.append(F.one_hot(torch.tensor(places, device=device), encoder.channels).float())
        words.append(torch.stack([embed(quality.high.adjectives[0]) - embed(quality.low.adjectives[0]) for quality in told]))
    semantic = torch.from_numpy(np.concatenate([encoded.semantic_rows(encoded.split.train) for encoded in corpora])).to(device)
    model.skeleton_tokenizer.point_to_words(readings, words, semantic)


def feature_statistics(corpora: Sequence[EncodedCorpus]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each granularity's training features over all corpora, each corpus with equal weight.

    Shape:
        (3, C + Q), (3, C + Q)
    """
    means, squares = zip(*(encoded.training_moments() for encoded in corpora), strict=True)  # each (3, C + Q)
    mean = torch.stack(means).mean(0)
    return mean, (torch.stack(squares).mean(0) - mean**2).clamp(min=0).sqrt()


def describe_run(
    settings: FinetuneSettings, llm_hash: str, prompts: PromptWriter, encoder: TrainedEncoder, corpora: Sequence[EncodedCorpus]
) -> dict:
    """What the run is: stored in every checkpoint, compared at resume and at evaluation."""
    return {
        "settings": settings_to_dict(settings),
        "llm_fingerprint": llm_hash,
        "prompts": asdict(prompts.texts),
        "encoder_hash": encoder.encoder_hash,
        "corpora": {encoded.corpus.name: corpus_record(encoded.corpus, encoded.split) for encoded in corpora},
        "versions": versions("emotion_llm", "torch", "deepspeed", "transformers", "peft"),
    }


def check_same_origin(checkpoint: Checkpoint, llm_fingerprint: str, encoder_hash: str) -> None:
    """
    Raises:
        UserError: the checkpoint was trained on another LLM or another encoder.
    """
    for what, found, option in (("llm_fingerprint", llm_fingerprint, "--llm"), ("encoder_hash", encoder_hash, "--encoder")):
        if checkpoint.metadata[what] != found:
            raise UserError(
                f"{checkpoint.folder}: trained with {what} {checkpoint.metadata[what]}, but {option} brings {found}; "
                f"give {option} the one it was trained with, or start a new run"
            )


def prompts_of_run(checkpoint: Checkpoint, text_tokenizer: PreTrainedTokenizerBase) -> PromptWriter:
    """The prompts that a run was started with.

    Raises:
        UserError: a text was edited since; names it.
    """
    started_with = checkpoint.metadata["prompts"]
    prompts = PromptWriter(text_tokenizer, (started_with["head"], started_with["tail"]))
    for name, text in asdict(prompts.texts).items():
        if started_with[name] != text:
            raise UserError(
                f"{checkpoint.folder}: the run was started with another prompt text ({name}: {started_with[name]!r}, now {text!r}); "
                "restore it, or start a new run with another --run folder"
            )
    return prompts


def check_resumable(checkpoint: Checkpoint, metadata: dict) -> None:
    """
    Raises:
        UserError: names what differs from the start of the run and matters.
    """
    check_same_origin(checkpoint, metadata["llm_fingerprint"], metadata["encoder_hash"])
    check_same_settings(checkpoint.folder, checkpoint.metadata["settings"], metadata["settings"], FREE_TO_CHANGE)
    fields = DESCRIPTIONS if metadata["settings"]["stage"] != "recognition" else DATA_AND_SPLIT
    if differences := data_differences(checkpoint.metadata["corpora"], metadata["corpora"], fields):
        raise UserError(f"{checkpoint.folder}: {'; '.join(differences)}; restore the data, or start a new run with another --run folder")


def ds_config_path(settings: FinetuneSettings) -> Path:
    """The DeepSpeed configuration of the run; by default the stage's own in ds_configs/. Refinement is as large as description."""
    name = "recognition" if settings.stage == "recognition" else "description"
    return settings.ds_config or Path(__file__).parents[2] / "ds_configs" / f"{name}.json"


def checkpoint_to_resume(settings: FinetuneSettings) -> Checkpoint | None:
    """The run folder's newest undamaged checkpoint, the same on every rank; None if the run is new.

    Raises:
        UserError: there is one but --no-resume was given, or the ranks do not see the same.
    """
    checkpoint = newest_checkpoint(settings.run)
    steps = gather_over_processes(None if checkpoint is None else checkpoint.step)
    if len(set(steps)) > 1:
        seen = ", ".join(f"rank {rank}: {'none' if step is None else f'step {step}'}" for rank, step in enumerate(steps))
        raise UserError(
            f"{settings.run}: the processes see different checkpoints ({seen}); the run folder must be on a disk that all machines share"
        )
    if checkpoint is not None and not settings.resume:
        raise UserError(
            f"{settings.run}: holds a checkpoint of step {checkpoint.step:,}; choose another --run folder, or continue from it with --resume"
        )
    return checkpoint


def open_run_folder(settings: FinetuneSettings) -> None:
    """Makes the run folder self-contained: its settings and a copy of its encoder, which evaluation and prediction need."""
    if is_first_rank():
        remove_marker(settings.run)
        write_json(settings.run / "settings.json", settings_to_dict(settings))
        for name in (WEIGHTS, ABOUT):
            with atomic_write(settings.run / "encoder" / name) as tmp:
                shutil.copyfile(settings.encoder / name, tmp)
