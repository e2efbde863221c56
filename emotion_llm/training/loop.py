"""The training loop of both stages.

model, engine, data, settings  ->  steps, checkpoints, TensorBoard
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from emotion_llm.console import progress, say
from emotion_llm.language.packed import pack
from emotion_llm.processes import sum_over_processes
from emotion_llm.training.batches import Item, TrainingData, micro_batches
from emotion_llm.training.board import Board
from emotion_llm.training.checkpoint import save_checkpoint
from emotion_llm.training.engine import Engine
from emotion_llm.training.schedule import learning_rate
from emotion_llm.training.settings import FinetuneSettings


@dataclass(frozen=True)
class StepReport:
    """One optimizer step, in numbers; the loss and the counts are over all processes."""

    loss: float
    """Mean negative log-likelihood of an answer token."""
    learning_rate: float
    gradient_norm: float
    seconds: float
    samples: int
    tokens: int
    """Tokens that went through the LLM, shared beginnings counted as often as they were computed."""


def train(
    engine: Engine,
    data: TrainingData,
    settings: FinetuneSettings,
    about: dict,
    first_step: int,
    board: Board,
    evaluate: Callable[[int], Mapping[str, float]],
) -> None:
    """Trains from `first_step` to the last step.

    Args:
        about: what the run is; stored in every checkpoint.
        first_step: steps already done.
        evaluate: held-out scores at a step; called on every rank at intervals and at the end.
    """
    bar = progress(range(first_step, settings.max_steps), settings.stage, "step", total=settings.max_steps, start=first_step)
    for step in (done + 1 for done in bar):
        report = train_step(engine, data, settings, step)
        log_step(board, report, step, settings.global_batch, len(data))
        bar.set_postfix(loss=f"{report.loss:.3f}", refresh=False)
        last = step == settings.max_steps
        if step % settings.checkpoint_every == 0 or last:
            save_checkpoint(settings.run, engine, step, about, settings.keep_checkpoints)
        if step % settings.evaluate_every == 0 or last:
            board.scalars(evaluate(step), step)


def train_step(engine: Engine, data: TrainingData, settings: FinetuneSettings, step: int) -> StepReport:
    """One optimizer step on the step's global batch.

    The loss is the sum over the step's answer tokens divided by their number over all processes, so it does not depend on how the batch
    was divided. Dropout noise is drawn from seed, step, micro-step and rank alone: an interrupted run has no random state to lose.
    """
    begin = time.perf_counter()
    items = data.draw(step)
    answer_tokens = sum(data.answer_tokens(item) for item in items)
    engine.learning_rate = rate = learning_rate(step, settings.peak_learning_rate, settings.warmup_steps, settings.max_steps)
    loss, tokens = torch.zeros((), dtype=torch.float64), 0
    own = micro_batches(items, [data.length(item) for item in items], engine.share, engine.rank)
    for micro_step, micro_batch in enumerate(own):
        torch.manual_seed(noise_seed(settings.seed, step, micro_step, engine.rank))
        row = pack([data.example(item) for item in micro_batch], settings.slots, settings.share_prompts)
        share = -engine.model(row.to(engine.device)).sum() / answer_tokens
        engine.backward(share)
        engine.step()
        loss += share.detach().double().cpu()
        tokens += len(row.token_ids)
    loss, tokens = sum_over_processes(torch.stack([loss, torch.tensor(tokens, dtype=torch.float64)])).tolist()
    _warn_of_bad_numbers(engine, loss, step, data, own)
    return StepReport(loss, rate, engine.gradient_norm, time.perf_counter() - begin, len(items), int(tokens))


def noise_seed(seed: int, step: int, micro_step: int, rank: int) -> int:
    """Seed of the dropout noise of one micro-step on one process."""
    return int(np.random.SeedSequence([seed, step, micro_step, rank]).generate_state(1, np.uint64)[0])


def log_step(board: Board, report: StepReport, step: int, global_batch: int, epoch_items: int) -> None:
    """A step in TensorBoard, against optimizer steps."""
    board.scalars(
        {
            "train/loss": report.loss,
            "train/learning_rate": report.learning_rate,
            "train/gradient_norm": report.gradient_norm,
            "speed/samples_per_second": report.samples / report.seconds,
            "speed/tokens_per_second": report.tokens / report.seconds,
            "speed/seconds_per_step": report.seconds,
            "progress/samples_seen": step * global_batch,
            "progress/epochs": step * global_batch / epoch_items,
        },
        step,
    )


def _warn_of_bad_numbers(engine: Engine, loss: float, step: int, data: TrainingData, own: list[list[Item]]) -> None:
    if math.isfinite(loss) and not engine.last_update_was_skipped:
        return
    names = ", ".join(data.corpora[item.corpus].window_name(item.window) for micro_batch in own for item in micro_batch)
    say(f"warning: step {step}: loss {loss:g}, gradient norm {engine.gradient_norm:g}; the update was skipped; motions of rank 0: {names}")


def describe_sample(data: TrainingData, text_tokenizer, settings: FinetuneSettings) -> str:
    """One training sample, decoded: what the LLM reads, where the skeleton tokens stand, and which tokens carry loss."""
    item = data.draw(1)[0]
    example = data.example(item)
    motion = example.motion
    lines = [
        f"one training sample ({data.corpora[item.corpus].window_name(item.window)}):",
        f"  reads     {text_tokenizer.decode(example.prompt.before)!r}",
        f"            + {len(motion.rows)} skeleton tokens: 1 semantic, {motion.joints} spatial, {motion.time_steps} temporal",
        f"            + {text_tokenizer.decode(example.prompt.after)!r}",
        f"  supervised {[text_tokenizer.decode([token]) for token in example.answers[0]]}",
    ]
    return "\n".join(lines)


def say_plan(engine: Engine, data: TrainingData, settings: FinetuneSettings) -> None:
    """Prints what will be trained and how the batch is divided."""
    trainable = engine.trainable()
    adapter = sum(value.numel() for name, value in trainable.items() if name.startswith("llm."))
    projections = sum(value.numel() for name, value in trainable.items() if not name.startswith("llm."))
    frozen = sum(value.numel() for value in engine.model.parameters()) - adapter - projections
    share = engine.share
    say(
        f"{settings.stage}: trains LoRA {adapter:,} + projections {projections:,} parameters; frozen: LLM {frozen:,} and the skeleton encoder\n"
        f"batch {settings.global_batch} = {share.processes} processes x {share.micro_batch} motions x {share.accumulation} micro-steps; "
        f"{settings.max_steps:,} steps = {settings.max_steps * settings.global_batch / len(data):,.1f} epochs of {len(data):,} samples; "
        f"{engine.precision} on {engine.device.type}"
    )
