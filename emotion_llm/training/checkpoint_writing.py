"""A checkpoint on its way to disk: written aside, flushed, completed by checkpoint.json, then renamed.

Snapshot: copies of everything that trains  ->  <run>/checkpoints/step-00000100/ (its files: training/checkpoint.py)

A folder without a leading dot is whole, at whatever moment the process or the machine dies.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from peft import PeftConfig
from peft.utils import CONFIG_NAME
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from emotion_llm.runtime.files import flush, write_json
from emotion_llm.training.checkpoint import ABOUT, ADAPTER, MOMENT_FILE, TOKENIZER, checkpoint_folder, content_checksum, file_checksum
from emotion_llm.training.engine import MOMENTS, Engine


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds, copied out of the engine: training may go on while it is written."""

    step: int
    updates: int
    metadata: dict
    adapter_config: PeftConfig
    state: dict[str, dict[str, Tensor]]
    """`Engine.gather_state`; only on the first rank."""
    statistics: dict[str, Tensor]
    """The skeleton tokenizer's buffers."""


def take_snapshot(engine: Engine, step: int, metadata: dict) -> Snapshot:
    """Gathers what trains from all ranks. Every rank must call it."""
    model = engine.model
    statistics = {name: value.detach().cpu().clone() for name, value in model.skeleton_tokenizer.named_buffers()}
    return Snapshot(step, engine.updates, metadata, model.llm.peft_config["default"], engine.gather_state(), statistics)


def write_checkpoint(run: Path, snapshot: Snapshot) -> Path:
    """Writes the checkpoint, whole or not at all.

    Raises:
        OSError: the disk is full or gone; what was written before is as it was.
    """
    folder = checkpoint_folder(run, snapshot.step)
    tmp, replaced = (folder.with_name(f".{folder.name}.{what}") for what in ("aside", "replaced"))
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
    """Clears away what a killed process was writing."""
    for left in (run / "checkpoints").glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)


def _write_files(tmp: Path, snapshot: Snapshot) -> None:
    shutil.rmtree(tmp, ignore_errors=True)
    (tmp / ADAPTER).parent.mkdir(parents=True)
    weights = snapshot.state["weight"]
    adapter = {_peft_name(name): value for name, value in weights.items() if name.startswith("llm.")}
    projections = {name.removeprefix("skeleton_tokenizer."): value for name, value in weights.items() if not name.startswith("llm.")}
    moments = {f"{moment}/{name}": value for moment in MOMENTS for name, value in snapshot.state.get(moment, {}).items()}
    _write_adapter_config(snapshot.adapter_config, (tmp / ADAPTER).parent)
    save_file(adapter, tmp / ADAPTER, metadata={"format": "pt"})
    save_file(snapshot.statistics | projections, tmp / TOKENIZER)
    if moments:
        save_file(moments, tmp / MOMENT_FILE)
    files = sorted(path for path in tmp.rglob("*") if path.is_file())
    for path in files:
        path.chmod(tmp.stat().st_mode & 0o666)  # safetensors writes for its owner only, whatever the umask grants
        flush(path)
    content = {
        "step": snapshot.step,
        "updates": snapshot.updates,
        "metadata": snapshot.metadata,
        "sha256": {path.relative_to(tmp).as_posix(): file_checksum(path) for path in files},
    }
    write_json(tmp / ABOUT, content | {"checksum": content_checksum(content)})
    flush((tmp / ADAPTER).parent)
    flush(tmp)


def _write_adapter_config(config: PeftConfig, folder: Path) -> None:
    """PEFT's own file, its sets in a fixed order: the same run writes the same bytes."""
    config.save_pretrained(str(folder))
    path = folder / CONFIG_NAME
    written = json.loads(path.read_text(encoding="utf-8"))
    sets = [name for name, value in vars(config).items() if isinstance(value, set)]
    write_json(path, written | {name: sorted(written[name]) for name in sets})


def _peft_name(name: str) -> str:
    return name.removeprefix("llm.").replace(".default.", ".")
