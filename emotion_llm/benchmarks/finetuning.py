"""Fine-tuning and answering our way against the usual way (usual_way.py), in turns, on the same batches and the same machine.

shape of an LLM, stage  ->  Measurements: samples per second, peak memory, answers per second

Both sides train in fp32 on a CPU without bf16 instructions and say so; both draw the same batches, divide them into micro-batches of the
same size and take AdamW steps in a plain loop. Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from emotion_llm.benchmarks.baseline import Baseline, pad
from emotion_llm.benchmarks.measurement import Measurement, Ratio, interleaved_ratio, machine_name
from emotion_llm.benchmarks.workload import SMALL, SMOLLM2, LlmShape, build_model, draw_examples
from emotion_llm.language.llm import LoraSettings
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import Example, pack
from emotion_llm.motion.layout import read_layout
from emotion_llm.skeleton_encoder.batch import collate
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings
from emotion_llm.skeleton_encoder.encoder import TEMPORAL_STRIDE
from emotion_llm.skeleton_encoder.pooling import pool

MICRO_BATCH = 16
"""Motions per micro-step on both sides, as in ds_configs/recognition.json."""
BATCH = {"recognition": 64, "description": 16}
"""Motions per step (paper)."""
LABELS = 7
"""Emotions of a label set, as KDAE's."""
NEW_TOKENS = 24
"""Text tokens of a generated description."""
CLEAR_PEAK = Path("/proc/self/clear_refs")


def measure_training(shape: LlmShape, stage: str, batch: int | None = None, repeats: int = 5, encoder_in_loop: bool = False) -> Measurement:
    """Samples per second of optimizer steps."""
    batch = batch or BATCH[stage]
    model = build_model(shape, LoraSettings()).train()
    usual = Baseline(model).train()
    examples = draw_examples(shape, stage, batch, seed=1)
    our_optimizer, their_optimizer = adamw(model), adamw(usual)
    encode = _encoder_run(examples) if encoder_in_loop else None
    ratio = interleaved_ratio(
        lambda: our_step(model, our_optimizer, examples), lambda: usual_step(usual, their_optimizer, examples, encode), repeats
    )
    where = ", the encoder in the usual way's loop" if encoder_in_loop else ""
    return _record(
        f"fine-tuning, {stage}, {shape.name}{where}", ratio, f"a step of {batch} motions, {padding_text(examples)}", "seconds per step"
    )


def measure_memory(shape: LlmShape, stage: str, batch: int | None = None) -> Measurement:
    """Peak memory of a step beyond the loaded model, each side in a process of its own."""
    batch = batch or MICRO_BATCH
    ours, theirs = (_memory_of_a_fresh_process(side, shape, stage, batch) for side in ("ours", "usual"))
    ratio = theirs["step"] / ours["step"]
    return Measurement(
        name=f"peak memory, {stage}, {shape.name}",
        ratio=ratio,
        low=ratio,
        high=ratio,
        unit="times less memory of a step beyond the loaded model",
        compared=f"a step of {batch} motions in one micro-batch: ours {ours['step'] / 1e6:,.0f} MB, the usual way "
        f"{theirs['step'] / 1e6:,.0f} MB; the whole process, model, Python and torch included, {ours['process'] / 1e6:,.0f} and "
        f"{theirs['process'] / 1e6:,.0f} MB",
        machine=machine(),
    )


def measure_labels(shape: LlmShape, motions: int = 16, repeats: int = 5) -> Measurement:
    """The likelihood of a label set's emotions for many motions at once, against generating an answer clip by clip."""
    model = build_model(shape, LoraSettings()).eval()
    examples = draw_examples(shape, "recognition", motions, seed=1)
    labels = tuple(example.answers[0] for example in draw_examples(shape, "recognition", LABELS, seed=2))
    label_sets = [Example(example.prompt, example.motion, labels) for example in examples]

    @torch.inference_mode()
    def score() -> None:
        model.answer_log_likelihoods(pack(label_sets, model.slots))

    ratio = interleaved_ratio(score, lambda: _one_by_one(model, examples, new_tokens=5), repeats)
    return _record(
        f"naming the emotion, {shape.name}", ratio,
        f"{motions} motions, {LABELS} labels scored together, against 5 tokens generated one by one", "seconds",
    )  # fmt: skip


def measure_descriptions(shape: LlmShape, motions: int = 16, repeats: int = 3) -> Measurement:
    """Descriptions of many motions generated at once, against one by one."""
    model = build_model(shape, LoraSettings()).eval()
    examples = draw_examples(shape, "description", motions, seed=1)
    ratio = interleaved_ratio(lambda: model.generate(examples, NEW_TOKENS), lambda: _one_by_one(model, examples, NEW_TOKENS), repeats)
    what = f"{motions} motions, {NEW_TOKENS} tokens each, together against one by one"
    return _record(f"describing, {shape.name}", ratio, what, "seconds")


