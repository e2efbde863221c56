"""A fine-tuned run, rebuilt from what is saved in its folder.

<run>/checkpoints/..., <run>/encoder, the LLM  ->  TrainedRun: model, prompts, encoder
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from emotion_llm.inference.export_folder import ENCODER, EXPORT, Export, is_export, read_export
from emotion_llm.inference.recordings import Conventions
from emotion_llm.language.llm import LoraSettings, load_llm, load_text_tokenizer
from emotion_llm.language.llm_hash import llm_hash
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.pretraining.trained_encoder import TrainedEncoder, load_encoder
from emotion_llm.runtime.console import say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import file_hash
from emotion_llm.skeleton_tokens.encoded_corpus import Movement
from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import Slots
from emotion_llm.training.assembly import build_model, check_same_origin, check_same_prompts
from emotion_llm.training.checkpoint import RECORD, Checkpoint, find_checkpoint


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
    def movement(self) -> Movement:
        """What it reads of a movement."""
        return self.settings.get("movement", "tokens")

    @property
    def title(self) -> str:
        """Which checkpoint, in words."""
        return f"{self.stage} checkpoint {self.checkpoint.folder} on {self.settings['llm']}"

    @property
    def conventions(self) -> Conventions:
        """How recordings are read, and the label sets."""
        return FoundRun(self.checkpoint, self.encoder, self.checkpoint.folder).conventions

    @property
    def settings(self) -> dict:
        """The settings it was trained with."""
        return self.checkpoint.metadata["settings"]


@dataclass(frozen=True)
class FoundRun:
    """A trained run before its LLM is loaded."""

    checkpoint: Checkpoint
    encoder: TrainedEncoder
    folder: Path
    """Holds what belongs to the run beside the checkpoint: encoder, norms, evaluation."""
    exported: Export | None = None
    """Not None: a folder of launch/export.py."""

    @property
    def conventions(self) -> Conventions:
        """How recordings are read, and the label sets."""
        layouts = {layout.name: layout for layout in self.encoder.encoder.layouts}
        return Conventions(self.checkpoint.metadata["corpora"], layouts)

    def check_reads_tokens(self) -> None:
        """
        Raises:
            UserError: the run reads words in place of skeleton tokens.
        """
        if self.checkpoint.metadata["settings"].get("movement", "tokens") != "tokens":
            raise UserError(
                f"{self.folder}: this run reads measured qualities in words in place of skeleton tokens, a baseline for launch/evaluate.py; "
                "choose a run that was trained with --movement tokens"
            )

    @property
    def identity(self) -> list[str]:
        """Hashes of the trained weights, the LLM and the encoder."""
        metadata = self.checkpoint.metadata
        record = self.checkpoint.folder / (RECORD if self.exported is None else EXPORT)
        return [file_hash(record), metadata["llm_fingerprint"], metadata["encoder_hash"]]


def find_run(path: Path) -> FoundRun:
    """The newest checkpoint of a run folder, its best if <run>/checkpoints/best.json is given, one checkpoint folder, or an export.

    Raises:
        UserError: no checkpoint there, or a damaged one.
    """
    if is_export(path):
        exported = read_export(path)
        return FoundRun(exported.checkpoint, load_encoder(path / ENCODER), path, exported)
    checkpoint = find_checkpoint(path)
    return FoundRun(checkpoint, load_encoder(checkpoint.run / ENCODER), checkpoint.run)


def load_run(path: Path, llm: str | None, device: torch.device, dtype: torch.dtype) -> TrainedRun:
    """The run that `find_run` finds, with its LLM; says which.

    Raises:
        UserError: as `find_run` and `load_found`.
    """
    trained = load_found(find_run(path), llm, device, dtype)
    say(trained.title)
    return trained


def load_found(found: FoundRun, llm: str | None, device: torch.device, dtype: torch.dtype) -> TrainedRun:
    """Loads the LLM of a run and sets the trained weights.

    The architecture is not checked again (language/packing_check.py) with the versions of torch and transformers that the run was
    trained with: the training has checked it. The chat template is rendered meanwhile, in its own process.

    Args:
        llm: Hugging Face name or folder of the base LLM, if it has moved since training.

    Raises:
        UserError: another LLM than it was trained with, one that cannot be loaded, or an edited prompt.
    """
    checkpoint, encoder, exported = found.checkpoint, found.encoder, found.exported
    settings = checkpoint.metadata["settings"]
    name = exported.llm if exported is not None else llm or settings["llm"]
    known = checkpoint.metadata["versions"]
    checked = all(known.get(library) == version(library) for library in ("torch", "transformers"))
    slots = Slots(**settings["slots"])
    with ThreadPoolExecutor(1) as pool:
        prompts = pool.submit(lambda: PromptWriter(load_text_tokenizer(name)))
        if exported is not None and exported.merged:
            base = load_llm(name, dtype, device, checked)
            model = EmotionLLM(base, SkeletonTokenizer(encoder.channels, base.config.get_text_config().hidden_size), slots)
            exported.load_projections(model)
        else:
            model = build_model(name, dtype, LoraSettings(**settings["lora"]), encoder.channels, slots, device, checked)
            if exported is None:
                check_same_origin(checkpoint, llm_hash(name), encoder.encoder_hash)
            checkpoint.load_model(model)
        check_same_prompts(checkpoint, prompts.result().texts)
        for weight, parameter in model.llm.named_parameters():
            if "lora_" in weight:
                parameter.data = parameter.data.to(dtype)  # PEFT keeps it in fp32, and would cast activations back and forth
        return TrainedRun(checkpoint, model.eval(), prompts.result(), encoder)
