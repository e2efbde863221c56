"""Steps of the training's own engine, and a recognition step of a 7B Llama on one GPU at the paper's batch.

LLM shape, motions per process  ->  seconds per step, MFU against the measured matrix peak, memory, projected days on four GPUs

One GPU's part of a step on four: 16 motions, forward, backward, AdamW, without the all-reduce of LoRA's gradients (cost_model.py adds it).
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from emotion_llm.benchmarks.cost_model import DAY_SECONDS, STEPS
from emotion_llm.benchmarks.workload import LLAMA_7B, MICRO_BATCH, LlmShape, build_model, count_answer_tokens, draw_examples
from emotion_llm.language.flops import FlopCount
from emotion_llm.language.packed import pack
from emotion_llm.runtime.processes import process_count, start_processes
from emotion_llm.training.assembly import checkpoint_gradients, ds_config_path
from emotion_llm.training.efficiency import finish, matrix_peak, peak_memory_bytes
from emotion_llm.training.engine import Engine, model_dtype
from emotion_llm.training.settings import FinetuneSettings

WARM_UP = 2
"""Steps that are not counted."""


@dataclass(frozen=True)
class TimedSteps:
    """Steps of one process."""

    engine: Engine
    seconds: list[float]
    operations: list[int]
    """Useful floating point operations of each step (language/flops.py)."""
    tokens: int
    """Of the last step."""


def time_steps(shape: LlmShape, motions: int, repeats: int, checkpointing: bool = False) -> TimedSteps:
    """Optimizer steps on different batches, the same on every process, after WARM_UP steps.

    Args:
        motions: per process.
        checkpointing: recompute activations in the backward pass: less memory, a third more time.
    """
    ds_config = ds_config_path(FinetuneSettings())
    device = start_processes()
    model = build_model(shape, dtype=model_dtype(ds_config), device=str(device)).train()
    if checkpointing:
        checkpoint_gradients(model)
    engine = Engine(model, weight_decay=0.0, gradient_clipping=1.0, global_batch=motions * process_count(), ds_config=ds_config)
    engine.learning_rate = 1e-5
    flops, seconds, operations = FlopCount(model), [], []
    for step in range(repeats + WARM_UP):
        examples = draw_examples(shape, "recognition", motions, seed=step)
        row = pack(examples, model.slots)
        finish(device)
        begin = time.perf_counter()
        engine.backward(-model(row.to(device)).sum() / (count_answer_tokens(examples) * process_count()))
        engine.step()
        finish(device)
        assert engine.gradient_norm > 0
        if step >= WARM_UP:
            seconds.append(time.perf_counter() - begin)
            operations.append(flops.of_row(row))
    return TimedSteps(engine, seconds, operations, len(row.token_ids))


def measure_step(shape: LlmShape = LLAMA_7B, motions: int = MICRO_BATCH, repeats: int = 10, checkpointing: bool = False) -> str:
    """Times steps on this machine's device; a Markdown table with one row."""
    timed = time_steps(shape, motions, repeats, checkpointing)
    device, precision = timed.engine.device, timed.engine.precision
    peak, seconds = matrix_peak(device, timed.engine.dtype), statistics.median(timed.seconds)
    rate = statistics.median(operations / spent for operations, spent in zip(timed.operations, timed.seconds, strict=True))
    columns = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "LLM": shape.name,
        "precision": precision,
        "motions": f"{motions}",
        "tokens": f"{timed.tokens:,}",
        "s per step": f"{seconds:.3f}",
        "MFU": f"{rate / peak:.0%}",
        "measured peak": f"{peak / 1e12:.3g} TFLOP/s",
        "memory": f"{peak_memory_bytes(device) / 1e9:.1f} GB",
        "checkpointing": "yes" if checkpointing else "no",
        "800,000 steps on four": f"{seconds * STEPS / DAY_SECONDS:.1f} days",
    }
    rows = (columns, ["---"] * len(columns), columns.values())
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