def our_step(model: EmotionLLM, optimizer: torch.optim.Optimizer, examples: Sequence[Example], micro_batch: int = MICRO_BATCH) -> float:
    """One optimizer step our way: sorted by length, packed, the head at answers alone. Returns the loss."""
    answer_tokens = count_answer_tokens(examples)
    ordered = sorted(examples, key=lambda example: len(example.motion.rows) + len(example.answers[0]))
    total = 0.0
    for start in range(0, len(ordered), micro_batch):
        loss = -model(pack(ordered[start : start + micro_batch], model.slots)).sum() / answer_tokens
        loss.backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total


def usual_step(usual: Baseline, optimizer: torch.optim.Optimizer, examples: Sequence[Example], encode=None) -> float:
    """One optimizer step the usual way. Returns the loss."""
    answer_tokens = count_answer_tokens(examples)
    total = 0.0
    for start in range(0, len(examples), MICRO_BATCH):
        if encode is not None:
            encode(start, start + MICRO_BATCH)
        loss = usual(pad(examples[start : start + MICRO_BATCH], usual.model.slots), answer_tokens)
        loss.backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total


def adamw(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([parameter for parameter in module.parameters() if parameter.requires_grad], lr=1e-5, weight_decay=0.0)


def count_answer_tokens(examples: Sequence[Example]) -> int:
    return sum(len(example.answers[0]) for example in examples)


def padding_text(examples: Sequence[Example]) -> str:
    """How much of a batch is what."""
    skeleton = sum(len(example.motion.rows) for example in examples) / len(examples)
    answer = count_answer_tokens(examples) / len(examples)
    prompt = examples[0].prompt
    return f"each {len(prompt.before)} + {len(prompt.after)} prompt, {skeleton:.0f} skeleton and {answer:.0f} answer tokens on average"


def machine() -> str:
    return f"{machine_name()}, {torch.get_num_threads()} threads, fp32"


def _record(name: str, ratio: Ratio, what: str, unit: str) -> Measurement:
    compared = f"{what}: ours {ratio.our_seconds:.2f} s, the usual way {ratio.their_seconds:.2f} s"
    return Measurement(name, ratio.median, ratio.low, ratio.high, unit, compared, machine())


@torch.inference_mode()
def _one_by_one(model: EmotionLLM, examples: Sequence[Example], new_tokens: int) -> None:
    for example in examples:
        model.generate([example], new_tokens)


def _encoder_run(examples: Sequence[Example]):
    """What encodes the motions of examples from..to, as the usual way does in every step: the frozen encoder on positions."""
    layouts = {layout.joints: layout for layout in map(read_layout, ("kdae_72", "emilya_28", "kinect_v2_25"))}
    encoder = CtrGcnSettings().build(list(layouts.values())).eval()
    index = {joints: place for place, joints in enumerate(layouts)}
    motions = [torch.randn(example.motion.time_steps * TEMPORAL_STRIDE, example.motion.joints, 3).numpy() for example in examples]
    places = [index[example.motion.joints] for example in examples]

    @torch.inference_mode()
    def encode(start: int, stop: int) -> None:
        pool(encoder(collate(motions[start:stop], places[start:stop], frames_per_second=30.0)))

    return encode


def _memory_of_a_fresh_process(side: str, shape: LlmShape, stage: str, batch: int) -> dict[str, int]:
    command = [sys.executable, "-m", "emotion_llm.benchmarks.finetuning", side, shape.name, stage, str(batch)]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(ended.stdout.splitlines()[-1])


def _print_memory_of_a_step(side: str, shape_name: str, stage: str, batch: int) -> None:
    """In the fresh process: peak resident bytes, in all and above what was resident before the step."""
    shape = next(shape for shape in (SMALL, SMOLLM2) if shape.name == shape_name)
    model = build_model(shape, LoraSettings()).train()
    examples = draw_examples(shape, stage, batch, seed=1)
    if side == "usual":
        model = Baseline(model).train()
        step = usual_step
    else:
        step = our_step
    gc.collect()
    CLEAR_PEAK.write_text("5", encoding="ascii")  # Linux: the peak starts anew, at what is resident now
    before = _peak_resident()
    step(model, adamw(model), examples)
    print(json.dumps({"step": _peak_resident() - before, "process": _peak_resident()}))


def _peak_resident() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    _print_memory_of_a_step(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
