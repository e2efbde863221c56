"""A recognition step of a 7B Llama on one GPU, at the paper's batch.

device  ->  seconds per step, MFU against the measured matrix peak, memory, projected days for the whole run on four GPUs

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
from emotion_llm.runtime.processes import start_processes
from emotion_llm.training.assembly import checkpoint_gradients, ds_config_path
from emotion_llm.training.efficiency import finish, matrix_peak, peak_memory_bytes
from emotion_llm.training.engine import Engine, model_dtype
from emotion_llm.training.settings import FinetuneSettings


@dataclass(frozen=True)
class GpuStep:
    """Measured figures of one GPU's part of a step."""

    device: str
    llm: str
    precision: str
    motions: int
    tokens: int
    seconds: float
    """Median of a step."""
    mfu: float
    """Useful operations per second over the measured matrix peak."""
    peak_tflops: float
    """The measured matrix peak, TFLOP/s."""
    memory_gb: float
    """Peak, in 10^9 bytes."""
    checkpointing: bool
    """Whether activations were recomputed in the backward pass to save memory."""

    @property
    def days(self) -> float:
        """Of the paper's 800,000 steps on four such GPUs, without communication."""
        return self.seconds * STEPS / DAY_SECONDS

    def table(self) -> str:
        """A Markdown table with one row."""
        return (
            "| device | LLM | precision | motions | tokens | s per step | MFU | measured peak | memory | checkpointing "
            "| 800,000 steps on four |\n"
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
            f"| {self.device} | {self.llm} | {self.precision} | {self.motions} | {self.tokens:,} | {self.seconds:.3f} | {self.mfu:.0%} "
            f"| {self.peak_tflops:.0f} TFLOP/s | {self.memory_gb:.1f} GB | {'yes' if self.checkpointing else 'no'} | {self.days:.1f} days |"
        )


def measure_step(shape: LlmShape = LLAMA_7B, motions: int = MICRO_BATCH, repeats: int = 10, checkpointing: bool = False) -> GpuStep:
    """Times optimizer steps of the training's own engine on different batches, after two warm-up steps.

    Args:
        checkpointing: recompute activations in the backward pass: less memory, a third more time.
    """
    ds_config = ds_config_path(FinetuneSettings())
    device = start_processes()
    model = build_model(shape, dtype=model_dtype(ds_config), device=str(device)).train()
    if checkpointing:
        checkpoint_gradients(model)
    engine = Engine(model, weight_decay=0.0, gradient_clipping=1.0, global_batch=motions, ds_config=ds_config)
    engine.learning_rate = 1e-5
    flops, seconds, rates, tokens = FlopCount(model), [], [], 0
    for turn in range(repeats + 2):
        examples = draw_examples(shape, "recognition", motions, seed=turn)
        row = pack(examples, model.slots)
        operations, tokens = flops.of_row(row), len(row.token_ids)
        finish(device)
        begin = time.perf_counter()
        engine.backward(-model(row.to(device)).sum() / count_answer_tokens(examples))
        engine.step()
        finish(device)
        assert engine.gradient_norm > 0
        if turn >= 2:
            seconds.append(time.perf_counter() - begin)
            rates.append(operations / seconds[-1])
    peak = matrix_peak(device, engine.dtype)
    return GpuStep(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        llm=shape.name,
        precision=engine.precision,
        motions=motions,
        tokens=tokens,
        seconds=statistics.median(seconds),
        mfu=statistics.median(rates) / peak,
        peak_tflops=peak / 1e12,
        memory_gb=peak_memory_bytes(device) / 1e9,
        checkpointing=checkpointing,
    )
