"""What a run costs beside its steps, with an LLM of SmolLM2's size: its start, and its saves.

nothing  ->  a corpus, an encoder, an LLM folder, a run with checkpoints  ->  seconds from the command to a resumed run's first step, and
the share of the time for which saving stops training

Everything is embedded: one synthetic corpus, random weights. The command is the one that users type, launcher included.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import LlamaForCausalLM

from emotion_llm.benchmarks.measurement import Measurement, machine_name
from emotion_llm.benchmarks.workload import SMOLLM2, LlmShape, llama_config
from emotion_llm.corpus.definition import read_definition
from emotion_llm.corpus.importing import import_corpus
from emotion_llm.motion.canonical import CanonicalSettings
from emotion_llm.runtime.processes import free_port
from emotion_llm.synthetic.corpora import write_egbm
from emotion_llm.synthetic.small_llm import build_text_tokenizer
from emotion_llm.training.checkpoint import checkpoint_folders
from emotion_llm.training.loop import FIRST_STEP
from emotion_llm.training.settings import FinetuneSettings

ROOT = Path(__file__).parents[2]
LONGEST_SECONDS = 600
ALLOWED_START, ALLOWED_SHARE = 30.0, 0.02
SAVE_EVERY, SAVES = 2, 3
DEFAULT_INTERVAL = FinetuneSettings().checkpoint_every


def measure(shape: LlmShape = SMOLLM2, repeats: int = 3) -> list[Measurement]:
    """Starts, stops and resumes a recognition run of eight motions per step that saves every SAVE_EVERY steps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_world(folder, shape)
        run = folder / "run"
        _start(folder, lambda _: len(checkpoint_folders(run)) >= SAVES)
        step, stops = (
            _seconds_of(run, "speed/seconds_per_step"),
            _seconds_of(run, "speed/checkpoint_stop_seconds")[:-1],
        )  # the last one waits
        starts = [_start(folder, lambda said: FIRST_STEP in said) for _ in range(repeats)]
    shares = [stop / (DEFAULT_INTERVAL * statistics.median(step)) for stop in stops]
    start = statistics.median(starts)
    return [
        Measurement(
            name=f"start-up of a resumed run, {shape.name}",
            ratio=ALLOWED_START / start,
            low=ALLOWED_START / max(starts),
            high=ALLOWED_START / min(starts),
            unit=f"times faster than the {ALLOWED_START:.0f} s that we allow it",
            compared=f"`deepspeed --num_gpus 1 launch/finetune.py` to the end of its first step of eight motions: {start:.1f} s",
            machine=f"{machine_name()}, fp32",
        ),
        Measurement(
            name=f"saving, {shape.name}",
            ratio=ALLOWED_SHARE / statistics.median(shares),
            low=ALLOWED_SHARE / max(shares),
            high=ALLOWED_SHARE / min(shares),
            unit=f"times less than the {ALLOWED_SHARE:.0%} of the time that we allow it",
            compared=f"a checkpoint stops training for {statistics.median(stops):.3f} s; at the default interval of {DEFAULT_INTERVAL:,} steps "
            f"({statistics.median(step):.2f} s each, eight motions) {statistics.median(shares):.4%} of the time",
            machine=f"{machine_name()}, fp32",
        ),
    ]


def _seconds_of(run: Path, curve: str) -> list[float]:
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return [event.value for event in events.Scalars(curve)]


def make_world(folder: Path, shape: LlmShape) -> None:
    """What a fine-tune needs, at the smallest size, but for the LLM."""
    write_egbm(folder / "raw", clips_per_emotion=3, seed=0)
    import_corpus(read_definition("egbm"), folder / "raw", folder / "data", CanonicalSettings(), workers=1)
    words = [
        "--run", folder / "encoder", "--data", folder / "data", "--corpora", "egbm", "--encoder.widths", 8, 16, "--encoder.strides", 2, 2,
        "--epochs", 1, "--global-batch", 8, "--warmup-epochs", 0, "--text-encoder", "random-clip",
    ]  # fmt: skip
    subprocess.run([sys.executable, "launch/pretrain_encoder.py", *map(str, words)], cwd=ROOT, check=True)
    text_tokenizer = build_text_tokenizer(["The movement is slow."])
    text_tokenizer.save_pretrained(folder / "llm")
    config = llama_config(shape)
    config.vocab_size = max(shape.vocabulary, len(text_tokenizer))
    config.eos_token_id = text_tokenizer.eos_token_id
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder / "llm")


def _start(folder: Path, reached: Callable[[str], bool]) -> float:
    """Seconds from the command until it is so far; then the run is asked to stop, which saves it."""
    log = folder / "log.txt"
    words = [
        "--num_gpus", "1", "launch/finetune.py", "--run", folder / "run", "--data", folder / "data", "--corpora", "egbm",
        "--encoder", folder / "encoder", "--llm", folder / "llm", "--global-batch", "8", "--checkpoint-every", str(SAVE_EVERY),
    ]  # fmt: skip
    with log.open("wb") as output:
        begin = time.perf_counter()
        command = [sys.executable, "-m", "deepspeed.launcher.runner", "--master_port", str(free_port()), *map(str, words)]
        launched = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=output, stderr=output, start_new_session=True
        )
        try:
            while not reached(log.read_text(encoding="utf-8", errors="replace")):
                if launched.poll() is not None or time.perf_counter() - begin > LONGEST_SECONDS:
                    raise RuntimeError(f"the run ended or took too long:\n{log.read_text(encoding='utf-8', errors='replace')}")
                time.sleep(0.05)
            return time.perf_counter() - begin
        finally:
            _end(launched)


def _end(launched: subprocess.Popen) -> None:
    """Asks every process of the run to stop, and waits until all have: the launcher ends first, the run is then still saving."""
    end = time.perf_counter() + LONGEST_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.killpg(launched.pid, signal.SIGTERM)
        launched.wait(LONGEST_SECONDS)
        while time.perf_counter() < end:
            os.killpg(launched.pid, 0)
            time.sleep(0.1)
