"""Fine-tuning and answering against the baseline (baseline.py), in turns, on the same examples and the same machine.

LLM shape, stage  ->  Measurements: seconds per step, peak memory, seconds per answer

Both sides train in fp32, divide the same examples into micro-batches of the same size and take AdamW steps in a plain loop.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from emotion_llm.benchmarks.baseline import Baseline, pad
from emotion_llm.benchmarks.measurement import Measurement, check_gradients, interleaved_ratio, machine, timed
from emotion_llm.benchmarks.workload import (
    MICRO_BATCH,
    SHAPES,
    LlmShape,
    build_model,
    count_answer_tokens,
    draw_examples,
    draw_grouped_examples,
    length,
)  # fmt: skip
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import Example, pack

BATCH = {"recognition": 64, "description": 16}
"""Motions per step (paper)."""
LABELS = 7
"""Emotions of a label set, as in KDAE."""
NEW_TOKENS = 24
"""Text tokens of a generated description."""
CLEAR_PEAK = Path("/proc/self/clear_refs")


def measure_training(shape: LlmShape, stage: str, grouped: bool = False, batch: int | None = None, repeats: int = 5) -> Measurement:
    """Seconds per optimizer step.

    Args:
        grouped: the baseline gets micro-batches of similar lengths, as from the Trainer's group_by_length; else as drawn.
    """
    batch = batch or BATCH[stage]
    model = build_model(shape).train()
    baseline = Baseline(model).train()
    examples = (draw_grouped_examples if grouped else draw_examples)(shape, stage, batch, seed=1)
    packed_step(model, None, examples[:MICRO_BATCH])
    padded_step(baseline, None, examples[:MICRO_BATCH])
    check_gradients(model)
    check_gradients(baseline)
    optimizer, baseline_optimizer = adamw(model), adamw(baseline)
    ratio = interleaved_ratio(
        lambda: packed_step(model, optimizer, examples), lambda: padded_step(baseline, baseline_optimizer, examples), repeats
    )
    against = "group_by_length" if grouped else "baseline"
    name = f"fine-tuning, {stage}, {shape.name}, against {against}"
    what = f"a step of {batch} motions, {tokens_text(examples)}"
    return timed(name, ratio, what, f"{against}, {padding(examples):.0%} padding", "seconds per step")


def measure_memory(shape: LlmShape, stage: str) -> Measurement:
    """Peak memory of a step of one micro-batch above the loaded model, each side in a process of its own."""
    ours, theirs = (_memory_in_fresh_process(side, shape, stage) for side in ("ours", "baseline"))
    ratio = theirs["step"] / ours["step"]
    return Measurement(
        name=f"peak memory, {stage}, {shape.name}",
        ratio=ratio,
        low=ratio,
        high=ratio,
        unit="times less memory of a step above the loaded model",
        compared=f"a step of {MICRO_BATCH} motions in one micro-batch: {ours['step'] / 1e6:,.0f} MB; baseline: "
        f"{theirs['step'] / 1e6:,.0f} MB; whole processes: {ours['process'] / 1e6:,.0f} and {theirs['process'] / 1e6:,.0f} MB",
        machine=machine(),
    )


def measure_labels(shape: LlmShape, motions: int = 16, repeats: int = 5) -> Measurement:
    """The likelihood of a label set's emotions for many motions at once, against generating an answer clip by clip."""
    model = build_model(shape).eval()
    examples = draw_examples(shape, "recognition", motions, seed=1)
    labels = tuple(example.answers[0] for example in draw_examples(shape, "recognition", LABELS, seed=2))
    label_sets = [Example(example.prompt, example.motion, labels) for example in examples]

    @torch.inference_mode()
    def score() -> None:
        model.answer_log_likelihoods(pack(label_sets, model.slots))

    ratio = interleaved_ratio(score, lambda: _one_by_one(model, examples, new_tokens=5), repeats)
    return timed(f"naming the emotion, {shape.name}", ratio, f"{motions} motions, {LABELS} labels", "5 tokens generated clip by clip")


