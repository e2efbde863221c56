"""Weak scaling: twice the processes, twice the batch, under DeepSpeed's launcher; and whether the cost model foretells a step's seconds.

1 and 2 processes with the same motions each  ->  how much of the doubled throughput arrives, and whether overlapping communication helps
LLM shapes and batches  ->  seconds that the cost model foretells against measured ones
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from emotion_llm.benchmarks.cost_model import Cluster, step_cost
from emotion_llm.benchmarks.finetuning import adamw, count_answer_tokens, our_step
from emotion_llm.benchmarks.measurement import Measurement, machine_name
from emotion_llm.benchmarks.workload import SMALL, LlmShape, build_model, draw_examples
from emotion_llm.language.llm import LoraSettings
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import pack
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import free_port, process_count
from emotion_llm.training.assembly import ds_config_path
from emotion_llm.training.efficiency import matrix_peak
from emotion_llm.training.engine import Engine
from emotion_llm.training.settings import FinetuneSettings

MOTIONS_PER_PROCESS = 16
CALIBRATION = 32
"""Motions of the step that tells the cost model its MFU."""


def measure_weak_scaling(steps: int = 8, rounds: int = 3) -> Measurement:
    """Median seconds of a step on one process and on two, each process on one core, started in turns."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for processes in seconds:
            seconds[processes].append(_median_step(processes, steps))
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    return Measurement(
        name="weak scaling, 1 to 2 processes",
        ratio=2 * statistics.median(ratios),
        low=2 * min(ratios),
        high=2 * max(ratios),
        unit="times the samples per second of one process (2 is perfect)",
        compared=f"{MOTIONS_PER_PROCESS} motions per process, {SMALL.name}, ZeRO-2 over gloo: "
        f"one process {statistics.median(seconds[1]):.2f} s per step, two {statistics.median(seconds[2]):.2f} s",
        machine=f"{machine_name()}, one thread per process, fp32",
    )


def measure_overlap(steps: int = 8, rounds: int = 3) -> Measurement:
    """Two processes with ds_configs/recognition.json as it is, one bucket after the backward pass, and with `overlap_comm`."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for overlap in seconds:
            seconds[overlap].append(_median_step(2, steps, overlap))
    ratios = [with_overlap / without for without, with_overlap in zip(seconds[False], seconds[True], strict=True)]
    return Measurement(
        name="ZeRO-2 communication, 2 processes",
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        unit="seconds per step",
        compared=f"LoRA's gradients in one bucket: without overlap {statistics.median(seconds[False]):.2f} s, "
        f"with overlap_comm {statistics.median(seconds[True]):.2f} s",
        machine=f"{machine_name()}, one thread per process, fp32",
    )


def check_cost_model(shapes: Sequence[LlmShape], repeats: int = 3) -> Iterator[Measurement]:
    """The cost model, its MFU taken from one measured step (the first shape, CALIBRATION motions), against other measured steps."""
    peak, bandwidth = matrix_peak(torch.device("cpu"), torch.float32), _memory_bandwidth()
    unknown = Cluster(gpus=1, peak_flops=peak, mfu=1.0, memory_bytes_per_second=bandwidth, bytes_per_number=4, fixed_seconds=0.0)
    model = build_model(shapes[0], LoraSettings()).train()
    mfu = step_cost(shapes[0], unknown, CALIBRATION).compute_seconds / _seconds_of_a_step(model, shapes[0], CALIBRATION, repeats)
    here = replace(unknown, mfu=mfu)
    for shape in shapes:
        model = build_model(shape, LoraSettings()).train()
        for motions in (CALIBRATION // 4, CALIBRATION // 2, CALIBRATION):
            if shape is shapes[0] and motions == CALIBRATION:
                continue
            measured, foretold = _seconds_of_a_step(model, shape, motions, repeats), step_cost(shape, here, motions).seconds
            yield Measurement(
                name=f"cost model, {shape.name}, {motions} motions",
                ratio=foretold / measured,
                low=foretold / measured,
                high=foretold / measured,
                unit="foretold seconds over measured ones (1 is perfect)",
                compared=f"one process, recognition: foretold {foretold:.2f} s, measured {measured:.2f} s; matrix peak {peak / 1e9:.0f} GFLOP/s, "
                f"MFU {mfu:.0%} from a step of {CALIBRATION} motions of {shapes[0].name}, memory {bandwidth / 1e9:.0f} GB/s",
                machine=f"{machine_name()}, {torch.get_num_threads()} threads, fp32",
            )


def _seconds_of_a_step(model: EmotionLLM, shape: LlmShape, motions: int, repeats: int) -> float:
    """Median over batches, after one to warm up; one micro-batch each."""
    optimizer, seconds = adamw(model), []
    for seed in range(repeats + 1):
        examples = draw_examples(shape, "recognition", motions, seed)
        begin = time.perf_counter()
        our_step(model, optimizer, examples, micro_batch=motions)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def _memory_bandwidth() -> float:
    """Bytes per second that this processor reads."""
    numbers, seconds = torch.ones(1 << 26), []
    for _ in range(5):
        begin = time.perf_counter()
        numbers.sum()
        seconds.append(time.perf_counter() - begin)
    return numbers.nbytes / min(seconds)


def _median_step(processes: int, steps: int, overlap: bool = False) -> float:
    with tempfile.TemporaryDirectory() as folder:
        result, ds_config = Path(folder) / "seconds.json", Path(folder) / "ds_config.json"
        config = json.loads(ds_config_path(FinetuneSettings()).read_text(encoding="utf-8"))
        config["zero_optimization"]["overlap_comm"] = overlap
        ds_config.write_text(json.dumps(config), encoding="utf-8")
        launcher = [sys.executable, "-m", "deepspeed.launcher.runner", "--num_gpus", str(processes), "--master_port", str(free_port())]
        command = [*launcher, "--module", "emotion_llm.benchmarks.scaling", str(steps), str(ds_config), str(result)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return statistics.median(json.loads(result.read_text(encoding="utf-8")))


def _time_steps(steps: int, ds_config: Path, result: Path) -> None:
    """In each process: steps of the training's own engine, two more to warm up."""
    model = build_model(SMALL, LoraSettings()).train()
    engine = Engine(model, 0.0, 1.0, MOTIONS_PER_PROCESS * int(os.environ["WORLD_SIZE"]), ds_config)
    engine.learning_rate = 1e-5
    seconds = []
    for step in range(steps + 2):
        examples = draw_examples(SMALL, "recognition", MOTIONS_PER_PROCESS, seed=step)  # the same on every process: equal work
        begin = time.perf_counter()
        engine.backward(-model(pack(examples, model.slots)).sum() / (count_answer_tokens(examples) * process_count()))
        engine.step()
        seconds.append(time.perf_counter() - begin)
    if is_first_rank():
        result.write_text(json.dumps(seconds[2:]), encoding="utf-8")


if __name__ == "__main__":
    steps, ds_config, result = sys.argv[-3:]  # the launcher puts --local_rank before them
    _time_steps(int(steps), Path(ds_config), Path(result))
