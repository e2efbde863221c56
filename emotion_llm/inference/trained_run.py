"""A fine-tuned run as it lies on disk: what is known of it before its LLM is loaded.

<run>/checkpoints/..., <run>/encoder, or an exported folder  ->  FoundRun: checkpoint, encoder, reading conventions
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emotion_llm.inference.export_folder import ENCODER, EXPORT, is_export, read_export
from emotion_llm.inference.recordings import Conventions
from emotion_llm.pretraining.trained_encoder import TrainedEncoder, load_encoder
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import file_hash
from emotion_llm.skeleton_tokens.encoded_corpus import Movement
from emotion_llm.training.checkpoint import RECORD, Checkpoint, find_checkpoint


@dataclass(frozen=True)
class FoundRun:
    """A fine-tuned run whose files were verified."""

    checkpoint: Checkpoint
    encoder: TrainedEncoder
    folder: Path
    """Holds what belongs to the run beside the checkpoint: encoder, norms, evaluation."""
    exported: bool
    """A folder of launch/export.py."""
    merged: bool
    """An exported folder whose LLM has the adapter folded in."""
    asked_encoder_share: float | None = field(default=None, kw_only=True)
    """In place of the share that the run was trained to answer with."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that it was trained with."""
        return self.checkpoint.metadata["settings"]

    @property
    def stage(self) -> str:
        return self.settings["stage"]

    @property
    def title(self) -> str:
        """Which checkpoint, in words."""
        return f"{self.stage} checkpoint {self.checkpoint.folder} on {self.settings['llm']}"

    @property
    def conventions(self) -> Conventions:
        """How recordings are read, and the label sets."""
        layouts = {layout.name: layout for layout in self.encoder.encoder.layouts}
        return Conventions(self.checkpoint.metadata["corpora"], layouts)

    @property
    def movement(self) -> Movement:
        """What it reads of a movement."""
        return self.settings.get("movement", "tokens")

    @property
    def encoder_share(self) -> float:
        """Weight of the encoder's classifier in the answers; none where the LLM reads words, as the classifier reads the movement."""
        trained = self.settings["encoder_share"] if self.movement == "tokens" else 0.0
        return trained if self.asked_encoder_share is None else self.asked_encoder_share

    @property
    def identity(self) -> list[str]:
        """What answers depend on: hashes of the trained weights, the LLM and the encoder, and the encoder's share."""
        metadata = self.checkpoint.metadata
        record = self.checkpoint.folder / (EXPORT if self.exported else RECORD)
        return [file_hash(record), metadata["llm_fingerprint"], metadata["encoder_hash"], str(self.encoder_share)]


def find_run(path: Path, accept_words: bool = False, encoder_share: float | None = None) -> FoundRun:
    """The newest checkpoint of a run folder, its best if <run>/checkpoints/best.json is given, one checkpoint folder, or an export.

    Args:
        encoder_share: weight of the encoder's classifier in the answers, by default that of the run's settings.
        accept_words: of runs that read words in place of skeleton tokens, which cannot read recordings.

    Raises:
        UserError: no checkpoint there, a damaged one, one that reads words, or a share out of bounds.
    """
    if encoder_share is not None and not 0 <= encoder_share <= 1:
        raise UserError(f"encoder_share is {encoder_share}; it must be from 0 (the LLM alone) to 1 (the encoder's classifier alone)")
    if is_export(path):
        checkpoint, merged = read_export(path)
        return FoundRun(checkpoint, load_encoder(path / ENCODER), path, True, merged, asked_encoder_share=encoder_share)
    checkpoint = find_checkpoint(path)
    encoder = load_encoder(checkpoint.run / ENCODER)
    found = FoundRun(checkpoint, encoder, checkpoint.run, False, False, asked_encoder_share=encoder_share)
    if found.movement == "words" and not accept_words:
        raise UserError(
            f"{found.folder}: this run reads measured qualities in words in place of skeleton tokens, a baseline for launch/evaluate.py; "
            "choose a run that was trained with --movement tokens"
        )
    return found
