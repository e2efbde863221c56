"""Killed without notice, at any moment, as often as may be: the run goes on from its newest checkpoint and ends the same, bit for bit."""

import os
import random
import signal
import time
from functools import partial

import pytest

from emotion_llm.training.checkpoint import newest_checkpoint
from tests.helpers.jobs import Job, run_job, start_job
from tests.helpers.launching import launch
from tests.helpers.run_outcome import outcome
from tests.helpers.tampering import kill_inside_save, quick

pytestmark = pytest.mark.slow
KILLS_OF_ONE, KILLS_OF_TWO = 52, 8


def begun(job: Job, said_before: int) -> bool:
    """The job has said how the batch is divided: its training loop begins."""
    return "micro-steps; " in job.printed()[said_before:]


def newest_step(settings) -> int:
    checkpoint = newest_checkpoint(settings.run)
    return checkpoint.step if checkpoint is not None else 0


def test_fifty_kills_of_a_process_are_survived_bit_for_bit(small_run):
    unbroken, killed = (small_run(name, max_steps=500) for name in ("unbroken", "killed"))
    run_job(unbroken, tamper=quick)
    dice, saved, moments = random.Random(0), 0, {"inside a save": 0, "in training": 0, "at the start": 0}
    for kill in range(KILLS_OF_ONE):
        moment = ("inside a save", "in training", "in training", "inside a save", "at the start")[kill % 5]
        tamper = partial(kill_inside_save, dice.randint(1, 40)) if moment == "inside a save" else quick
        killed.run.mkdir(exist_ok=True)
        job = start_job(killed, tamper=tamper)
        said_before = len(job.printed())
        if moment == "at the start":
            time.sleep(dice.uniform(0.0, 1.5))
        if moment == "in training":
            job.wait_until(lambda job=job, said_before=said_before: begun(job, said_before))
            time.sleep(dice.uniform(0.0, 0.25))
        if moment != "inside a save":
            job.signal(signal.SIGKILL)
        moments[moment] += job.wait() == [-signal.SIGKILL]
        assert newest_step(killed) >= saved, f"kill {kill} ({moment}) has cost a checkpoint"
        saved = newest_step(killed)
    print(f"kills: {moments}, newest checkpoint then: step {saved}")
    assert sum(moments.values()) >= 50, f"the run was over too soon: {moments}"
    run_job(killed, tamper=quick)
    assert outcome(killed.run) == outcome(unbroken.run)


def test_kills_of_one_or_all_of_two_processes_are_survived_bit_for_bit(small_run):
    unbroken, killed = (small_run(name, max_steps=60) for name in ("unbroken", "killed"))
    run_job(unbroken, 2, quick)
    dice = random.Random(1)
    for kill in range(KILLS_OF_TWO):
        victim = (0, 1, None)[kill % 3]
        job = start_job(killed, 2, quick)
        said_before = len(job.printed())
        job.wait_until(lambda job=job, said_before=said_before: begun(job, said_before))
        time.sleep(dice.uniform(0.0, 1.0))
        job.signal(signal.SIGKILL, victim)
        statuses = job.wait(60)  # whoever survives ends by itself
        if victim is not None:
            assert statuses == [-signal.SIGKILL if rank == victim else 1 for rank in (0, 1)]
            assert f"error: rank {victim} was killed" in job.printed().splitlines()[-1]
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
