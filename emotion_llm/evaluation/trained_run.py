"""A fine-tuned run, rebuilt from what is saved in its folder.

<run>/checkpoints/..., <run>/encoder, the LLM  ->  TrainedRun: model, prompts, encoder
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from emotion_llm.language.llm import LoraSettings, load_text_tokenizer
from emotion_llm.language.llm_hash import llm_hash
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.pretraining.trained_encoder import TrainedEncoder, load_encoder
from emotion_llm.runtime.console import say
from emotion_llm.skeleton_tokens.unified import Slots
from emotion_llm.training.assembly import build_model, check_same_origin
from emotion_llm.training.checkpoint import Checkpoint, find_checkpoint


@dataclass(frozen=True)
class TrainedRun:
    """A fine-tuned model with its checkpoint, prompts and encoder."""

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
    """The newest checkpoint of a run folder, its best if <run>/checkpoints/best.json is given, or one checkpoint folder.

    Args:
        llm: Hugging Face name or folder of the base LLM, if it has moved since training.

    Raises:
        UserError: no checkpoint there, a damaged one, another LLM than it was trained with.
    """
    checkpoint = find_checkpoint(path)
    settings = checkpoint.metadata["settings"]
    encoder = load_encoder(checkpoint.run / "encoder")
    name = llm or settings["llm"]
    model = build_model(name, dtype, LoraSettings(**settings["lora"]), encoder.channels, Slots(**settings["slots"]))
    check_same_origin(checkpoint, llm_hash(name), encoder.encoder_hash)
    checkpoint.load_model(model)
    for weight, parameter in model.llm.named_parameters():
        if "lora_" in weight:
            parameter.data = parameter.data.to(dtype)  # PEFT keeps it in fp32, and would cast activations back and forth
    say(f"{settings['stage']} checkpoint {checkpoint.folder} on {name}")
    return TrainedRun(checkpoint, model.to(device).eval(), PromptWriter(load_text_tokenizer(name)), encoder)
