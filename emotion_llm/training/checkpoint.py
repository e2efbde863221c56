"""Checkpoints that describe themselves: only what trains, as safetensors and JSON, read with suspicion.

<run>/checkpoints/step-00000100/  ->  Checkpoint: weights and moments by parameter name, at any number of processes

    adapter/                        an ordinary PEFT folder: PeftModel.from_pretrained opens it
    skeleton_tokenizer.safetensors  projections and feature statistics
    moments.safetensors             AdamW's moments, by parameter name
    checkpoint.json                 step, settings, hashes, versions, checksums of the files above and of itself

Checksums find what a disk has damaged; a damaged checkpoint is passed over for the one before. They do not stop a person who made the
files on purpose, so nothing in them is believed either: only these files are read, none of them a link, no code is run, and every shape
is compared with what the model expects. There is no random state to save: data order and dropout noise depend on the seed and the step
alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, float32

from emotion_llm.language.llm import LoraSettings
from emotion_llm.language.model import EmotionLLM
from emotion_llm.motion.canonical import CanonicalSettings
from emotion_llm.runtime.console import say
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_tokens.unified import Slots
from emotion_llm.training.engine import MOMENTS
from emotion_llm.training.settings import PRESETS

ABOUT, TOKENIZER, MOMENT_FILE = "checkpoint.json", "skeleton_tokenizer.safetensors", "moments.safetensors"
ADAPTER, ADAPTER_CONFIG = "adapter/adapter_model.safetensors", "adapter/adapter_config.json"
BEST = "best.json"
LARGEST_JSON = 16 * 2**20
"""Bytes; a checkpoint.json is a few thousand."""
MOST_SLOTS = 1_000_000


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk, its checksums verified."""

    folder: Path
    step: int
    updates: int
    metadata: dict
    """What the run is: stage, settings, LLM and its fingerprint, encoder and data hashes, label sets."""

    def load_model(self, model: EmotionLLM) -> None:
        """Sets the adapter's and the projections' weights, strictly: every trainable weight is in the file and nothing else is."""
        load_trainable(model, self.weights())

    def weights(self) -> dict[str, Tensor]:
        """Parameter or buffer name in EmotionLLM -> fp32 tensor."""
        adapter, tokenizer = _read_tensors(self.folder / ADAPTER), _read_tensors(self.folder / TOKENIZER)
        return {_model_name(name): value for name, value in adapter.items()} | {
            f"skeleton_tokenizer.{name}": value for name, value in tokenizer.items()
        }

    def engine_state(self, trainable: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """What `Engine.set_state` takes.

        Raises:
            UserError: moments of other names or shapes than what trains.
        """
        flat = _read_tensors(self.folder / MOMENT_FILE) if self.updates else {}
        state: dict[str, dict[str, Tensor]] = {"weight": self.weights()}
        for moment in MOMENTS if self.updates else ():
            state[moment] = {name.removeprefix(f"{moment}/"): value for name, value in flat.items() if name.startswith(f"{moment}/")}
            check_fit(trainable, state[moment])
        return state


def find_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint that a path means: a run folder (its newest), <run>/checkpoints/best.json (its best), or one checkpoint folder.

    Raises:
        UserError: no checkpoint there, or only damaged ones.
    """
    if (path / ABOUT).is_file():
        return read_checkpoint(path)
    if path.name == BEST and path.is_file():
        try:
            step = int(json.loads(path.read_text(encoding="utf-8"))["step"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{path}: cannot be read ({reason}); give one of the step-... folders beside it") from None
        return read_checkpoint(checkpoint_folder(path.parents[1], step))
    checkpoint = newest_checkpoint(path)
    if checkpoint is None:
        raise UserError(f"{path}: no checkpoint here; give the run folder of launch/finetune.py")
    return checkpoint


def newest_checkpoint(run: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a run; damaged ones are passed over and named. None where there is none.

    Raises:
        UserError: every checkpoint of the run is damaged.
    """
    damaged = 0
    for folder in reversed(checkpoint_folders(run)):
        try:
            return read_checkpoint(folder)
        except UserError as error:
            damaged += 1
            say(f"warning: {error}; looking for an older one")
    if damaged:
        raise UserError(
            f"{run / 'checkpoints'}: all {damaged} checkpoints are damaged; restore one from a copy, or start anew in another --run folder"
        )
    return None


def checkpoint_folder(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:08d}"


def checkpoint_folders(run: Path) -> list[Path]:
    """Checkpoint folders of a run, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"), key=lambda folder: (len(folder.name), folder.name))


def read_checkpoint(folder: Path) -> Checkpoint:
    """A checkpoint whose checksums are right and whose record can be believed.

    Raises:
        UserError: a file is missing, truncated, altered, or none that we would have written.
    """
    try:
        content = json.loads(_read_json(folder / ABOUT))
        if content.pop("checksum") != content_checksum(content):
            raise UserError(f"{folder}: {ABOUT} is damaged (its checksum differs from its content)")
        step, updates, metadata = content["step"], content["updates"], content["metadata"]
        if not (type(step) is int and type(updates) is int and 0 <= updates <= step):
            raise UserError(f"{folder}: {ABOUT} speaks of step {step!r} and {updates!r} updates; do not use this checkpoint")
        _check_files(folder, dict(content["sha256"]), with_moments=updates > 0)
        _check_about(metadata)
        _check_rank(folder, metadata["settings"]["lora"]["rank"])
        return Checkpoint(folder, step, updates, metadata)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{folder}: {ABOUT} cannot be read ({type(error).__name__}: {str(error)[:200]})") from None


def content_checksum(content: Mapping) -> str:
    """Of checkpoint.json without its own checksum."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_trainable(model: EmotionLLM, weights: Mapping[str, Tensor]) -> None:
    """Copies weights into the adapter and the skeleton tokenizer.

    Raises:
        UserError: weights that the model lacks, that it has besides, or of another shape.
    """
    expected = {name: value for name, value in model.state_dict().items() if "lora_" in name or name.startswith("skeleton_tokenizer.")}
    check_fit(expected, weights)
    for name, value in weights.items():
        expected[name].copy_(value)


def check_fit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """
    Raises:
        UserError: other names or other shapes than expected.
    """
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unknown:
        raise UserError(
            f"the checkpoint does not fit the model: {len(missing)} weights missing (first: {missing[:1]}), {len(unknown)} unknown "
            f"(first: {unknown[:1]}); use the LLM and the --lora settings it was trained with"
        )
    for name, value in found.items():
        if value.shape != expected[name].shape:
            raise UserError(
                f"the checkpoint does not fit the model: {name} has shape {tuple(value.shape)}, expected {tuple(expected[name].shape)}; "
                "use the encoder, the LLM and the --lora settings it was trained with"
            )


def _read_json(path: Path) -> str:
    """The text of a JSON file of ours: an ordinary file of ordinary size."""
    if path.is_symlink():
        raise UserError(f"{path.parent}: {path.name} is a link; do not use this checkpoint")
    if path.is_file() and path.stat().st_size > LARGEST_JSON:
        raise UserError(f"{path.parent}: {path.name} has {path.stat().st_size:,} bytes; do not use this checkpoint")
    return path.read_text(encoding="utf-8")


def _check_files(folder: Path, checksums: dict[str, str], with_moments: bool) -> None:
    expected = {ADAPTER_CONFIG, ADAPTER, TOKENIZER, *([MOMENT_FILE] if with_moments else [])}
    if strange := sorted(map(str, checksums.keys() - expected)):
        raise UserError(f"{folder}: {ABOUT} names the file {strange[0]!r}, which no checkpoint has; do not use this checkpoint")
    for name in sorted(expected):
        path = folder / name
        if path.is_symlink() or (path.parent != folder and path.parent.is_symlink()):
            raise UserError(f"{folder}: {name} is a link; do not use this checkpoint")
        if not path.is_file():
            raise UserError(f"{folder}: {name} is missing")
        if file_checksum(path) != checksums.get(name):
            raise UserError(f"{folder}: {name} is damaged (its checksum differs from the one in {ABOUT})")


def _check_about(metadata: dict) -> None:
    """Everything that the readers of a checkpoint rely on, so that a made-up record ends here and not somewhere inside.

    Raises:
        UserError, ValueError, KeyError, TypeError: a value of another kind than ours.
    """
    settings = metadata["settings"]
    if settings["stage"] not in PRESETS:
        raise ValueError(f"no such stage: {settings['stage']!r}")
    _expect(str, metadata["llm_fingerprint"], metadata["encoder_hash"], settings["llm"], settings["data"], *settings["corpora"])
    _expect(dict, metadata["versions"], metadata["corpora"], *metadata["corpora"].values())
    lora, slots = LoraSettings(**settings["lora"]), Slots(**settings["slots"])
    _expect(int, lora.rank, slots.spatial, slots.temporal)
    if not (math.isfinite(lora.alpha) and math.isfinite(lora.dropout) and slots.total <= MOST_SLOTS):
        raise ValueError(f"no usable settings: {settings['lora']}, {settings['slots']}")
    for corpus in metadata["corpora"].values():
        _expect(str, corpus["data_hash"], corpus["split_hash"], corpus["layout"], *corpus["emotions"])
        _expect(dict, corpus["canonical"], corpus["reading"])
        CanonicalSettings(**corpus["canonical"])


def _expect(kind: type, *values: object) -> None:
    for value in values:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}, found {str(value)[:40]!r}")


def _check_rank(folder: Path, rank: int) -> None:
    """A model is built from the record before its weights are loaded: a rank that the file does not have would fill the memory.

    Raises:
        UserError: the adapter's file holds another rank, or cannot be read.
    """
    try:
        with safe_open(folder / ADAPTER, framework="pt") as file:
            ranks = {file.get_slice(name).get_shape()[0] for name in file.keys() if ".lora_A." in name}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, IndexError) as error:
        raise UserError(f"{folder}: {ADAPTER} cannot be read ({error})") from None
    if ranks != {rank}:
        found = sorted(ranks)[:3]
        raise UserError(f"{folder}: the adapter's rank is {rank} in {ABOUT} but {found} in its file; do not use this checkpoint")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    for name, value in tensors.items():
        if value.dtype != float32:
            raise UserError(f"{path}: {name} is of type {value.dtype}, expected float32; do not use this checkpoint")
    return tensors


def _model_name(peft_name: str) -> str:
    return "llm." + peft_name.replace("lora_A.", "lora_A.default.").replace("lora_B.", "lora_B.default.")
