"""Checkpoints that describe themselves: their files, how they are written and how they are read.

Snapshot: copies of everything that trains  ->  <run>/checkpoints/step-00000100/  ->  Checkpoint: weights and moments by parameter name

    adapter/                        an ordinary PEFT folder: PeftModel.from_pretrained opens it
    skeleton_tokenizer.safetensors  projections and feature statistics
    moments.safetensors             AdamW's moments, by parameter name
    checkpoint.json                 step, settings, hashes, versions, checksums of the files above and of itself

Writes are atomic: a folder named step-... is complete, whenever the process or the machine died. Checksums detect damage; a damaged
checkpoint is skipped in favour of the one before. Checksums do not stop an attacker, so nothing in a checkpoint is trusted: only these
files are read, none of them a link, no code is run, and the record and every shape are validated. No random state is stored: data order
and dropout noise follow from seed and step.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from peft import PeftConfig
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, float32

from emotion_llm.language.model import EmotionLLM
from emotion_llm.runtime.console import say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import file_hash, flush, write_json
from emotion_llm.runtime.validation import read_json_object, validate_record
from emotion_llm.training.checkpoint_record import DO_NOT_USE, CheckpointRecord

RECORD, TOKENIZER, MOMENT_FILE = "checkpoint.json", "skeleton_tokenizer.safetensors", "moments.safetensors"
ADAPTER, ADAPTER_CONFIG = "adapter/adapter_model.safetensors", "adapter/adapter_config.json"
BEST = "best.json"
MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's two moments, under the names torch gives them."""
FOLDER_NAME = re.compile(r"step-(\d{8,})")
MAX_RECORD_BYTES = 16 * 2**20
"""A checkpoint.json has a few thousand."""


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds, copied out of the engine: training continues while it is written."""

    step: int
    updates: int
    metadata: dict
    adapter_config: PeftConfig
    state: dict[str, dict[str, Tensor]]
    """`Engine.gather_state`; only on the first rank."""
    statistics: dict[str, Tensor]
    """The skeleton tokenizer's buffers."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk, its checksums verified."""

    folder: Path
    step: int
    updates: int
    metadata: dict
    """What the run is: stage, settings, LLM and its fingerprint, encoder and data hashes, label sets (`RunRecord`)."""

    @property
    def run(self) -> Path:
        """The run folder, also if the checkpoint's path was given relative to checkpoints/."""
        return self.folder.absolute().parents[1]

    def load_model(self, model: EmotionLLM) -> None:
        """Sets the weights of the adapter and the skeleton tokenizer (`load_trainable`)."""
        load_trainable(model, self.weights())

    def weights(self) -> dict[str, Tensor]:
        """Parameter or buffer name in EmotionLLM -> fp32 tensor."""
        adapter, tokenizer = _read_tensors(self.folder / ADAPTER), _read_tensors(self.folder / TOKENIZER)
        names = {f"llm.{name.replace('.weight', '.default.weight')}": value for name, value in adapter.items()}
        return names | {f"skeleton_tokenizer.{name}": value for name, value in tokenizer.items()}

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
    if (path / RECORD).is_file():
        return read_checkpoint(path)
    if path.name == BEST and path.is_file():
        remedy = "give one of the step-... folders beside it"
        step = read_json_object(path, remedy).get("step")
        if not isinstance(step, int):
            raise UserError(f"{path}: cannot be read (step is {step!r}); {remedy}")
        return read_checkpoint(checkpoint_folder(path.absolute().parents[1], step))
    checkpoint = newest_checkpoint(path)
    if checkpoint is None:
        raise UserError(f"{path}: no checkpoint here; give the run folder of launch/finetune.py")
    return checkpoint


def newest_checkpoint(run: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint of a run; damaged ones are skipped with a warning. None if there is none.

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
            f"{run / 'checkpoints'}: all {damaged} checkpoints are damaged; restore one from a copy, or start a new run in another --run folder"
        )
    return None


def checkpoint_folder(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:08d}"


def checkpoint_folders(run: Path) -> list[Path]:
    """Checkpoint folders of a run, oldest first. Only exact names count: a copy such as step-00000010.bak is none of them."""
    steps = [int(name[1]) for folder in (run / "checkpoints").glob("step-*") if (name := FOLDER_NAME.fullmatch(folder.name))]
    return [folder for step in sorted(steps) if (folder := checkpoint_folder(run, step)).is_dir()]


def read_checkpoint(folder: Path) -> Checkpoint:
    """A checkpoint with correct checksums and a valid record.

    Raises:
        UserError: a file is missing, truncated, altered, or not one that we would have written.
    """
    try:
        path = folder / RECORD
        if path.is_symlink():
            raise UserError(f"{folder}: {RECORD} is a link; {DO_NOT_USE}")
        if (size := path.stat().st_size) > MAX_RECORD_BYTES:
            raise UserError(f"{folder}: {RECORD} has {size:,} bytes; {DO_NOT_USE}")
        content = json.loads(path.read_text(encoding="utf-8"))
        record = validate_record(CheckpointRecord, content, f"{folder}: {RECORD}")
        content.pop("checksum")
        if record.checksum != content_checksum(content):
            raise UserError(f"{folder}: {RECORD} is damaged (its checksum differs from its content)")
        _check_files(folder, record.sha256, with_moments=record.updates > 0)
        _check_rank(folder, content["metadata"]["settings"]["lora"]["rank"])
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{folder}: {RECORD} cannot be read ({type(error).__name__}: {str(error)[:200]})") from None
    return Checkpoint(folder, record.step, record.updates, content["metadata"])


