"""Killed without notice, at named moments, as often as may be: the run goes on from its newest checkpoint and ends the same, bit for bit."""

import os
import random
import signal
from functools import partial

import pytest

from emotion_llm.training.checkpoint import newest_checkpoint
from tests.helpers.jobs import run_job, start_job
from tests.helpers.launching import launch
from tests.helpers.run_outcome import outcome
from tests.helpers.tampering import kill_at_start, kill_in_training, kill_inside_save, quick

pytestmark = pytest.mark.slow
KILLS_OF_ONE, KILLS_OF_TWO = 52, 8
STARTING = (
    "load_encoder",
    "encode_corpora",
    "build_model",
    "checkpoint_to_resume",
    "open_run_folder",
    "Engine",
    "TensorBoardWriter",
    "train",
)
"""What launch/finetune.py calls before the first step, in this order."""


def newest_step(settings) -> int:
    checkpoint = newest_checkpoint(settings.run)
    return checkpoint.step if checkpoint is not None else 0


def test_fifty_kills_of_a_process_are_survived_bit_for_bit(small_run):
    unbroken, killed = (small_run(name, max_steps=200) for name in ("unbroken", "killed"))
    run_job(unbroken, tamper=quick)
    dice, saved = random.Random(0), 0
    for kill in range(KILLS_OF_ONE):
        tamper = (
            partial(kill_inside_save, dice.randint(1, 40)),
            partial(kill_in_training, dice.randint(1, 30), (0,)),
            partial(kill_at_start, STARTING[kill // 5 % len(STARTING)]),
            partial(kill_in_training, dice.randint(1, 30), (0,)),
            partial(kill_inside_save, dice.randint(1, 40)),
        )[kill % 5]
        assert start_job(killed, tamper=tamper).wait() == [-signal.SIGKILL], f"kill {kill} ({tamper}) has not taken place"
        assert newest_step(killed) >= saved, f"kill {kill} ({tamper}) has cost a checkpoint"
        saved = newest_step(killed)
    assert 0 < saved < 200
    run_job(killed, tamper=quick)
    assert outcome(killed.run) == outcome(unbroken.run)


def test_kills_of_one_or_all_of_two_processes_are_survived_bit_for_bit(small_run):
    unbroken, killed = (small_run(name, max_steps=60) for name in ("unbroken", "killed"))
    run_job(unbroken, 2, quick)
    dice = random.Random(1)
    for kill in range(KILLS_OF_TWO):
        victims = ((0,), (1,), (0, 1))[kill % 3]
        job = start_job(killed, 2, partial(kill_in_training, dice.randint(1, 40), victims))
        statuses = job.wait(60)  # whoever survives ends by itself
        if len(victims) == 1:
            assert statuses == [-signal.SIGKILL if rank in victims else 1 for rank in (0, 1)]
            assert f"error: rank {victims[0]} was killed" in job.printed().splitlines()[-1]
    run_job(killed, 2, quick)
    assert outcome(killed.run) == outcome(unbroken.run)


def test_after_a_kill_the_same_deepspeed_command_goes_on_to_the_same_end(small_run):
    unbroken, killed = (small_run(name, max_steps=12) for name in ("unbroken", "killed"))
    run_job(unbroken, 2, quick)
    job = launch(killed, 2, "slow_steps")
    try:
        job.wait_until(lambda: (killed.run / "checkpoints" / "step-00000004").is_dir())
        os.kill(job.ranks[1], signal.SIGKILL)
        assert job.wait(60) != 0
        assert "was killed, by a signal" in job.own_lines()[-1]
    finally:
        job.end()
    job = launch(killed, 2)
    try:
        assert job.wait() == 0, job.printed()
    finally:
        job.end()
    assert "continues from step" in job.printed()
    assert outcome(killed.run) == outcome(unbroken.run)
