"""Cost model of a training step on a cluster, and the number of GPUs beyond which more bring nothing.

LLM shape, GPUs, interconnect  ->  seconds per step, days and price of a run

A step is computation, communication and a fixed part. A micro-step takes as long as the slowest of three things: its arithmetic, at the
MFU that the GPU reaches; reading the frozen weights from memory, however few tokens they meet; and launching its kernels from the host.
ZeRO-2 reduces LoRA's gradients and gathers its updated weights in rings; only trainable weights travel, so communication is short, but
does not shrink with more GPUs. The batch of 64 motions is the hard limit: a 65th GPU gets no motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emotion_llm.benchmarks.workload import MICRO_BATCH, MOTIONS_OF_JOINTS, TIME_STEPS, LlmShape

BATCH = 64
"""Motions of a recognition step (paper)."""
STEPS = 800_000
"""Of recognition (paper)."""
ANSWER = 2.5
"""Text tokens of an answer: an emotion word and the end of the turn, on average."""
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Cluster:
    """GPUs and their interconnect. The defaults are assumptions: round figures from the data sheets of A100s with 80 GB."""

    gpus: int
    gpus_per_node: int = 8
    peak_flops: float = 280e12
    """Measured matrix peak of a GPU in bf16, operations per second; launch/benchmark.py --only gpu prints it."""
    mfu: float = 0.5
    """Share of the peak that a step with many tokens reaches; the same command prints it."""
    memory_bytes_per_second: float = 1.6e12
    """How fast a GPU reads its weights."""
    launches_per_layer: float = 272
    """Kernel launches per micro-step and layer: about 8,700 were counted for 32 layers, 3,600 forward and 5,100 backward."""
    seconds_per_launch: float = 8.6e-6
    """Host time per launch (assumption): 60 to 90 ms per micro-step of 32 layers."""
    link_bytes_per_second: float = 200e9
    """Of each GPU to its neighbour in a node (NVLink)."""
    network_bytes_per_second: float = 25e9
    """Of a node to the next one (200 Gbit/s)."""
    hop_seconds: float = 10e-6
    """Latency of one hop of a ring."""
    bytes_per_number: int = 2
    """bf16."""
    fixed_seconds: float = 0.02
    """Per step, whatever its size: data and optimizer."""
    dollars_per_gpu_hour: float = 2.0


@dataclass(frozen=True)
class StepCost:
    """One optimizer step on a cluster."""

    busy_gpus: int
    """GPUs that have at least one motion; the others idle."""
    limit: str
    """What the computation is limited by: arithmetic, memory or launches."""
    compute_seconds: float
    communication_seconds: float
    seconds: float
    """Of the step. Nothing overlaps: the last bucket of gradients is ready when the backward pass ends."""
    dollars: float


def step_cost(shape: LlmShape, cluster: Cluster, batch: int = BATCH) -> StepCost:
    """The model's prediction for one step."""
    busy = max(count for count in range(1, min(batch, cluster.gpus) + 1) if batch % count == 0)  # every process has as many motions
    motions = batch // busy
    micro_steps = -(-motions // MICRO_BATCH)
    frozen, adapter = matrix_weights(shape)
    tokens = micro_steps * shape.prompt_tokens[0] + motions * tokens_per_motion(shape)
    head = 4 * motions * ANSWER * shape.width * shape.vocabulary
    limits = {
        "arithmetic": (tokens * (4 * frozen + 6 * adapter) + head) / (cluster.peak_flops * cluster.mfu),
        "memory": micro_steps * 2 * cluster.bytes_per_number * (frozen + adapter) / cluster.memory_bytes_per_second,  # read twice
        "launches": micro_steps * shape.layers * cluster.launches_per_layer * cluster.seconds_per_launch,
    }
    limit = max(limits, key=lambda name: limits[name])
    communication = ring_seconds(cluster.bytes_per_number * adapter, busy, cluster)
    seconds = limits[limit] + communication + cluster.fixed_seconds
    dollars = seconds * cluster.gpus * cluster.dollars_per_gpu_hour / 3600
    return StepCost(busy, limit, limits[limit], communication, seconds, dollars)


def matrix_weights(shape: LlmShape) -> tuple[int, int]:
    """Weights of all layers' linear maps: the frozen ones, and LoRA's matrices beside them."""
    key_width = shape.width // shape.heads * shape.key_heads
    maps = 2 * [(shape.width, shape.width)] + 2 * [(shape.width, key_width)] + 3 * [(shape.width, shape.intermediate)]
    return shape.layers * sum(i * o for i, o in maps), shape.layers * sum(shape.lora_rank * (i + o) for i, o in maps)


def tokens_per_motion(shape: LlmShape) -> float:
    """Skeleton tokens, the prompt's end and an emotion word, on average over the three corpora."""
    joints = sum(joints * recordings for joints, recordings in MOTIONS_OF_JOINTS.items()) / sum(MOTIONS_OF_JOINTS.values())
    return 1 + joints + sum(TIME_STEPS) / 2 + shape.prompt_tokens[1] + ANSWER - 1  # the last token is predicted, never read


def ring_seconds(size: float, gpus: int, cluster: Cluster) -> float:
    """Reduce-scatter of the gradients and all-gather of the weights: each sends size * (n - 1) / n over the slowest link."""
    if gpus == 1:
        return 0.0
    slowest = cluster.link_bytes_per_second if gpus <= cluster.gpus_per_node else cluster.network_bytes_per_second
    return 2 * (size * (gpus - 1) / gpus / slowest + (gpus - 1) * cluster.hop_seconds)


def table(shape: LlmShape, gpus: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)) -> str:
    """A Markdown table, one row per number of GPUs."""
    lines = ["| GPUs | nodes | motions each | s per step | limit | communication | days | dollars | against 4 GPUs |", "| ---: " * 9 + "|"]
    four = step_cost(shape, Cluster(4)).seconds
    for count in gpus:
        cost = step_cost(shape, Cluster(count))
        nodes, days, dollars = -(-count // Cluster.gpus_per_node), cost.seconds * STEPS / DAY_SECONDS, cost.dollars * STEPS
        lines.append(
            f"| {count} | {nodes} | {BATCH // cost.busy_gpus} | {cost.seconds:.3f} | {cost.limit} | {cost.communication_seconds:.3f} "
            f"| {days:.1f} | {dollars:,.0f} | {four / cost.seconds:.2f}x |"
        )
    return "\n".join(lines)
