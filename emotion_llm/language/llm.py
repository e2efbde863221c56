"""The large language model: loaded from the Hugging Face hub or a folder, frozen, with LoRA beside its linear layers.

name or folder  ->  frozen causal LM + text tokenizer  ->  the same with a trainable adapter
name or folder  ->  hash of configuration, weights and text tokenizer
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.constants import ENDPOINT
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import Field
from pydantic.dataclasses import dataclass
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

from emotion_llm.language.dropout import use_cheap_dropout
from emotion_llm.language.packed import PACKED_ATTENTION
from emotion_llm.language.packing_check import check_packing
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import content_hash
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes
from emotion_llm.runtime.validation import STRICT, read_json_object

EMBEDDING_SAMPLE = 8192
"""Tokens, evenly spaced in the vocabulary, whose embeddings are measured."""
CPU = torch.device("cpu")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
VOLATILE = ("transformers_version", "_name_or_path", "dtype", "torch_dtype")
"""Fields of config.json that do not change the model."""
MOST_LAYERS = 1000
"""More than four times as many as any LLM has; a model is built from its configuration before its weights are read."""


@dataclass(frozen=True, config=STRICT)
class LoraSettings:
    """The adapter (LoRA weights) beside the frozen LLM's linear layers."""

    rank: Annotated[int, Field(ge=1)] = 64
    """Rank (paper)."""
    alpha: int = 16
    """Scale: the adapter's output is multiplied by alpha / rank (paper)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Dropout before the adapter (paper)."""


def load_text_tokenizer(name_or_folder: str) -> PreTrainedTokenizerBase:
    """The LLM's text tokenizer.

    Raises:
        UserError: no such LLM, or no hub in reach.
    """
    _check_source(name_or_folder)
    with _loading(name_or_folder, "text tokenizer"):
        return AutoTokenizer.from_pretrained(name_or_folder, trust_remote_code=False)


def load_llm(name_or_folder: str, dtype: torch.dtype, device: torch.device = CPU, checked: bool = False) -> PreTrainedModel:
    """The LLM, frozen, its attention able to read packed rows (language/packed.py), which is checked first.

    Only safetensors are read and no code from the folder is run. The files are mapped into memory: on a CPU, weights stored in `dtype`
    stay there, and all processes of a machine share them; a GPU receives them one by one, without a whole copy in host memory.

    Args:
        checked: the same architecture was checked with the same versions of torch and transformers before.

    Raises:
        UserError: no such LLM, a folder without weights, no hub in reach, weights as pickle only, or an architecture that transformers
            does not know itself or that cannot read packed rows.
    """
    _check_source(name_or_folder)
    with _loading(name_or_folder, "weights"):
        config = AutoConfig.from_pretrained(name_or_folder, trust_remote_code=False)
    if not checked:
        check_packing(config)
    shown = is_progress_bar_enabled()
    disable_progress_bar()  # of loading weights
    try:
        with _loading(name_or_folder, "weights"):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name_or_folder, dtype=dtype, attn_implementation=PACKED_ATTENTION, use_safetensors=True, trust_remote_code=False,
                output_loading_info=True, device_map=device,
            )  # fmt: skip
    finally:
        if shown:
            enable_progress_bar()
    llm, found = cast(tuple[PreTrainedModel, dict[str, Any]], loaded)
    if missing := sorted(found["missing_keys"]):
        raise UserError(
            f"--llm {name_or_folder}: {len(missing)} of its weights are missing (first: {missing[0]}) and would be random; "
            "fetch the LLM again with launch/get_llm.py"
        )
    llm.config.use_cache = False
    llm.requires_grad_(False)
    return llm


def check_text_tokenizer(llm: PeftModel | PreTrainedModel, text_tokenizer: PreTrainedTokenizerBase) -> None:
    """
    Raises:
        UserError: the text tokenizer knows tokens for which the LLM has no embedding.
    """
    embeddings = llm.get_input_embeddings().get_parameter("weight").shape[0]
    if len(text_tokenizer) > embeddings:
        raise UserError(
            f"--llm {text_tokenizer.name_or_path}: its text tokenizer has {len(text_tokenizer):,} tokens, but its embedding layer {embeddings:,}; "
            "they belong to different LLMs, fetch the LLM again"
        )


def add_adapter(llm: PreTrainedModel, settings: LoraSettings) -> PeftModel:
    """A fresh adapter on all linear layers but the head (our choice; the paper says only rank, alpha and dropout)."""
    adapter = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(llm, adapter)
    use_cheap_dropout(adapted)
    return adapted


