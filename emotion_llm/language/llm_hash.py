"""Hash of a base LLM: of the whole content of its files.

name or folder  ->  hash of configuration, weights and text tokenizer

An adapter only fits the LLM it was trained on: checkpoints store this hash and are refused with another LLM.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import content_hash
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
VOLATILE = ("transformers_version", "_name_or_path", "dtype", "torch_dtype")
"""Fields of config.json that do not change the model."""


def llm_hash(name_or_folder: str) -> str:
    """Hash of a loaded LLM's files, computed by the first rank for all. Every rank must call it.

    Raises:
        UserError: a file cannot be read.
    """
    found: str | Exception | None = None
    if is_first_rank():
        try:
            found = _hash_folder(_folder(name_or_folder))
        except (OSError, ValueError) as error:
            found = error
    result = gather_over_processes(found)[0]
    if not isinstance(result, str):
        raise UserError(f"--llm {name_or_folder}: cannot be read ({result}); fetch the LLM again")
    return result


def _folder(name_or_folder: str) -> Path:
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    cached = try_to_load_from_cache(name_or_folder, "config.json")
    if not isinstance(cached, str):
        raise FileNotFoundError("it is not in the Hugging Face cache")
    return Path(cached).parent


def _hash_folder(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    parts: list[object] = [{name: value for name, value in config.items() if name not in VOLATILE}]
    files = [*sorted(folder.glob("*.safetensors")), *(folder / name for name in TOKENIZER_FILES if (folder / name).is_file())]
    parts += [[path.name, content_hash(path)] for path in files]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
