"""The training loop of pre-training.

model, optimizer, PretrainingData, settings  ->  trained weights, held-out scores; TensorBoard and the training state on the way
"""

import math
import time
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from emotion_llm.pretraining.data import PretrainBatch, PretrainingData
from emotion_llm.pretraining.evaluation import held_out_confusion, semantic_features, summary
from emotion_llm.pretraining.model import PretrainingModel
from emotion_llm.pretraining.schedule import learning_rate
from emotion_llm.pretraining.settings import PretrainSettings
from emotion_llm.pretraining.state import save_state
from emotion_llm.runtime.console import progress, say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.figures import confusion_figure
from emotion_llm.runtime.processes import gather_over_processes, get_watchdog, process_count, process_rank, sum_over_processes
from emotion_llm.runtime.stopping import StopRequest, leave_marker
from emotion_llm.runtime.tensorboard import Tag, TensorBoardWriter
from emotion_llm.skeleton_encoder.norm import running_statistics, set_running_statistics


def train(
    model: PretrainingModel,
    optimizer: torch.optim.SGD,
    data: PretrainingData,
    settings: PretrainSettings,
    steps_per_epoch: int,
    steps_done: int,
    tensorboard: TensorBoardWriter,
    metadata: dict[str, Any],
) -> bool:
    """Trains the remaining steps. The state is saved after every epoch, and after the step in which a stop is requested.

    Returns:
        Whether all steps are done; False if the run was stopped before its last one.
    """
    # Each process keeps its own running statistics; they are averaged before they are used.
    network = DistributedDataParallel(model, broadcast_buffers=False) if process_count() > 1 else model
    local_batch = settings.global_batch // process_count()
    device = next(model.parameters()).device
    last = settings.epochs * steps_per_epoch
    watch, stop = get_watchdog(), StopRequest()
    bar = progress(range(steps_done + 1, last + 1), "pre-training", "step", total=last, start=steps_done)
    with (
        stop,
        watch.expecting_progress(
            settings.hang_timeout_seconds, lambda: stop.ask("the loss of its launcher"), stop.may_leave, lambda status: None
        ),
    ):
        for step in bar:
            watch.at(step, 0, "forward")
            epoch, place = divmod(step - 1, steps_per_epoch)
            if place == 0 or step == steps_done + 1:
                order = data.epoch(epoch)
            begin = time.perf_counter()
            start = place * settings.global_batch + process_rank() * local_batch
            batch = data.batch(order, range(start, start + local_batch)).to(device)
            rate = learning_rate(step, settings, steps_per_epoch)
            scalars, stopped = train_step(network, optimizer, batch, settings.contrastive_weight, rate, step, stop.reason is not None)
            scalars[Tag.SAMPLES_PER_SECOND] = settings.global_batch / (time.perf_counter() - begin)
            tensorboard.step_scalars(scalars, step)
            bar.set_postfix(loss=f"{scalars[Tag.LOSS]:.3f}", refresh=False)
            epoch_done = place + 1 == steps_per_epoch
            if epoch_done:
                average_running_statistics(model)
            if epoch_done or stopped:
                watch.at(step, 0, "checkpoint")
                tensorboard.flush(step)
                save_state(settings.run, model, optimizer, step, steps_per_epoch, metadata)
            if stopped and step < last:
                reason = next(reason for reason in gather_over_processes(stop.reason) if reason is not None)
                leave_marker(settings.run, step, reason)
                say(f"stopped by {reason} after step {step:,}; it is saved, run the same command to continue")
                return False
            if epoch_done and (epoch + 1) % settings.evaluate_every == 0 and step < last:  # the last one follows with the fitted classifier
                watch.at(step, 0, "evaluation")
                evaluate(model, data, tensorboard, epoch + 1, step)
    return True


