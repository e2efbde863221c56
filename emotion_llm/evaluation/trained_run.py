"""A fine-tuned run, rebuilt from what is saved in its folder.

<run>/checkpoints/..., <run>/encoder, the LLM  ->  TrainedRun: model, prompts, encoder
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from emotion_llm.language.llm import LoraSettings, fingerprint, load_text_tokenizer
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.pretraining.trained_encoder import TrainedEncoder, load_encoder
from emotion_llm.runtime.console import say
from emotion_llm.skeleton_tokens.unified import Slots
from emotion_llm.training.assembly import build_model, check_same_origin
from emotion_llm.training.checkpoint import Checkpoint, find_checkpoint


@dataclass(frozen=True)
class TrainedRun:
    """A model that can be asked, and where it came from."""

    checkpoint: Checkpoint
    model: EmotionLLM
    prompts: PromptWriter
    encoder: TrainedEncoder

    @property
    def stage(self) -> str:
        return self.checkpoint.metadata["settings"]["stage"]

    @property
    def settings(self) -> dict:
        """The settings it was trained with."""
        return self.checkpoint.metadata["settings"]


def load_run(path: Path, llm: str | None, device: torch.device, dtype: torch.dtype) -> TrainedRun:
    """The newest whole checkpoint of a run folder, its best where <run>/checkpoints/best.json is given, or one checkpoint folder.

    Args:
        llm: Hugging Face name or folder of the base LLM, where it has moved since training.

    Raises:
        UserError: no checkpoint there, a damaged one, another LLM than it was trained with.
    """
    checkpoint = find_checkpoint(path)
    settings = checkpoint.metadata["settings"]
    encoder = load_encoder(checkpoint.folder.parents[1] / "encoder")
    name = llm or settings["llm"]
    model = build_model(name, dtype, LoraSettings(**settings["lora"]), encoder.channels, Slots(**settings["slots"]))
    check_same_origin(checkpoint, fingerprint(model.llm), encoder.encoder_hash)
    checkpoint.load_model(model)
    say(f"{settings['stage']} checkpoint {checkpoint.folder} on {name}")
    return TrainedRun(checkpoint, model.to(device).eval(), PromptWriter(load_text_tokenizer(name)), encoder)