def write_checkpoint(run: Path, snapshot: Snapshot) -> Path:
    """Writes a checkpoint atomically.

    Raises:
        OSError: the disk is full or gone; what was written before is unchanged.
    """
    folder = checkpoint_folder(run, snapshot.step)
    tmp, replaced = (folder.with_name(f".{folder.name}.{what}") for what in ("tmp", "replaced"))
    try:
        _write_files(tmp, snapshot)
        if folder.exists():  # of the same step, damaged
            folder.rename(replaced)
        tmp.rename(folder)
        flush(folder.parent)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        for left in (tmp, replaced):
            shutil.rmtree(left, ignore_errors=True)
    return folder


def remove_leftovers(run: Path) -> None:
    """Removes the incomplete checkpoint of a killed process."""
    for left in (run / "checkpoints").glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)


def content_checksum(content: Mapping) -> str:
    """Of checkpoint.json without its own checksum."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
    fault = f"{len(missing)} weights missing (first: {missing[:1]}), {len(unknown)} unknown (first: {unknown[:1]})"
    if not missing and not unknown:
        shapes = {name: (tuple(value.shape), tuple(expected[name].shape)) for name, value in found.items()}
        fault = next((f"{name} has shape {has}, expected {needs}" for name, (has, needs) in shapes.items() if has != needs), "")
    if fault:
        raise UserError(
            f"the checkpoint does not fit the model: {fault}; use the encoder, the LLM and the --lora settings it was trained with"
        )


def _check_files(folder: Path, checksums: dict[str, str], with_moments: bool) -> None:
    expected = {ADAPTER_CONFIG, ADAPTER, TOKENIZER, *([MOMENT_FILE] if with_moments else [])}
    if strange := sorted(map(str, checksums.keys() - expected)):
        raise UserError(f"{folder}: {RECORD} names the file {strange[0]!r}, which no checkpoint has; {DO_NOT_USE}")
    for name in sorted(expected):
        path = folder / name
        if path.is_symlink() or (path.parent != folder and path.parent.is_symlink()):
            raise UserError(f"{folder}: {name} is a link; {DO_NOT_USE}")
        if not path.is_file():
            raise UserError(f"{folder}: {name} is missing")
        if file_hash(path) != checksums.get(name):
            raise UserError(f"{folder}: {name} is damaged (its checksum differs from the one in {RECORD})")


def _check_rank(folder: Path, rank: int) -> None:
    """The model is built from the record before its weights are loaded: a rank that the file does not have could fill the memory.

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
        raise UserError(f"{folder}: the adapter's rank is {rank} in {RECORD} but {found} in its file; {DO_NOT_USE}")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    for name, value in tensors.items():
        if value.dtype != float32:
            raise UserError(f"{path}: {name} is of type {value.dtype}, expected float32; {DO_NOT_USE}")
    return tensors


def _write_files(tmp: Path, snapshot: Snapshot) -> None:
    shutil.rmtree(tmp, ignore_errors=True)
    (tmp / ADAPTER).parent.mkdir(parents=True)
    weights = snapshot.state["weight"]
    adapter = {name.removeprefix("llm.").replace(".default.", "."): weights[name] for name in weights if name.startswith("llm.")}
    projections = {name.removeprefix("skeleton_tokenizer."): value for name, value in weights.items() if not name.startswith("llm.")}
    moments = {f"{moment}/{name}": value for moment in MOMENTS for name, value in snapshot.state.get(moment, {}).items()}
    snapshot.adapter_config.save_pretrained(str((tmp / ADAPTER).parent))
    config, sets = json.loads((tmp / ADAPTER_CONFIG).read_text(encoding="utf-8")), vars(snapshot.adapter_config).items()
    ordered = {name: sorted(config[name]) for name, value in sets if isinstance(value, set)}  # the same run writes the same bytes
    write_json(tmp / ADAPTER_CONFIG, config | ordered)
    save_file(adapter, tmp / ADAPTER, metadata={"format": "pt"})
    save_file(snapshot.statistics | projections, tmp / TOKENIZER)
    if moments:
        save_file(moments, tmp / MOMENT_FILE)
    files = sorted(path for path in tmp.rglob("*") if path.is_file())
    for path in files:
        path.chmod(tmp.stat().st_mode & 0o666)  # safetensors writes for its owner only, whatever the umask allows
        flush(path)
    content = {
        "step": snapshot.step,
        "updates": snapshot.updates,
        "metadata": snapshot.metadata,
        "sha256": {path.relative_to(tmp).as_posix(): file_hash(path) for path in files},
    }
    write_json(tmp / RECORD, content | {"checksum": content_checksum(content)})
    flush((tmp / ADAPTER).parent)
    flush(tmp)
