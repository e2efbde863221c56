"""A cluster takes the machine away: everything is saved at the next step boundary, and the run goes on from exactly there."""

import json
import os
import signal
import time
from functools import partial

import pytest

from emotion_llm.runtime.launcher import is_alive
from emotion_llm.runtime.stopping import MARKER
from emotion_llm.training.checkpoint import newest_checkpoint
from tests.helpers.jobs import run_job, start_job
from tests.helpers.launching import launch
from tests.helpers.run_outcome import outcome
from tests.helpers.tampering import quick, signal_in_the_middle_of_a_step, slow_evaluation, slow_steps

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGTERM, 1), (signal.SIGUSR1, 2)])
def test_a_signal_in_the_middle_of_a_step_loses_nothing(small_run, number, processes):
    unbroken, preempted = small_run("unbroken", max_steps=9), small_run("preempted", max_steps=9, checkpoint_every=100)
    run_job(unbroken, processes, quick)
    said = run_job(preempted, processes, partial(signal_in_the_middle_of_a_step, 5, number))
    assert f"stopped by {number.name} after step 5; it is saved, the same command continues from there" in said
    assert json.loads((preempted.run / MARKER).read_text())["step"] == newest_checkpoint(preempted.run).step == 5
    run_job(preempted, processes, quick)
    assert not (preempted.run / MARKER).exists()
    assert outcome(preempted.run).weights_and_moments == outcome(unbroken.run).weights_and_moments
    assert outcome(preempted.run).losses == outcome(unbroken.run).losses


def test_a_signal_to_one_rank_stops_all_at_the_same_step(small_run):
    settings = small_run("run", max_steps=1000, checkpoint_every=1000, evaluate_every=1000)
    job = start_job(settings, 2, partial(slow_steps, 0.1))
    job.wait_until(lambda: "first step of this start after" in job.printed())
    begin = time.monotonic()
    job.signal(signal.SIGUSR1, rank=1)
    assert job.wait(30) == [0, 0]
    assert time.monotonic() - begin < 30
    assert newest_checkpoint(settings.run).step == json.loads((settings.run / MARKER).read_text())["step"] > 0
    assert "stopped by SIGUSR1 after step" in job.printed()


def test_a_signal_during_an_evaluation_is_obeyed_at_once_and_the_evaluation_is_made_up_for(small_run):
    unbroken, preempted = small_run("unbroken", max_steps=5, evaluate_every=3), small_run("preempted", max_steps=5, evaluate_every=3)
    run_job(unbroken, 2, quick)
    job = start_job(preempted, 2, partial(slow_evaluation, 60.0))
    job.wait_until(lambda: (preempted.run / "checkpoints" / "step-00000003").is_dir())
    time.sleep(1)
    begin = time.monotonic()
    job.signal(signal.SIGTERM)
    assert job.wait(30) == [0, 0]
    assert time.monotonic() - begin < 20
    assert job.printed().splitlines()[-1] == "stopped by SIGTERM; everything is saved"
    assert (preempted.run / MARKER).is_file()
    run_job(preempted, 2, quick)
    assert outcome(preempted.run) == outcome(unbroken.run)


@pytest.mark.parametrize(
    ("victim", "number", "reason", "status"),
    [
        ("launch.py", signal.SIGTERM, "SIGTERM", 1),
        ("all", signal.SIGUSR1, "SIGUSR1", -signal.SIGUSR1),
        ("deepspeed", signal.SIGTERM, "the loss of its launcher", -signal.SIGTERM),
        ("launch.py", signal.SIGKILL, "the loss of its launcher", 0),
    ],
)
def test_whatever_part_of_the_launcher_is_hit_the_ranks_save_and_end_within_thirty_seconds(small_run, victim, number, reason, status):
    settings = small_run("run", max_steps=100_000, checkpoint_every=50_000, evaluate_every=50_000)
    job = launch(settings, 2, "slow_steps")
    try:
        job.wait_until(lambda: "first step of this start after" in job.printed())
        ranks = job.ranks
        begin = time.monotonic()
        if victim == "all":
            job.signal_all(number)
        else:
            os.kill({"launch.py": job.launcher, "deepspeed": job.runner.pid}[victim], number)
        job.wait_until(lambda: not any(is_alive(rank) for rank in ranks), 60)
        assert time.monotonic() - begin < 30
        assert job.wait(30) == status
        saved = json.loads((settings.run / MARKER).read_text())
        assert (saved["step"], saved["stopped_by"]) == (newest_checkpoint(settings.run).step, reason)
        assert f"stopped by {reason} after step {saved['step']}" in job.printed()
    finally:
        job.end()
