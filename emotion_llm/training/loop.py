"""The training loop of both stages.

engine, data, settings  ->  optimizer steps, checkpoints, TensorBoard
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from emotion_llm.runtime.console import PROGRAM_BEGIN, progress, say
from emotion_llm.runtime.processes import gather_over_processes, get_watchdog, sum_over_processes
from emotion_llm.runtime.stopping import StopRequest, leave_marker
from emotion_llm.runtime.tensorboard import Tag, TensorBoardWriter
from emotion_llm.runtime.watchdog import Watchdog
from emotion_llm.training.batches import MicroBatch, Prefetch, StepData, TrainingData, prepare_step
from emotion_llm.training.checkpoint_manager import CheckpointManager
from emotion_llm.training.efficiency import FlopCount, StepClock, matrix_peak, peak_memory_bytes
from emotion_llm.training.engine import Engine
from emotion_llm.training.loss_monitor import LossMonitor, MotionLoss, motion_losses
from emotion_llm.training.schedule import learning_rate
from emotion_llm.training.settings import FinetuneSettings

EXIT_WAIT_SECONDS = 60.0
"""How long a process that exits because of another rank waits for its checkpoint to be written."""


@dataclass(frozen=True)
class StepReport:
    """One optimizer step in numbers; loss and counts are over all processes."""

    loss: float
    """Mean negative log-likelihood of an answer token."""
    learning_rate: float
    gradient_norm: float
    update_was_skipped: bool
    """True if loss or gradient was not finite: the weights did not change."""
    stop: bool
    """True if any process was asked to stop."""
    seconds: float
    samples: int
    tokens: int
    """Tokens that went through the LLM; a shared prefix counts as often as it was computed."""
    phases: Mapping[str, float]
    """Seconds of each phase on this process (training/efficiency.py)."""
    operations: float
    """Useful floating point operations over all processes (training/efficiency.py)."""
    own: list[tuple[MicroBatch, Tensor]]
    """What this process computed, with the log-likelihood of every answer token (A,)."""

    def own_losses(self, data: TrainingData) -> list[MotionLoss]:
        """The loss of every motion that this process computed."""
        losses = []
        for micro_batch, log_likelihoods in self.own:
            names = [data.name(item) for item in micro_batch.items]
            losses += motion_losses(names, log_likelihoods.cpu(), micro_batch.row.answer_index)
        return losses

    def curves(self) -> dict[str, float]:
        """Values for TensorBoard."""
        return {
            Tag.LOSS: self.loss,
            Tag.LEARNING_RATE: self.learning_rate,
            Tag.GRADIENT_NORM: self.gradient_norm,
            Tag.SAMPLES_PER_SECOND: self.samples / self.seconds,
            Tag.TOKENS_PER_SECOND: self.tokens / self.seconds,
            **{f"{Tag.SECONDS_IN}_{phase}": seconds for phase, seconds in self.phases.items()},
        }


def train(
    engine: Engine,
    data: TrainingData,
    settings: FinetuneSettings,
    metadata: dict,
    steps_done: int,
    tensorboard: TensorBoardWriter,
    evaluate: Callable[[int], Mapping[str, float]],
) -> bool:
    """Trains from `steps_done` to the last step, or to the step at which a stop is requested.

    Args:
        metadata: what the run is; stored in every checkpoint.
        evaluate: held-out accuracy per corpus at a step; called on every rank at intervals and at the end.

    Returns:
        True if the last step is done, False if the run was stopped before.

    Raises:
        UserError: too many consecutive updates were skipped, or the last checkpoint could not be written.
    """
    watch, stop = get_watchdog(), StopRequest()
    manager = CheckpointManager(settings.run, engine, metadata, settings.keep_checkpoints, steps_done)
    monitor = LossMonitor(steps_done - engine.updates, settings.max_skipped_in_a_row)
    prefetch = Prefetch(partial(prepare_step, data, engine.share, engine.rank, FlopCount(engine.model)), settings.max_steps)

    def before_end(status: int) -> None:
        manager.wait(EXIT_WAIT_SECONDS)
        if status == 0:
            leave_marker(settings.run, manager.saved_step, stop.reason)

    def evaluate_saved(step: int) -> None:
        prefetch.wait_idle()
        stop.nothing_to_lose = True
        watch.at(step, 0, "evaluation")
        accuracies = evaluate(step)
        stop.nothing_to_lose = False
        tensorboard.scalars({Tag.HELD_OUT_ACCURACY.of(name): value for name, value in accuracies.items()}, step)
        manager.note_accuracy(step, accuracies)

    peak = matrix_peak(engine.device, engine.dtype) * engine.share.processes
    say(f"matrix peak, measured: {peak / 1e12:.3g} TFLOP/s in {engine.precision} over all processes; MFU is relative to it")
    bar = progress(range(steps_done + 1, settings.max_steps + 1), settings.stage, "step", total=settings.max_steps, start=steps_done)
    stopped = False
    with (
        stop,
        watch.expecting_progress(settings.hang_timeout_seconds, lambda: stop.ask("the loss of its launcher"), stop.may_leave, before_end),
        manager,
        prefetch,
    ):
        if steps_done and is_evaluated_at(steps_done, settings) and not manager.is_evaluated(steps_done):
            evaluate_saved(steps_done)  # the run was interrupted in this evaluation
        for step in bar:
            report = train_step(engine, prefetch.take, settings, step, watch, stop)
            if step == steps_done + 1:
                say(f"first step of this start after {time.perf_counter() - PROGRAM_BEGIN:.1f} s")
            own_losses = partial(report.own_losses, data)
            warning = monitor.check(step, report.loss, report.gradient_norm, report.update_was_skipped, own_losses)
            if warning is not None:
                say(warning)
                tensorboard.text(Tag.WARNINGS, warning, step)
            monitor.check_streak(step, manager.describe_newest)
            curves = {
                Tag.SKIPPED_UPDATES: monitor.skipped,
                Tag.MFU: report.operations / report.seconds / peak,
                Tag.PEAK_MEMORY_GB: peak_memory_bytes(engine.device) / 1e9,
            }
            tensorboard.step_scalars(report.curves() | curves, step)
            bar.set_postfix(loss=f"{report.loss:.3f}", refresh=False)
            evaluates = is_evaluated_at(step, settings)
            if step % settings.checkpoint_every == 0 or evaluates or report.stop:
                watch.at(step, 0, "checkpoint")
                tensorboard.flush(step)  # a resumed run does not repeat these steps
                tensorboard.scalars({Tag.CHECKPOINT_SECONDS: manager.save(step)}, step)
            stopped = report.stop and step < settings.max_steps
            if stopped:
                break
            if evaluates:
                evaluate_saved(step)
        bar.close()
        manager.finish()
    if stopped:
        reason = next(reason for reason in gather_over_processes(stop.reason) if reason is not None)
        leave_marker(settings.run, step, reason)
        say(f"stopped by {reason} after step {step:,}; it is saved, the same command continues from there")
    return not stopped


def is_evaluated_at(step: int, settings: FinetuneSettings) -> bool:
    return step % settings.evaluate_every == 0 or step == settings.max_steps


def train_step(
    engine: Engine, take_data: Callable[[int], StepData], settings: FinetuneSettings, step: int, watch: Watchdog, stop: StopRequest
) -> StepReport:
    """One optimizer step on the step's global batch. Waits for the device only at its end.

    The loss is the sum over the step's answer tokens divided by their number over all processes, so it does not depend on the division
    into micro-batches. Dropout noise is seeded from seed, step, micro-step and rank: there is no random state to restore.
    """
    clock, micro_step = StepClock(engine.device), 0

    def phase(name: str) -> AbstractContextManager[None]:
        watch.at(step, micro_step, name)
        return clock.phase(name)

    with phase("data"):
        data = take_data(step)
    engine.learning_rate = learning_rate(step, settings.peak_learning_rate, settings.warmup_steps, settings.max_steps)
    loss, tokens, own = torch.zeros((), dtype=torch.float64, device=engine.device), 0, []
    for micro_step, micro_batch in enumerate(data.micro_batches):
        torch.manual_seed(noise_seed(settings.seed, step, micro_step, engine.rank))
        with phase("data"):
            row = micro_batch.row.to(engine.device)
        with phase("forward"):
            log_likelihoods = engine.model(row)  # (A,)
            share = -log_likelihoods.sum() / data.answer_tokens
        with phase("backward"):
            engine.backward(share)
        with phase("optimizer"):
            engine.step()
        loss += share.detach().double()
        tokens += len(row.token_ids)
        own.append((micro_batch, log_likelihoods.detach()))
    operations = sum(micro_batch.operations for micro_batch in data.micro_batches)
    counts = torch.tensor([tokens, operations, stop.reason is not None], dtype=torch.float64).to(engine.device, non_blocking=True)
    mean_loss, all_tokens, all_operations, stops = sum_over_processes(torch.cat([loss[None], counts])).tolist()
    return StepReport(
        mean_loss, engine.learning_rate, engine.gradient_norm, engine.last_update_was_skipped, stops > 0,
        clock.seconds, settings.global_batch, int(all_tokens), clock.phases, all_operations, own,
    )  # fmt: skip


def noise_seed(seed: int, step: int, micro_step: int, rank: int) -> int:
    """Seed of the dropout noise of one micro-step on one process."""
    return int(np.random.SeedSequence([seed, step, micro_step, rank]).generate_state(1, np.uint64)[0])


def describe_sample(data: TrainingData, text_tokenizer: PreTrainedTokenizerBase) -> str:
    """One training sample, decoded: what the LLM reads, where the skeleton tokens stand, and which tokens carry loss."""
    item = data.draw(1)[0]
    example = data.example(item)
    motion, decode = example.motion, text_tokenizer.decode
    semantic, spatial, temporal = motion.granularities.bincount(minlength=3).tolist()
    return (
        f"one training sample ({data.name(item)}):\n"
        f"  reads     {decode(list(example.prompt.before))!r}\n"
        f"            + {len(motion.rows)} skeleton tokens: {semantic} semantic, {spatial} spatial, {temporal} temporal\n"
        f"            + {decode(list(example.prompt.after))!r}\n"
        f"  supervised {[decode([token]) for token in example.answers[0]]}"
    )


def say_plan(engine: Engine, data: TrainingData, settings: FinetuneSettings) -> None:
    """Prints what trains and how the batch is divided."""
    sizes = {"llm": 0, "skeleton_tokenizer": 0}
    for name, value in engine.trainable().items():
        sizes[name.partition(".")[0]] += value.numel()
    frozen = sum(value.numel() for value in engine.model.parameters()) - sum(sizes.values())
    share, motions = engine.share, settings.max_steps * settings.global_batch
    say(
        f"{settings.stage}: trains LoRA {sizes['llm']:,} + projections {sizes['skeleton_tokenizer']:,} parameters; "
        f"frozen: LLM {frozen:,} and the skeleton encoder\n"
        f"batch {settings.global_batch} = {share.processes} processes x {share.micro_batch} motions x {share.accumulation} micro-steps; "
        f"{settings.max_steps:,} steps = {motions / len(data):,.1f} epochs of {len(data):,} samples; "
        f"{engine.precision} on {engine.device.type}"
    )
