"""What a step costs on a cluster, and where more GPUs stop paying.

LLM shape, GPUs, interconnect  ->  seconds per step, days and price of a run

A step is computation and communication. Computation: the useful operations of a GPU's motions over its matrix peak times the MFU that it
reaches; the MFU falls when a GPU has few tokens, because frozen weights must be read from memory however few tokens they meet.
Communication: ZeRO-2 reduces LoRA's gradients and gathers its updated weights in rings; only what trains travels, so it is small, and
does not shrink with more GPUs. The batch of 64 motions is the hard limit: GPU number 65 has no motion.
"""

from __future__ import annotations

from dataclasses import dataclass

from emotion_llm.benchmarks.workload import MOTIONS_OF_JOINTS, TIME_STEPS, LlmShape

BATCH = 64
"""Motions of a recognition step (paper)."""
STEPS = 800_000
"""Of recognition (paper)."""
LORA_RANK = 64
"""(paper)"""
ANSWER = 2.5
"""Text tokens of an answer: an emotion word and the end of the turn, on average."""
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Cluster:
    """GPUs and what joins them. The defaults are round figures for A100s with 80 GB (our assumptions, from data sheets, not measured)."""

    gpus: int
    gpus_per_node: int = 8
    peak_flops: float = 280e12
    """Measured matrix peak of a GPU in bf16, operations per second; launch/benchmark.py --only gpu prints it."""
    mfu: float = 0.5
    """Share of the peak that a step with many tokens reaches; the same command prints it."""
    memory_bytes_per_second: float = 1.6e12
    """How fast a GPU reads its weights."""
    link_bytes_per_second: float = 200e9
    """Of each GPU to its neighbour in a node (NVLink)."""
    network_bytes_per_second: float = 25e9
    """Of a node to the next one (200 Gbit/s)."""
    hop_seconds: float = 10e-6
    """Latency of one hop of a ring."""
    bytes_per_number: int = 2
    """bf16."""
    fixed_seconds: float = 0.02
    """Of a step, whatever its size: Python, kernel launches, the optimizer."""
    dollars_per_gpu_hour: float = 2.0

    @property
    def nodes(self) -> int:
        return -(-self.gpus // self.gpus_per_node)


@dataclass(frozen=True)
class StepCost:
    """One optimizer step on a cluster."""

    busy_gpus: int
    """GPUs that have at least one motion; the others idle."""
    compute_seconds: float
    communication_seconds: float
    fixed_seconds: float
    dollars: float

    @property
    def seconds(self) -> float:
        """Nothing overlaps: the last bucket of gradients is ready when the backward pass ends."""
        return self.compute_seconds + self.communication_seconds + self.fixed_seconds

    @property
    def days(self) -> float:
        """Of the whole recognition run."""
        return self.seconds * STEPS / DAY_SECONDS


def step_cost(shape: LlmShape, cluster: Cluster, batch: int = BATCH) -> StepCost:
    """The model's prediction for one step."""
    busy = largest_divisor(batch, cluster.gpus)
    motions = batch // busy
    frozen, adapter = matrix_weights(shape)
    predictions = motions * ANSWER
    tokens = shape.prompt_tokens[0] + motions * tokens_of_a_motion(shape)
    operations = tokens * (4 * frozen + 6 * adapter) + predictions * 4 * shape.width * shape.vocabulary
    by_arithmetic = operations / (cluster.peak_flops * cluster.mfu)
    by_memory = 2 * cluster.bytes_per_number * (frozen + adapter) / cluster.memory_bytes_per_second  # read in forward and in backward
    seconds = [
        max(by_arithmetic, by_memory),
        ring_seconds(cluster.bytes_per_number * adapter, busy, cluster),
        cluster.fixed_seconds,
    ]
    return StepCost(busy, *seconds, dollars=sum(seconds) * cluster.gpus * cluster.dollars_per_gpu_hour / 3600)


def largest_divisor(batch: int, gpus: int) -> int:
    """How many of the GPUs can share the batch evenly; every process must have the same number of motions."""
    return max(count for count in range(1, min(batch, gpus) + 1) if batch % count == 0)


def matrix_weights(shape: LlmShape) -> tuple[int, int]:
    """Weights of the linear layers: the frozen ones, and LoRA's matrices beside them."""
    key_and_value = 2 * [(shape.width, shape.width // shape.heads * shape.key_heads)]
    query_and_output = 2 * [(shape.width, shape.width)]
    gated = 3 * [(shape.width, shape.intermediate)]
    maps = query_and_output + key_and_value + gated  # (in, out) of each
    return shape.layers * sum(i * o for i, o in maps), shape.layers * sum(LORA_RANK * (i + o) for i, o in maps)


def tokens_of_a_motion(shape: LlmShape) -> float:
    """Skeleton tokens, the prompt's end and an emotion word, on average over the three corpora."""
    joints = sum(joints * recordings for joints, recordings in MOTIONS_OF_JOINTS.items()) / sum(MOTIONS_OF_JOINTS.values())
    return 1 + joints + sum(TIME_STEPS) / 2 + shape.prompt_tokens[1] + ANSWER - 1  # the last token is predicted, never read


def ring_seconds(size: float, gpus: int, cluster: Cluster) -> float:
    """Reduce-scatter of the gradients and all-gather of the weights: each sends size * (n - 1) / n over the slowest link."""
    if gpus == 1:
        return 0.0
    slowest = cluster.link_bytes_per_second if gpus <= cluster.gpus_per_node else cluster.network_bytes_per_second
    return 2 * (size * (gpus - 1) / gpus / slowest + (gpus - 1) * cluster.hop_seconds)


def table(shape: LlmShape, gpus: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)) -> str:
    """A table for the README, GPUs down."""
    lines = ["| GPUs | nodes | motions each | s per step | of it communication | days | dollars | against 4 GPUs |", "| ---: " * 8 + "|"]
    four = step_cost(shape, Cluster(4)).seconds
    for count in gpus:
        cluster, cost = Cluster(count), step_cost(shape, Cluster(count))
        lines.append(
            f"| {count} | {cluster.nodes} | {BATCH // cost.busy_gpus} | {cost.seconds:.3f} | {cost.communication_seconds:.3f} "
            f"| {cost.days:.1f} | {cost.dollars * STEPS:,.0f} | {four / cost.seconds:.2f}x |"
        )
    return "\n".join(lines)
