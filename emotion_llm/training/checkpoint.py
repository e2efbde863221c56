"""Checkpoints that describe themselves: only what trains, as safetensors and JSON.

Engine, step, what the run is  ->  <run>/checkpoints/step-00000100/  ->  the same weights and moments, at any number of processes

    adapter/                        an ordinary PEFT folder: PeftModel.from_pretrained opens it
    skeleton_tokenizer.safetensors  projections and feature statistics
    moments.safetensors             AdamW's moments, by parameter name
    checkpoint.json                 step, settings, hashes, versions, checksums of the files above; written last

A checkpoint is written aside, flushed and renamed: a folder without a leading dot is whole. Checksums are verified before anything is
loaded; a damaged checkpoint is passed over for the one before. There is no random state to save: data order and dropout noise depend on
the seed and the step alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from emotion_llm.console import is_first_rank, say, write_json
from emotion_llm.errors import UserError
from emotion_llm.language.model import EmotionLLM
from emotion_llm.processes import sum_over_processes
from emotion_llm.training.engine import MOMENTS, Engine

WEIGHT_FILES = ("adapter/adapter_model.safetensors", "skeleton_tokenizer.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk, its checksums verified."""

    folder: Path
    step: int
    updates: int
    about: dict
    """What the run is: stage, settings, LLM and its fingerprint, encoder and data hashes, label sets."""

    def load_model(self, model: EmotionLLM) -> None:
        """Sets the adapter's and the projections' weights, strictly: every trainable weight is in the file and nothing else is."""
        load_trainable(model, self.weights())

    def weights(self) -> dict[str, Tensor]:
        """Parameter or buffer name in EmotionLLM -> fp32 tensor."""
        adapter = load_file(self.folder / "adapter" / "adapter_model.safetensors")
        tokenizer = load_file(self.folder / "skeleton_tokenizer.safetensors")
        return {_model_name(name): value for name, value in adapter.items()} | {
            f"skeleton_tokenizer.{name}": value for name, value in tokenizer.items()
        }

    def engine_state(self) -> dict[str, dict[str, Tensor]]:
        """What `Engine.set_state` takes."""
        flat = load_file(self.folder / "moments.safetensors") if self.updates else {}
        state: dict[str, dict[str, Tensor]] = {"weight": self.weights()}
        for moment in MOMENTS if self.updates else ():
            state[moment] = {name.removeprefix(f"{moment}/"): value for name, value in flat.items() if name.startswith(f"{moment}/")}
        return state


def save_checkpoint(run: Path, engine: Engine, step: int, about: dict, keep: int) -> bool:
    """Gathers what trains from all ranks and writes it on the first. Every rank must call it.

    A disk that is full or gone ends the save, not the training: the older checkpoints stay, and the next save tries again.

    Returns:
        True where the checkpoint is whole on disk; the same on every rank.
    """
    state, updates = engine.gather_state(), engine.updates
    failed = torch.zeros(1)
    if is_first_rank():
        folder = run / "checkpoints" / f"step-{step:08d}"
        aside = folder.with_name(f".{folder.name}.aside")
        try:
            _write(aside, engine.model, state, {"step": step, "updates": updates, "about": about})
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
            _flush(folder.parent)
        except OSError as error:
            failed += 1
            shutil.rmtree(aside, ignore_errors=True)
            say(f"warning: checkpoint of step {step} not written ({error}); training goes on, older checkpoints are intact; free some space in {run}")
        else:
            for old in _folders(run)[:-keep]:
                shutil.rmtree(old, ignore_errors=True)
    return not sum_over_processes(failed).item()


def _write(aside: Path, model: EmotionLLM, state: dict[str, dict[str, Tensor]], content: dict) -> None:
    """Writes every file of a checkpoint, flushed; checkpoint.json, with the checksums of the others, comes last."""
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "adapter").mkdir(parents=True)
    weights = state["weight"]
    adapter = {_peft_name(name): value for name, value in weights.items() if name.startswith("llm.")}
    tokenizer = {name: value.detach().cpu().clone() for name, value in model.skeleton_tokenizer.state_dict().items()}
    tokenizer |= {name.removeprefix("skeleton_tokenizer."): value for name, value in weights.items() if not name.startswith("llm.")}
    moments = {f"{moment}/{name}": value for moment in MOMENTS for name, value in state.get(moment, {}).items()}
    model.llm.peft_config["default"].save_pretrained(str(aside / "adapter"))
    save_file(adapter, aside / "adapter" / "adapter_model.safetensors", metadata={"format": "pt"})
    save_file(tokenizer, aside / "skeleton_tokenizer.safetensors")
    if moments:
        save_file(moments, aside / "moments.safetensors")
    files = sorted(path for path in aside.rglob("*") if path.is_file())
    for path in files:
        _flush(path)
    write_json(aside / "checkpoint.json", content | {"sha256": {path.relative_to(aside).as_posix(): _sha256(path) for path in files}})
    _flush(aside)


def newest_checkpoint(run: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a run; damaged ones are passed over and named. None where there is none.

    Raises:
        UserError: every checkpoint of the run is damaged.
    """
    damaged = []
    for folder in reversed(_folders(run)):
        try:
            return read_checkpoint(folder)
        except UserError as error:
            damaged.append(str(error))
            say(f"warning: {error}; looking for an older one")
    if damaged:
        raise UserError(f"{run / 'checkpoints'}: all {len(damaged)} checkpoints are damaged; restore one from a copy, or start anew in another --run folder")
    return None


def read_checkpoint(folder: Path) -> Checkpoint:
    """A checkpoint whose checksums are right.

    Raises:
        UserError: a file is missing, truncated or altered.
    """
    try:
        content = json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))
        checksums = dict(content["sha256"])
        for name in (*WEIGHT_FILES, *checksums):
            path = (folder / name).resolve()
            if not path.is_relative_to(folder.resolve()):
                raise UserError(f"{folder}: checkpoint.json names the file {name!r} outside of its folder; do not use this checkpoint")
            if not path.is_file():
                raise UserError(f"{folder}: {name} is missing")
            if _sha256(path) != checksums.get(name):
                raise UserError(f"{folder}: {name} is damaged (its checksum differs from the one in checkpoint.json)")
        return Checkpoint(folder, int(content["step"]), int(content["updates"]), dict(content["about"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{folder}: checkpoint.json cannot be read ({type(error).__name__}: {error})") from None


def load_trainable(model: EmotionLLM, weights: dict[str, Tensor]) -> None:
    """Copies weights into the adapter and the skeleton tokenizer.

    Raises:
        UserError: weights that the model lacks, that it has besides, or of another shape.
    """
    expected = {name: value for name, value in model.state_dict().items() if "lora_" in name or name.startswith("skeleton_tokenizer.")}
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or unknown:
        raise UserError(
            f"the checkpoint does not fit the model: {len(missing)} weights missing (first: {missing[:1]}), {len(unknown)} unknown "
            f"(first: {unknown[:1]}); use the LLM and the --lora settings it was trained with"
        )
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            raise UserError(
                f"the checkpoint does not fit the model: {name} has shape {tuple(value.shape)}, expected {tuple(expected[name].shape)}; "
                "use the encoder, the LLM and the --lora settings it was trained with"
            )
        expected[name].copy_(value)


def _folders(run: Path) -> list[Path]:
    """Checkpoint folders of a run, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def _peft_name(name: str) -> str:
    return name.removeprefix("llm.").replace(".default.", ".")


def _model_name(peft_name: str) -> str:
    return "llm." + peft_name.replace("lora_A.", "lora_A.default.").replace("lora_B.", "lora_B.default.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
