"""Writes a trained run as one self-contained folder.

FoundRun, base LLM  ->  export folder (inference/export_folder.py)
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
import tyro
from peft import PeftModel
from pydantic.dataclasses import dataclass

from emotion_llm.grounding.norms import FOLDER as NORMS
from emotion_llm.inference.export_folder import ENCODER, EXPORT, FORMAT, LLM
from emotion_llm.inference.trained_model import TrainedModel
from emotion_llm.inference.trained_run import FoundRun
from emotion_llm.language.model import GENERATION_ATTENTION
from emotion_llm.pretraining.trained_encoder import ABOUT, WEIGHTS
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import file_hash, write_json
from emotion_llm.runtime.validation import STRICT
from emotion_llm.training.checkpoint import ADAPTER, ADAPTER_CONFIG, RECORD, TOKENIZER

ROOT = Path(__file__).parents[2]
KEPT_SETTINGS = (
    "stage", "corpora", "lora", "slots", "seed", "max_steps", "global_batch", "peak_learning_rate", "warmup_steps", "weight_decay",
    "gradient_clipping", "sampling", "rehearsal", "encoder_share",
)  # fmt: skip
"""Settings that say how the model was trained and how it answers. The others are paths of the machine, or change no result."""
ENCODER_PATHS = ("run", "data", "text_encoder")
"""Settings of the pre-training that may be paths of the machine; encoder.json's hash does not cover them."""


@dataclass(frozen=True, config=STRICT)
class ExportSettings:
    """What to export."""

    output: Annotated[Path, tyro.conf.Positional]
    """The folder to write; must not exist."""
    run: Path = Path("runs/description")
    """Run folder of launch/finetune.py (its newest checkpoint), <run>/checkpoints/best.json (its best), or one checkpoint folder."""
    merge: bool = True
    """Fold the adapter into the LLM's weights, which engines such as vLLM need; otherwise base LLM and adapter are written apart."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the LLM's weights. Adapters are merged in fp32; bf16 halves the size and rounds the merged weights."""
    llm: str | None = None
    """Name or folder of the base LLM, if it has moved since training."""


PRESETS = {
    "default": ExportSettings(Path("exported")),
    "demo": ExportSettings(Path("exported"), run=Path("runs/demo/description")),
    "smollm2": ExportSettings(Path("exported"), run=Path("runs/bandai-namco-2/description")),
}


def export(found: FoundRun, settings: ExportSettings) -> Path:
    """Writes the folder; it appears when it is complete.

    Raises:
        UserError: the folder exists, the run is an export already, or its LLM cannot be loaded.
    """
    if found.exported:
        raise UserError(f"--run {settings.run}: is an exported folder already; copy it")
    if settings.output.exists():
        raise UserError(f"{settings.output}: exists already; name another folder")
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    tmp = settings.output.with_name(f".{settings.output.name}.{secrets.token_hex(4)}.tmp")
    try:
        _write(found, settings, tmp)
        tmp.rename(settings.output)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    return settings.output