def train_step(
    network: nn.Module, optimizer: torch.optim.SGD, batch: PretrainBatch, contrastive_weight: float, rate: float, step: int, stop: bool
) -> tuple[dict[str, float], bool]:
    """One optimizer step on this process's part of the batch.

    Returns:
        What TensorBoard shows, losses as means over all processes; whether any process was asked to stop.

    Raises:
        UserError: the loss is not finite; the weights are then unchanged.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    classification, contrastive = network(batch)  # (N,), (N,)
    losses = classification + contrastive_weight * contrastive
    own = torch.stack([losses.mean(), classification.mean(), contrastive.mean(), losses.new_tensor(float(stop))]).detach()
    loss, classification_mean, contrastive_mean, stop_share = (sum_over_processes(own) / process_count()).tolist()
    if not math.isfinite(loss):
        bad = [name for name, value in zip(batch.names, losses.tolist(), strict=True) if not math.isfinite(value)]
        named = [name for names in gather_over_processes(bad) for name in names]
        raise UserError(
            f"step {step}: the loss is {loss}; motions with such a loss: {', '.join(named)}; inspect them (launch/prepare.py reports "
            "suspicious clips), or lower --learning-rate and start again; the state of the last epoch is kept"
        )
    optimizer.zero_grad()
    losses.mean().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm = float(nn.utils.get_total_norm(gradients))
    optimizer.step()
    return {
        Tag.LOSS: loss,
        **({Tag.CLASSIFICATION_LOSS: classification_mean, Tag.CONTRASTIVE_LOSS: contrastive_mean} if contrastive_weight else {}),
        Tag.LEARNING_RATE: optimizer.param_groups[0]["lr"],
        Tag.GRADIENT_NORM: norm,
    }, stop_share > 0


def evaluate(
    model: PretrainingModel, data: PretrainingData, tensorboard: TensorBoardWriter, epoch: int, step: int
) -> dict[str, dict[str, float]]:
    """Held-out scores by corpus, written to TensorBoard and printed."""
    scores, words = {}, []
    for corpus, confusion in zip(data.corpora, held_out_confusion(model, data).values(), strict=True):
        name, score = corpus.name, summary(confusion)
        tensorboard.scalars({Tag.HELD_OUT_ACCURACY.of(name): score["accuracy"]}, step)
        tensorboard.figure(Tag.CONFUSION.of(name), confusion_figure(confusion, corpus.emotions, f"{name}, held out"), step)
        words.append(f"{name} {score['accuracy']:.1%} of {score['clips']} (chance {score['chance']:.1%})")
        scores[name] = score
    say(f"epoch {epoch}: held-out accuracy {', '.join(words)}")
    return scores


def show_results(
    tensorboard: TensorBoardWriter,
    model: PretrainingModel,
    data: PretrainingData,
    settings: PretrainSettings,
    held_out: dict[str, dict[str, float]],
    step: int,
) -> None:
    """Writes the pages PROJECTOR and HPARAMS. Every rank must call it."""
    features, columns = semantic_features(model, data)
    tensorboard.embedding(Tag.FEATURES, features, columns, step)
    shown = {
        "stage": "encoder", "network": settings.encoder.kind, "corpora": ", ".join(settings.corpora), "steps": step,
        "global_batch": settings.global_batch, "learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay,
        "contrastive_weight": settings.contrastive_weight, "seed": settings.seed,
    }  # fmt: skip
    accuracy = sum(score["accuracy"] for score in held_out.values()) / len(held_out)
    tensorboard.hyperparameters(shown, {Tag.ACCURACY: accuracy}, step)


def average_running_statistics(model: nn.Module) -> None:
    """Sets every process's batch-norm statistics to the mean over all processes."""
    set_running_statistics(model, sum_over_processes(running_statistics(model)) / process_count())


def say_plan(settings: PretrainSettings, data: PretrainingData, model: PretrainingModel, steps_per_epoch: int, steps_done: int) -> None:
    """Prints what will be trained and on what."""
    parts = {name: sum(x.numel() for x in part.parameters()) for name, part in model.named_children()}
    held_out = sum(len(split.held_out) for split in data.splits)
    say(
        f"pre-training: {' + '.join(f'{name} {count:,}' for name, count in parts.items())} parameters, all trainable\n"
        f"{len(data.items):,} training windows of at most {data.window_frames} frames from {', '.join(settings.corpora)}; "
        f"{held_out:,} clips held out; layouts {', '.join(layout.name for layout in data.layouts)}\n"
        f"batch {settings.global_batch} = {process_count()} processes x {settings.global_batch // process_count()} windows; "
        f"{settings.epochs} epochs of {steps_per_epoch} steps" + (f"; continues after step {steps_done:,}" if steps_done else "")
    )
