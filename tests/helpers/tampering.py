"""Ways to break a job from inside, for `jobs.start_job(tamper=...)`."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable

from emotion_llm.runtime.watchdog import Watchdog
from emotion_llm.training import checkpoint, engine, held_out, loop
from launch import finetune


def quick(_rank: int) -> None:
    """Leaves out the generated answer of an evaluation, which takes as long as all else, and computes in fp32 on any CPU."""
    engine.bf16_is_fast_on_cpu = lambda: False
    held_out.explain = lambda *_: ["(not what is tested here)"]


def kill_inside_save(call: int, rank: int) -> None:
    """SIGKILL at the so-and-so-many-th thing that is done to the disk while checkpoints are written."""
    quick(rank)
    calls = 0

    def deadly(true: Callable) -> Callable:
        def instead(*arguments: object, **named: object) -> object:
            nonlocal calls
            if threading.current_thread().name == "checkpoint":
                calls += 1
                if calls == call:
                    os.kill(os.getpid(), signal.SIGKILL)
            return true(*arguments, **named)

        return instead

    for name in ("fsync", "rename", "replace", "rmdir", "unlink", "mkdir"):
        setattr(os, name, deadly(getattr(os, name)))
    checkpoint.save_file = deadly(checkpoint.save_file)
    checkpoint.file_hash = deadly(checkpoint.file_hash)


def kill_in_training(call: int, victims: tuple[int, ...], rank: int) -> None:
    """SIGKILL of these ranks when they report their progress for the so-and-so-many-th time: before a phase of a micro-step, a checkpoint
    or an evaluation."""
    quick(rank)
    calls = 0

    def at(watch: Watchdog, step: int, micro_step: int, phase: str) -> None:
        nonlocal calls
        calls += 1
        if calls == call and rank in victims:
            os.kill(os.getpid(), signal.SIGKILL)
        true_at(watch, step, micro_step, phase)

    true_at, Watchdog.at = Watchdog.at, at


def kill_at_start(function: str, rank: int) -> None:
    """SIGKILL when launch/finetune.py calls this function."""
    quick(rank)
    setattr(finetune, function, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))


def bf16(rank: int) -> None:
    """Computes in bf16 on any CPU."""
    quick(rank)
    engine.bf16_is_fast_on_cpu = lambda: True


def signal_in_the_middle_of_a_step(step: int, number: int, rank: int) -> None:
    """Every rank sends itself the signal between the micro-steps of that step."""
    quick(rank)

    def train_step(engine_: object, take_data: object, settings: object, now: int, *others: object) -> loop.StepReport:
        if now == step:
            true_backward = engine_.backward

            def backward(share: object) -> None:
                true_backward(share)
                os.kill(os.getpid(), number)

            engine_.backward = backward
        return true_train_step(engine_, take_data, settings, now, *others)

    true_train_step, loop.train_step = loop.train_step, train_step


def slow_steps(seconds: float, rank: int) -> None:
    quick(rank)

    def train_step(*arguments: object) -> loop.StepReport:
        time.sleep(seconds)
        return true_train_step(*arguments)

    true_train_step, loop.train_step = loop.train_step, train_step


def slow_evaluation(seconds: float, rank: int) -> None:
    quick(rank)

    def score_clips(*arguments: object) -> object:
        time.sleep(seconds)
        return true_score_clips(*arguments)

    true_score_clips, held_out.score_clips = held_out.score_clips, score_clips


def poison(steps: tuple[int, ...], rank_to_poison: int, rank: int) -> None:
    """On one rank, the loss of these steps is no number, because of the first motion of its first micro-step."""
    quick(rank)

    def train_step(engine_: object, take_data: object, settings: object, now: int, *others: object) -> loop.StepReport:
        true_forward, calls = engine_.model.forward, 0

        def forward(row: object) -> object:
            nonlocal calls
            calls += 1
            likelihoods = true_forward(row)
            bad = now in steps and rank == rank_to_poison and calls == 1
            return likelihoods * (row.answer_index == 0).float().where(row.answer_index != 0, float("nan")) if bad else likelihoods

        engine_.model.forward = forward
        try:
            return true_train_step(engine_, take_data, settings, now, *others)
        finally:
            del engine_.model.forward

    true_train_step, loop.train_step = loop.train_step, train_step


def small_files_only(most_bytes: int, rank: int) -> None:
    """From the third to the seventh step no file may grow beyond so many bytes: the kernel then refuses to write, as on a full disk."""
    quick(rank)

    def train_step(engine_: object, take_data: object, settings: object, now: int, *others: object) -> loop.StepReport:
        for writing in threading.enumerate():
            if writing.name == "checkpoint":
                writing.join()
        limit = most_bytes if 3 <= now <= 7 else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        return true_train_step(engine_, take_data, settings, now, *others)

    true_train_step, loop.train_step = loop.train_step, train_step
