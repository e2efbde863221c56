"""The loop of pre-training.

model, optimizer, PretrainingData, schedule  ->  trained weights, held-out scores; TensorBoard and the training state on the way
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from emotion_llm.pretraining.data import PretrainBatch, PretrainingData
from emotion_llm.pretraining.evaluation import HeldOut, held_out_scores
from emotion_llm.pretraining.model import PretrainingModel
from emotion_llm.pretraining.state import save_state
from emotion_llm.runtime.console import progress, say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.figures import confusion_figure
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes, process_count, process_rank, sum_over_processes
from emotion_llm.runtime.tensorboard import TensorBoardWriter
from emotion_llm.skeleton_encoder.norm import MaskedBatchNorm

if TYPE_CHECKING:
    from emotion_llm.pretraining.pretrain import PretrainSettings

DECAY = 0.1
"""The learning rate is multiplied by this at every milestone (paper: divided by 10)."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate of a step, from the step alone: linear warm-up, then constant, divided by 10 at each milestone (paper)."""

    steps_per_epoch: int
    epochs: int
    initial: float
    warmup_epochs: int
    milestones: tuple[int, ...]

    @staticmethod
    def of(settings: PretrainSettings, steps_per_epoch: int) -> Schedule:
        return Schedule(steps_per_epoch, settings.epochs, settings.learning_rate, settings.warmup_epochs, settings.milestones)

    def learning_rate(self, step: int) -> float:
        """
        Args:
            step: counted from 1, as in the logs.
        """
        warmup_steps = self.warmup_epochs * self.steps_per_epoch
        if step <= warmup_steps:
            return self.initial * step / warmup_steps
        epochs_done = (step - 1) // self.steps_per_epoch
        return self.initial * DECAY ** sum(epochs_done >= milestone for milestone in self.milestones)


@dataclass(frozen=True)
class StepReport:
    """One step, in numbers; the losses are means over all processes."""

    loss: float
    classification: float
    contrastive: float
    learning_rate: float
    gradient_norm: float
    seconds: float


def train(
    model: PretrainingModel,
    optimizer: torch.optim.SGD,
    data: PretrainingData,
    settings: PretrainSettings,
    schedule: Schedule,
    first_epoch: int,
    tensorboard: TensorBoardWriter,
    metadata: dict,
) -> dict[str, HeldOut]:
    """Trains from `first_epoch` to the last and returns the last held-out scores. The state is saved after every epoch."""
    # Running statistics are kept by each process and averaged where they are used, so they see all the data.
    network = DistributedDataParallel(model, broadcast_buffers=False) if process_count() > 1 else model
    share = settings.batch_size // process_count()
    device = next(model.parameters()).device
    first, last = first_epoch * schedule.steps_per_epoch, schedule.epochs * schedule.steps_per_epoch
    bar = progress(range(first, last), "pre-training", "step", total=last, start=first)
    held_out = held_out_scores(model, data) if first == last else {}
    for step in (done + 1 for done in bar):
        epoch, place = divmod(step - 1, schedule.steps_per_epoch)
        if place == 0:
            order = data.epoch(epoch)
        begin = time.perf_counter()
        start = place * settings.batch_size + process_rank() * share
        batch = data.batch(order, range(start, start + share)).to(device)
        report = train_step(network, optimizer, batch, settings.contrastive_weight, schedule.learning_rate(step), step, begin)
        log_step(tensorboard, report, step, settings.batch_size, schedule.steps_per_epoch)
        bar.set_postfix(loss=f"{report.loss:.3f}", refresh=False)
        if place + 1 == schedule.steps_per_epoch:
            average_running_statistics(model)
            if is_first_rank():
                save_state(settings.run, model, optimizer, epoch + 1, metadata)
            if (epoch + 1) % settings.evaluate_every == 0 or step == last:
                held_out = evaluate(model, data, tensorboard, epoch + 1, step)
    return held_out


def train_step(
    network: nn.Module, optimizer: torch.optim.SGD, batch: PretrainBatch, contrastive_weight: float, rate: float, step: int, begin: float
) -> StepReport:
    """One optimizer step on this process's part of the batch.

    Raises:
        UserError: a loss that is not a finite number; the weights are then untouched.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    classification, contrastive = network(batch)  # (N,), (N,)
    losses = classification + contrastive_weight * contrastive
    means = torch.stack([losses.mean(), classification.mean(), contrastive.mean()]).detach()
    loss, classification_mean, contrastive_mean = (sum_over_processes(means) / process_count()).tolist()
    if not torch.isfinite(torch.tensor(loss)):
        bad = [name for name, value in zip(batch.names, losses.tolist(), strict=True) if not torch.isfinite(torch.tensor(value))]
        named = [name for names in gather_over_processes(bad) for name in names]
        raise UserError(
            f"step {step}: the loss is {loss}; motions with such a loss: {', '.join(named)}; look at them (launch/prepare.py reports "
            "suspicious clips), or lower --learning-rate and start again: the last whole epoch is kept"
        )
    optimizer.zero_grad()
    losses.mean().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm = float(nn.utils.get_total_norm(gradients))
    optimizer.step()
    return StepReport(loss, classification_mean, contrastive_mean, optimizer.param_groups[0]["lr"], norm, time.perf_counter() - begin)


def evaluate(model: PretrainingModel, data: PretrainingData, tensorboard: TensorBoardWriter, epoch: int, step: int) -> dict[str, HeldOut]:
    """Held-out scores, in TensorBoard and in words."""
    held_out = held_out_scores(model, data)
    for corpus, score in zip(data.corpora, held_out.values(), strict=True):
        tensorboard.scalars({f"held_out_accuracy/{corpus.name}": score.accuracy}, step)
        tensorboard.figure(
            f"confusion/{corpus.name}", confusion_figure(score.confusion, corpus.emotions, f"{corpus.name}: held-out clips"), step
        )
    words = ", ".join(f"{name} {score.accuracy:.1%} of {score.clips} (chance {score.chance:.1%})" for name, score in held_out.items())
    say(f"epoch {epoch}: held-out accuracy {words}")
    return held_out


def average_running_statistics(model: nn.Module) -> None:
    """Every process gets the mean of all processes' batch-norm statistics."""
    norms = [module for module in model.modules() if isinstance(module, MaskedBatchNorm)]
    statistics = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_variance)]
    mean = sum_over_processes(torch.cat(statistics)) / process_count()
    for buffer, value in zip(statistics, mean.split([len(buffer) for buffer in statistics]), strict=True):
        buffer.copy_(value)


def log_step(tensorboard: TensorBoardWriter, report: StepReport, step: int, batch_size: int, steps_per_epoch: int) -> None:
    """A step in TensorBoard, against optimizer steps."""
    tensorboard.scalars(
        {
            "train/loss": report.loss,
            "train/classification_loss": report.classification,
            "train/contrastive_loss": report.contrastive,
            "train/learning_rate": report.learning_rate,
            "train/gradient_norm": report.gradient_norm,
            "speed/samples_per_second": batch_size / report.seconds,
            "progress/samples_seen": step * batch_size,
            "progress/epochs": step / steps_per_epoch,
        },
        step,
    )
