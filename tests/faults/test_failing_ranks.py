"""One rank cannot go on: the others end too, and the last words are the true reason."""

import os
import signal
from pathlib import Path

import pytest

from emotion_llm.runtime.launcher import is_alive
from tests.helpers.launching import Launched, launch

pytestmark = pytest.mark.slow


def run_to_its_end(settings, tampering: str, seconds: float = 120) -> tuple[Launched, int]:
    job = launch(settings, 2, tampering)
    try:
        return job, job.wait(seconds)
    finally:
        job.end()


def test_a_rank_that_raises_ends_all_and_its_error_is_the_last_word(small_run):
    job, status = run_to_its_end(small_run("run"), "rank_1_raises")
    assert status == 1
    assert job.own_lines()[-1] == "RuntimeError: the true error of rank 1"
    assert sum("Traceback" in line for line in job.own_lines()) == 1
    assert "rank 1 failed:" in job.printed()


def test_a_rank_that_hangs_is_named_with_its_place_and_the_job_ends(small_run):
    settings = small_run("run", hang_timeout_seconds=10.0)
    job, status = run_to_its_end(settings, "rank_1_hangs")
    assert status == 1
    words = "\n".join(job.own_lines())
    assert "error: no progress for 10 s (--hang-timeout-seconds); waiting for rank 1 at step 3, micro-step 0, backward" in words
    assert "in stuck_in_an_endless_wait" in words
    assert job.own_lines()[-1] == "run the same command again to resume from the newest checkpoint"


@pytest.mark.parametrize("victim", ["0", "1"])
def test_a_rank_that_is_frozen_is_named_and_the_job_ends(small_run, victim):
    settings = small_run("run", hang_timeout_seconds=8.0, max_steps=100_000)
    job = launch(settings, 2, "slow_steps")
    try:
        job.wait_until(lambda: "first step of this start after" in job.printed())
        ranks = job.ranks
        frozen = next(rank for rank in ranks if environment(rank)["RANK"] == victim)
        os.kill(frozen, signal.SIGSTOP)
        job.wait_until(lambda: not any(is_alive(rank) for rank in ranks), 120)
        assert job.wait(30) == 1
        assert f"waiting for rank {victim} (no heartbeat for" in "\n".join(job.own_lines())
    finally:
        job.end()


def environment(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)
