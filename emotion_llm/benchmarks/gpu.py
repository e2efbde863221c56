"""Steps of the training's own engine, and a recognition step of a 7B Llama on one GPU at the paper's batch.

LLM shape, motions per process  ->  seconds per step, MFU against the measured matrix peak, memory, projected days on four GPUs

One GPU's part of a step on four: 16 motions, forward, backward, AdamW, without the all-reduce of LoRA's gradients (cost_model.py adds it).
"""

from __future__ import annotations

import statistics
import time

import torch

from emotion_llm.benchmarks.cost_model import DAY_SECONDS, STEPS
from emotion_llm.benchmarks.workload import LLAMA_7B, MICRO_BATCH, LlmShape, build_model, count_answer_tokens, draw_examples
from emotion_llm.language.packed import PackedRow, pack
from emotion_llm.runtime.processes import process_count, start_processes
from emotion_llm.training.assembly import ds_config_path
from emotion_llm.training.efficiency import FlopCount, finish, matrix_peak, peak_memory_bytes
from emotion_llm.training.engine import Engine, model_dtype
from emotion_llm.training.settings import FinetuneSettings

WARM_UP = 2
"""Steps that are not counted."""


def time_steps(shape: LlmShape, motions: int, repeats: int) -> tuple[Engine, list[float], list[PackedRow]]:
    """Optimizer steps of so many motions per process on different batches, the same on every process, after WARM_UP steps.

    Returns:
        The engine, and each step's seconds and row of this process.
    """
    ds_config = ds_config_path(FinetuneSettings())
    device = start_processes()
    model = build_model(shape, dtype=model_dtype(ds_config), device=str(device)).train()
    engine = Engine(model, weight_decay=0.0, gradient_clipping=1.0, global_batch=motions * process_count(), ds_config=ds_config)
    engine.learning_rate = 1e-5
    seconds, rows = [], []
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
            rows.append(row)
    return engine, seconds, rows


def measure_step(shape: LlmShape = LLAMA_7B, motions: int = MICRO_BATCH, repeats: int = 10) -> str:
    """Times steps on this machine's device; a Markdown table with one row."""
    engine, every, rows = time_steps(shape, motions, repeats)
    device, flops = engine.device, FlopCount(engine.model)
    peak, seconds = matrix_peak(device, engine.dtype), statistics.median(every)
    rate = statistics.median(flops.of_row(row) / spent for row, spent in zip(rows, every, strict=True))
    columns = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "LLM": shape.name,
        "precision": engine.precision,
        "motions": f"{motions}",
        "tokens": f"{len(rows[-1].token_ids):,}",
        "s per step": f"{seconds:.3f}",
        "MFU": f"{rate / peak:.0%}",
        "measured peak": f"{peak / 1e12:.3g} TFLOP/s",
        "memory": f"{peak_memory_bytes(device) / 1e9:.1f} GB",
        "800,000 steps on four": f"{seconds * STEPS / DAY_SECONDS:.1f} days",
    }
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), columns.values()))