def measure_descriptions(shape: LlmShape, motions: int = 16, repeats: int = 3) -> Measurement:
    """Descriptions of many motions generated at once, against one by one."""
    model = build_model(shape).eval()
    examples = draw_examples(shape, "description", motions, seed=1)
    ratio = interleaved_ratio(lambda: model.generate(examples, NEW_TOKENS), lambda: _one_by_one(model, examples, NEW_TOKENS), repeats)
    return timed(f"describing, {shape.name}", ratio, f"{motions} motions, {NEW_TOKENS} tokens each, in one batch", "one by one")


def packed_step(
    model: EmotionLLM, optimizer: torch.optim.Optimizer | None, examples: Sequence[Example], micro_batch: int = MICRO_BATCH
) -> float:
    """One optimizer step of ours: sorted by length, packed, the head at answers alone. Returns the loss.

    Args:
        optimizer: None: the gradients stay.
    """
    ordered, answer_tokens = sorted(examples, key=length), count_answer_tokens(examples)
    return _step(ordered, micro_batch, optimizer, lambda part: -model(pack(part, model.slots)).sum() / answer_tokens)


def padded_step(baseline: Baseline, optimizer: torch.optim.Optimizer | None, examples: Sequence[Example]) -> float:
    """One optimizer step of the baseline, likewise."""
    answer_tokens = count_answer_tokens(examples)
    return _step(examples, MICRO_BATCH, optimizer, lambda part: baseline(pad(part, baseline.slots), answer_tokens))


def _step(
    examples: Sequence[Example], micro_batch: int, optimizer: torch.optim.Optimizer | None, loss_of: Callable[[Sequence[Example]], Tensor]
) -> float:
    total = 0.0
    for start in range(0, len(examples), micro_batch):
        loss = loss_of(examples[start : start + micro_batch])
        loss.backward()
        total += loss.item()
    if optimizer is not None:
        optimizer.step()
        optimizer.zero_grad()
    return total


def adamw(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([parameter for parameter in module.parameters() if parameter.requires_grad], lr=1e-5, weight_decay=0.0)


def tokens_text(examples: Sequence[Example]) -> str:
    """Average tokens of each kind."""
    skeleton = sum(len(example.motion.rows) for example in examples) / len(examples)
    answer = count_answer_tokens(examples) / len(examples)
    prompt = examples[0].prompt
    return f"{len(prompt.before)} + {len(prompt.after)} prompt, {skeleton:.0f} skeleton and {answer:.0f} answer tokens each"


def padding(examples: Sequence[Example]) -> float:
    """Share of padding among the baseline's tokens."""
    micro_batches = [examples[start : start + MICRO_BATCH] for start in range(0, len(examples), MICRO_BATCH)]
    return 1 - sum(map(length, examples)) / sum(len(part) * max(map(length, part)) for part in micro_batches)


@torch.inference_mode()
def _one_by_one(model: EmotionLLM, examples: Sequence[Example], new_tokens: int) -> None:
    for example in examples:
        model.generate([example], new_tokens)


def _memory_in_fresh_process(side: str, shape: LlmShape, stage: str) -> dict[str, int]:
    command = [sys.executable, "-m", "emotion_llm.benchmarks.finetuning", side, shape.name, stage]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def _print_memory_of_step(side: str, shape_name: str, stage: str) -> None:
    """In the fresh process: peak resident bytes, total and above what was resident before the step."""
    shape = SHAPES[shape_name]
    model = build_model(shape).train()
    examples = draw_examples(shape, stage, MICRO_BATCH, seed=1)
    module = Baseline(model).train() if side == "baseline" else model
    del model
    gc.collect()
    CLEAR_PEAK.write_text("5", encoding="ascii")  # Linux: resets the peak to what is resident now
    before = _peak_resident()
    if isinstance(module, Baseline):
        padded_step(module, None, examples)
    else:
        packed_step(module, None, examples)
    check_gradients(module)
    print(json.dumps({"step": _peak_resident() - before, "process": _peak_resident()}))


def _peak_resident() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    _print_memory_of_step(*sys.argv[1:])
