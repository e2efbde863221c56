"""An exported model: one folder with everything that answers need, and nothing of the machine that trained it.

<folder>/export.json and the files that it lists  ->  Checkpoint, TrainedEncoder

    export.json                     what the run is, label sets, reading conventions, hashes of all files
    llm/                            merged: the LLM with the adapter folded in; otherwise the base LLM. An ordinary Hugging Face folder
    adapter/                        not merged: an ordinary PEFT folder
    skeleton_tokenizer.safetensors  projections and feature statistics
    encoder/                        skeleton encoder with its layouts
    norms/                          what is usual in each corpus, where the run has kept it
    README.md, LICENSE              model card, licence of the code
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated_dataclass
from safetensors.torch import load_file

from emotion_llm.language.model import EmotionLLM
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import file_hash
from emotion_llm.runtime.validation import read_json_object, validate_record
from emotion_llm.training.checkpoint import TOKENIZER, Checkpoint
from emotion_llm.training.checkpoint_record import RunRecord

EXPORT = "export.json"
LLM, ENCODER = "llm", "encoder"
FORMAT = 1
REMEDY = "export the run again with launch/export.py, or restore the file"


@validated_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
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


@dataclass(frozen=True)
class Export:
    """An exported model on disk, its files verified."""

    folder: Path
    merged: bool
    checkpoint: Checkpoint
    """Its `folder` is this folder, which holds adapter and projections under a checkpoint's names."""
    files: dict[str, str]

    @property
    def llm(self) -> str:
        return str(self.folder / LLM)

    def load_projections(self, model: EmotionLLM) -> None:
        """Sets the skeleton tokenizer of a model whose LLM is merged."""
        model.skeleton_tokenizer.load_state_dict(load_file(self.folder / TOKENIZER))


def is_export(folder: Path) -> bool:
    return (folder / EXPORT).is_file()


def read_export(folder: Path) -> Export:
    """The exported model in a folder.

    Raises:
        UserError: a file is missing, changed, a link, or leads out of the folder.
    """
    content = read_json_object(folder / EXPORT, REMEDY)
    record = validate_record(ExportRecord, content, str(folder / EXPORT))
    for name, expected in record.sha256.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts or _is_linked(path, folder):
            raise UserError(f"{folder / EXPORT}: {name!r} leads out of the folder; do not use this export")
        if not path.is_file():
            raise UserError(f"{folder}: {name} is missing; {REMEDY}")
        if file_hash(path) != expected:
            raise UserError(f"{folder}: {name} is not the file that was exported (its hash differs); {REMEDY}")
    metadata: dict[str, Any] = content["metadata"]
    return Export(folder, record.merged, Checkpoint(folder, record.step, 0, metadata), record.sha256)


def _is_linked(path: Path, folder: Path) -> bool:
    while path != folder:
        if path.is_symlink():
            return True
        path = path.parent
    return False
