"""Where a step's time goes, and how much of the device's peak arithmetic it uses (MFU).

phases of a step  ->  seconds each;  EmotionLLM, PackedRow  ->  useful floating point operations;  device  ->  measured matrix peak

Only useful work counts: real tokens without padding, attention between tokens that see each other, and the output head where an answer
token is predicted. A frozen matrix costs 2 operations per weight and token in the forward pass and 2 in the backward pass (the gradient
of its input); a LoRA matrix costs 2 and 4. Norms, rotary embeddings, softmax, dropout and recomputation by gradient checkpointing are
left out.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import PackedRow

PHASES = ("data", "forward", "backward", "optimizer")
PEAK_SECONDS = 0.3
"""Duration of the matrix peak measurement at the start of a run."""


class StepClock:
    """Seconds of one step, in total and per phase.

    On a GPU, phases are timed by events in its queue: nothing waits for the device before the end of the step.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begin = time.perf_counter()
        self._host = dict.fromkeys(PHASES, 0.0)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to one of PHASES."""
        if self._device.type != "cuda" or name == "data":  # data is prepared on the CPU
            begin = time.perf_counter()
            yield
            self._host[name] += time.perf_counter() - begin
            return
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        yield
        end.record()
        self._events.append((name, start, end))

    @property
    def phases(self) -> dict[str, float]:
        """Seconds per phase. On a GPU: to be read once the step's work is done."""
        seconds = dict(self._host)
        for name, start, end in self._events:
            seconds[name] += start.elapsed_time(end) / 1000
        return seconds

    @property
    def seconds(self) -> float:
        """Since the step began."""
        return time.perf_counter() - self._begin


class FlopCount:
    """Counts a model's matrices once, then the operations of any row."""

    def __init__(self, model: EmotionLLM) -> None:
        head = model.base_llm.get_output_embeddings()
        linears = [(name, module) for name, module in model.llm.named_modules() if isinstance(module, nn.Linear) and module is not head]
        self.cost_per_token = sum((6 if "lora_" in name else 4) * matrix.weight.numel() for name, matrix in linears)
        self.head_weights = head.get_parameter("weight").numel()
        self.projection_weights = model.skeleton_tokenizer.get_parameter("projections.0.weight").numel()
        config = model.llm.config.get_text_config()
        head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.layers = config.num_hidden_layers
        self.heads_width = config.num_attention_heads * head_width

    def of_row(self, row: PackedRow) -> int:
        """Operations of the row's forward and backward pass."""
        linear = len(row.token_ids) * self.cost_per_token
        attention = 12 * self.layers * visible_pairs(row) * self.heads_width  # scores and values, 2 each forward, 4 each backward
        head = 4 * len(row.predicting_rows) * self.head_weights
        projections = 4 * len(row.skeleton_rows) * self.projection_weights  # features need no gradient
        return linear + attention + head + projections


def visible_pairs(row: PackedRow) -> int:
    """Pairs of a real token and a token that it sees, itself included."""
    query_places = sum(group.query_rows.numel() for group in row.groups)
    padded_queries = query_places - len(row.unpack)  # each sees exactly one token
    return sum(int(group.visible.sum()) for group in row.groups) - padded_queries


def finish(device: torch.device) -> None:
    """Waits until the device has finished its queue; a CPU has none."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_peak(device: torch.device, dtype: torch.dtype, seconds: float = PEAK_SECONDS) -> float:
    """Operations per second of a large matrix product on the device, the best of several: the denominator of MFU.

    Measured rather than taken from a data sheet: it depends on threads and other jobs on a CPU, on power and cooling on a GPU.
    """
    side = 8192 if device.type == "cuda" else 1024
    noise = torch.Generator(device).manual_seed(0)  # the global random state stays as it is
    left, right = (torch.randn(side, side, device=device, dtype=dtype, generator=noise) for _ in range(2))
    left @ right  # warm-up
    finish(device)
    fastest, end = math.inf, time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        left @ right
        finish(device)
        fastest = min(fastest, time.perf_counter() - begin)
    return 2 * side**3 / fastest


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory so far: allocated on a GPU, resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident if sys.platform == "darwin" else resident * 1024