def embedding_scale(llm: PreTrainedModel) -> float:
    """Root mean square of what the LLM's embedding layer returns (Gemma 3 scales its weights): the initial size of a skeleton token."""
    layer = llm.get_input_embeddings()
    weight = layer.get_parameter("weight")
    sample = torch.linspace(0, len(weight) - 1, min(len(weight), EMBEDDING_SAMPLE), dtype=torch.float64).long().to(weight.device)
    with torch.no_grad():
        return float(layer(sample).float().pow(2).mean().sqrt())


def llm_hash(name_or_folder: str) -> str:
    """Hash of the whole content of a loaded LLM's files, computed by the first rank for all. Every rank must call it.

    An adapter only fits the LLM it was trained on: checkpoints store this hash and are refused with another LLM.

    Raises:
        UserError: a file cannot be read.
    """
    found: str | Exception | None = None
    if is_first_rank():
        try:
            folder = Path(name_or_folder)
            if not folder.is_dir() and isinstance(cached := try_to_load_from_cache(name_or_folder, "config.json"), str):
                folder = Path(cached).parent
            found = _hash_folder(folder)
        except (OSError, ValueError) as error:
            found = error
    result = gather_over_processes(found)[0]
    if not isinstance(result, str):
        raise UserError(f"--llm {name_or_folder}: cannot be read ({result}); fetch the LLM again")
    return result


def hub_in_reach() -> bool:
    """Whether the Hugging Face hub's address resolves; asked first, because the hub's own client retries for half a minute."""
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return False
    try:
        socket.getaddrinfo(urlsplit(ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def _check_source(name_or_folder: str) -> None:
    folder = Path(name_or_folder)
    if not folder.is_dir():
        looks_like_a_path = name_or_folder.count("/") != 1 or name_or_folder.startswith((".", "~", "models/", "runs/", "data/"))
        if looks_like_a_path or not (hub_in_reach() or try_to_load_from_cache(name_or_folder, "config.json")):
            where = "no such folder" if looks_like_a_path else "no such folder, not in the Hugging Face cache, and the hub is out of reach"
            raise UserError(
                f"--llm {name_or_folder}: {where}; give a folder (launch/get_llm.py makes one) or the name of a model on a hub in reach"
            )
        return
    if not (folder / "config.json").is_file():
        raise UserError(f"--llm {name_or_folder}: not an LLM folder (config.json is missing); make one with launch/get_llm.py")
    config = read_json_object(folder / "config.json", "fetch the LLM again")
    if "auto_map" in config:
        raise UserError(
            f"{folder / 'config.json'}: 'auto_map' asks for Python code of that folder to be run, which is never done; "
            "use a model whose architecture the transformers library knows, or delete 'auto_map'"
        )
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"--llm {name_or_folder}: this folder contains an adapter (adapter_config.json), which would load another LLM; "
            "give a folder with an LLM only"
        )
    layers = config.get("num_hidden_layers")
    if isinstance(layers, int) and layers > MOST_LAYERS:
        raise UserError(f"{folder / 'config.json'}: num_hidden_layers is {layers:,}; no LLM has so many, fetch it again")
    _check_index(folder)
    if not list(folder.glob("*.safetensors")):
        raise UserError(
            f"--llm {name_or_folder}: an LLM folder without weights (no *.safetensors); fetch the LLM again with launch/get_llm.py"
        )


def _check_index(folder: Path) -> None:
    """transformers opens whatever file the index names, pickles too."""
    for index in folder.glob("*.index.json"):
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            strange = sorted(name for name in named if Path(name).name != name or not name.endswith(".safetensors"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{index}: not an index of weights ({type(error).__name__}); fetch the LLM again") from None
        if strange:
            raise UserError(f"{index}: names {strange[0]!r}, which is no safetensors file of this folder; fetch the LLM again")


@contextmanager
def _loading(name_or_folder: str, what: str) -> Iterator[None]:
    """Raises UserError: the libraries cannot read it. A damaged or hostile folder brings out errors of any kind in them."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"--llm {name_or_folder}: its {what} cannot be loaded ({reason}); is the name right and the Hugging Face hub in reach? "
            "Otherwise give a folder: launch/get_llm.py makes one"
        ) from None


def _hash_folder(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    parts: list[object] = [{name: value for name, value in config.items() if name not in VOLATILE}]
    files = [*sorted(folder.glob("*.safetensors")), *(folder / name for name in TOKENIZER_FILES if (folder / name).is_file())]
    parts += [[path.name, content_hash(path)] for path in files]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
