"""Weak scaling over processes, and the cost model's prediction against measured steps.

1 and 2 processes with the same motions each, under DeepSpeed's launcher  ->  throughput of two over throughput of one
LLM shapes and batches  ->  predicted over measured seconds
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from emotion_llm.benchmarks.cost_model import Cluster, step_cost
from emotion_llm.benchmarks.finetuning import adamw, packed_step
from emotion_llm.benchmarks.gpu import time_steps
from emotion_llm.benchmarks.measurement import Measurement, check_gradients, measurement, seconds_of
from emotion_llm.benchmarks.workload import MICRO_BATCH, SHAPES, SMALL_LLAMA, LlmShape, build_model, draw_examples
from emotion_llm.runtime.processes import free_port, process_rank
from emotion_llm.training.efficiency import matrix_peak

CALIBRATION = 16
"""Motions of the step from which the cost model takes its MFU."""


def measure_weak_scaling(shape: LlmShape = SMALL_LLAMA, steps: int = 8, rounds: int = 3) -> Measurement:
    """Median seconds of a step on one process and on two, each process on one core, started in turns."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for processes in seconds:
            seconds[processes].append(_median_step(shape, processes, steps))
    return measurement(
        f"weak scaling, 1 to 2 processes, {shape.name}",
        [2 * one / two for one, two in zip(seconds[1], seconds[2], strict=True)],
        "times the samples per second of one process (2 is perfect)",
        f"{MICRO_BATCH} motions per process, ZeRO-2 over gloo: one process {statistics.median(seconds[1]):.2f} s per step; "
        f"two: {statistics.median(seconds[2]):.2f} s",
        "one thread per process",
    )


def check_cost_model(shapes: Sequence[LlmShape], repeats: int = 3) -> Iterator[Measurement]:
    """Predicted seconds over measured ones; the MFU is taken from a step of the first shape. A CPU has no kernel launches."""
    numbers = torch.ones(1 << 26)
    bandwidth = numbers.nbytes / min(seconds_of(numbers.sum) for _ in range(5))  # bytes per second that this processor reads
    peak = matrix_peak(torch.device("cpu"), torch.float32)
    unknown = Cluster(
        gpus=1, peak_flops=peak, mfu=1.0, memory_bytes_per_second=bandwidth, seconds_per_launch=0.0, bytes_per_number=4, fixed_seconds=0.0
    )
    mfu = step_cost(shapes[0], unknown, CALIBRATION).compute_seconds / _median_step_here(shapes[0], CALIBRATION, repeats)
    here = replace(unknown, mfu=mfu)
    for shape in shapes:
        for motions in (CALIBRATION // 4, CALIBRATION // 2, CALIBRATION):
            if shape is shapes[0] and motions == CALIBRATION:
                continue
            measured, predicted = _median_step_here(shape, motions, repeats), step_cost(shape, here, motions).seconds
            yield measurement(
                f"cost model, {shape.name}, {motions} motions",
                [predicted / measured],
                "predicted over measured seconds (1 is perfect)",
                f"one process, recognition: predicted {predicted:.2f} s, measured {measured:.2f} s; matrix peak "
                f"{peak / 1e9:.0f} GFLOP/s, MFU {mfu:.0%} from a step of {CALIBRATION} motions of {shapes[0].name}, "
                f"memory {bandwidth / 1e9:.0f} GB/s",
            )


def _median_step_here(shape: LlmShape, motions: int, repeats: int) -> float:
    """Median over different batches, after one warm-up; one micro-batch each."""
    model = build_model(shape).train()
    packed_step(model, None, draw_examples(shape, "recognition", motions, seed=0), micro_batch=motions)
    check_gradients(model)
    optimizer = adamw(model)
    batches = [draw_examples(shape, "recognition", motions, seed) for seed in range(1, repeats + 1)]
    return statistics.median(seconds_of(partial(packed_step, model, optimizer, examples, motions)) for examples in batches)


def _median_step(shape: LlmShape, processes: int, steps: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "seconds.json"
        launcher = [sys.executable, "-m", "deepspeed.launcher.runner", "--num_gpus", str(processes), "--master_port", str(free_port())]
        command = [*launcher, "--module", "emotion_llm.benchmarks.scaling", shape.name, str(steps), str(result)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return statistics.median(json.loads(result.read_text(encoding="utf-8")))


if __name__ == "__main__":  # in each process of the launcher, which puts --local_rank before these words
    name, steps, path = sys.argv[-3:]
    seconds = time_steps(SHAPES[name], MICRO_BATCH, int(steps))[1]
    if process_rank() == 0:
        Path(path).write_text(json.dumps(seconds), encoding="utf-8")