def _write(found: FoundRun, settings: ExportSettings, tmp: Path) -> None:
    checkpoint, name = found.checkpoint, settings.llm or found.settings["llm"]
    trained = TrainedModel.of(found, settings.llm, torch.device("cpu"), torch.float32)
    (tmp / ENCODER).mkdir(parents=True)
    copies = {TOKENIZER: checkpoint.folder / TOKENIZER, f"{ENCODER}/{ABOUT}": found.folder / ENCODER / ABOUT}
    copies |= {f"{ENCODER}/{WEIGHTS}": found.folder / ENCODER / WEIGHTS, "LICENSE": ROOT / "LICENSE"}
    copies |= {f"{NORMS}/{path.name}": path for path in sorted((found.folder / NORMS).glob("*.json"))}
    copies |= {} if settings.merge else {ADAPTER: checkpoint.folder / ADAPTER, ADAPTER_CONFIG: checkpoint.folder / ADAPTER_CONFIG}
    copies |= {f"{LLM}/{path.name}": path for path in sorted(Path(name).glob("LICEN[CS]E*")) if path.is_file()}
    for target, source in copies.items():
        if source.is_file():
            (tmp / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, tmp / target)
    adapted = cast(PeftModel, trained.model.llm)
    llm: Any = adapted.merge_and_unload() if settings.merge else adapted.unload()
    llm.config.use_cache = True
    llm.set_attn_implementation(GENERATION_ATTENTION)  # ours is known to this package alone
    llm.to(dtype=getattr(torch, settings.dtype)).save_pretrained(tmp / LLM)
    trained.prompts.text_tokenizer.save_pretrained(tmp / LLM)
    about = json.loads((tmp / ENCODER / ABOUT).read_text(encoding="utf-8"))
    about["pretraining"] = {name: value for name, value in about["pretraining"].items() if name not in ENCODER_PATHS}
    write_json(tmp / ENCODER / ABOUT, about)
    if not settings.merge:
        config = json.loads((tmp / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        write_json(tmp / ADAPTER_CONFIG, config | {"base_model_name_or_path": f"../{LLM}"})
    (tmp / "README.md").write_text(model_card(found, settings), encoding="utf-8")
    files = sorted(path for path in tmp.rglob("*") if path.is_file())
    for path in files:
        path.chmod(tmp.stat().st_mode & 0o666)
    record = {
        "format": FORMAT, "merged": settings.merge, "step": checkpoint.step, "origin": file_hash(checkpoint.folder / RECORD),
        "metadata": _metadata(found), "sha256": {path.relative_to(tmp).as_posix(): file_hash(path) for path in files},
    }  # fmt: skip
    write_json(tmp / EXPORT, record)


def _metadata(found: FoundRun) -> dict[str, Any]:
    """What the run is, without paths of the machine that trained it."""
    metadata = found.checkpoint.metadata
    settings = {name: value for name, value in metadata["settings"].items() if name in KEPT_SETTINGS}
    return metadata | {"settings": settings | {"llm": LLM, "data": "not exported"}}


def model_card(found: FoundRun, settings: ExportSettings) -> str:
    """The template of MODEL_CARD.md with what is known filled in; words in capitals are left to the author."""
    metadata, record = found.checkpoint.metadata, found.encoder.record
    corpora = ", ".join(
        f"{name} ({len(about['emotions'])} emotions, data hash {about['data_hash'][:16]})" for name, about in metadata["corpora"].items()
    )
    split = ", ".join(f"{name} {value}" for name, value in asdict(record.split).items() if value is not None)
    known = {
        "Base LLM: NAME AND REVISION": f"Base LLM: {Path(metadata['settings']['llm']).name} (files' hash {metadata['llm_fingerprint']})",
        "rank RANK": f"rank {metadata['settings']['lora']['rank']}" + (", merged into the LLM's weights" if settings.merge else ""),
        "Skeleton encoder: SETTINGS": f"Skeleton encoder: {type(record.settings).__name__}, hash {metadata['encoder_hash'][:16]}",
        "emotion_llm VERSION, seed SEED, on CORPORA\n(data hash HASH, split KIND, SEED, FOLD)":
            f"emotion_llm {metadata['versions'].get('emotion_llm', '')}, seed {metadata['settings'].get('seed')}, step {found.checkpoint.step}, "
            f"on {corpora} (split: {split})",
    }  # fmt: skip
    text = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
    for template, value in known.items():
        text = text.replace(template, value)
    rows = _result_rows(found.folder / "evaluation" / "metrics.json", record.split.kind)
    text = re.sub(r"^\| NAME \|.*$", lambda match: rows or match[0], text, flags=re.MULTILINE)
    return text + USAGE.format(open_llm=OPEN_MERGED if settings.merge else OPEN_ADAPTER)


def _result_rows(metrics: Path, split: str) -> str:
    if not metrics.is_file():
        return ""
    rows = []
    for name, found in json.loads(metrics.read_text(encoding="utf-8"))["corpora"].items():
        low, high = found["intervals"]["accuracy"]
        rows.append(
            f"| {name} | {split} | {found['clips']} | {found['chance']:.1%} | {found['accuracy']:.1%} ({low:.1%} to {high:.1%}) | "
            f"{found['unweighted_average_recall']:.1%} | {found['calibration_error']:.3f} |"
        )
    return "\n".join(rows)


USAGE = """
## How to use this folder

```python
import emotion_llm

model = emotion_llm.load("this folder")
print(model.read("clip.bvh").text())
```

The language model alone opens in plain transformers:

```python
{open_llm}
```

Engines that accept prompt embeddings (vLLM with `--enable-prompt-embeds`, merged weights only) are asked with
`emotion_llm/inference/prompt_embeddings.py`; its docstring says how, and what differs.
"""
OPEN_MERGED = """from transformers import AutoModelForCausalLM

llm = AutoModelForCausalLM.from_pretrained("this folder/llm")"""
OPEN_ADAPTER = """from peft import PeftModel
from transformers import AutoModelForCausalLM

llm = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("this folder/llm"), "this folder/adapter")"""
