"""An exported model: one folder with everything that answers need, and nothing of the machine that trained it.

<folder>/export.json and the files that it lists  ->  Checkpoint

    export.json                     what the run is, label sets, reading conventions, hashes of all files
    llm/                            merged: the LLM with the adapter folded in; otherwise the base LLM. An ordinary Hugging Face folder
    adapter/                        not merged: an ordinary PEFT folder
    skeleton_tokenizer.safetensors  projections and feature statistics
    encoder/                        skeleton encoder with its layouts
    norms/                          what is usual in each corpus, where the run has kept it
    README.md, LICENSE              model card, licence of the code
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import file_hash
from emotion_llm.runtime.validation import read_json_object, validate_record
from emotion_llm.training.checkpoint import Checkpoint
from emotion_llm.training.checkpoint_record import RunRecord

EXPORT = "export.json"
LLM, ENCODER = "llm", "encoder"
FORMAT = 1
REMEDY = "export the run again with launch/export.py, or restore the file"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ExportRecord:
    """export.json."""

    format: Literal[1]
    merged: bool
    """Whether the adapter is folded into the LLM's weights."""
    step: Annotated[int, Field(ge=0)]
    origin: str
    """Hash of the checkpoint's record."""
    metadata: RunRecord
    sha256: dict[str, str]
    """Every other file of the folder -> its hash."""


def is_export(folder: Path) -> bool:
    return (folder / EXPORT).is_file()


def read_export(folder: Path) -> tuple[Checkpoint, bool]:
    """The exported model in a folder as a checkpoint, whose files it holds under their names, and whether the adapter is merged.

    Raises:
        UserError: a file is missing, changed, a link, or leads out of the folder.
    """
    content = read_json_object(folder / EXPORT, REMEDY)
    record = validate_record(ExportRecord, content, str(folder / EXPORT))
    for name, expected in record.sha256.items():
        path = folder / name
        within = [folder / part for part in (Path(name), *Path(name).parents)]
        if Path(name).is_absolute() or ".." in Path(name).parts or any(place.is_symlink() for place in within[:-1]):
            raise UserError(f"{folder / EXPORT}: {name!r} leads out of the folder; do not use this export")
        if not path.is_file():
            raise UserError(f"{folder}: {name} is missing; {REMEDY}")
        if file_hash(path) != expected:
            raise UserError(f"{folder}: {name} is not the file that was exported (its hash differs); {REMEDY}")
    return Checkpoint(folder, record.step, 0, content["metadata"]), record.merged
