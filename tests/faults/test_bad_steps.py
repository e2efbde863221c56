"""A loss that is no number on one of two processes: the update is skipped on both, the motions are named, too many in a row end the run."""

from functools import partial

import pytest

from emotion_llm.runtime.tensorboard import Tag
from emotion_llm.training.checkpoint import newest_checkpoint
from tests.helpers.jobs import run_job, start_job
from tests.helpers.run_outcome import curve, outcome
from tests.helpers.tampering import poison, quick

pytestmark = pytest.mark.slow


def test_a_bad_step_is_skipped_on_all_processes_counted_and_its_motion_named(small_run):
    settings = small_run("run", max_steps=6)
    said = run_job(settings, 2, partial(poison, (3, 5), 1))
    assert curve(settings.run, Tag.SKIPPED_UPDATES) == {1: 0.0, 2: 0.0, 3: 1.0, 4: 1.0, 5: 2.0, 6: 2.0}
    checkpoint = newest_checkpoint(settings.run)
    assert (checkpoint.step, checkpoint.updates) == (6, 4)
    warnings = [line for line in said.splitlines() if line.startswith("warning: step ")]
    assert len(warnings) == 2
    for warning in warnings:
        assert "loss nan, gradient norm inf; the update was skipped" in warning
        assert warning.count("(nan)") == 1  # one motion of sixteen, on the other rank than the one that prints
        assert "motions with such a loss: " in warning


def test_a_resumed_run_remembers_its_skipped_updates(small_run):
    unbroken, resumed = small_run("unbroken", max_steps=6), small_run("resumed", max_steps=6)
    poisoned = partial(poison, (2, 5), 0)
    run_job(unbroken, 1, poisoned)
    job = start_job(resumed, 1, poisoned)
    job.wait_until(lambda: (resumed.run / "checkpoints" / "step-00000002").is_dir())
    job.signal(9)
    job.wait()
    run_job(resumed, 1, poisoned)
    assert outcome(resumed.run).weights_and_moments == outcome(unbroken.run).weights_and_moments
    assert curve(resumed.run, Tag.SKIPPED_UPDATES)[6] == 2.0


def test_too_many_bad_steps_in_a_row_end_the_run_with_its_last_good_checkpoint(small_run):
    settings, good = small_run("run", max_skipped_in_a_row=3), small_run("good", max_steps=20)
    run_job(good, 2, quick)
    job = start_job(settings, 2, partial(poison, tuple(range(5, 21)), 1))
    assert job.wait() == [2, 2]
    last = job.printed().splitlines()[-1]
    assert last.startswith("error: step 7: the updates of 3 steps in a row were skipped")
    assert "the newest checkpoint is of step 6" in last
    checkpoint = newest_checkpoint(settings.run)
    assert (checkpoint.step, checkpoint.updates) == (6, 4)
    assert all(value.isfinite().all() for value in checkpoint.weights().values())
    run_job(settings, 2, quick)  # whatever made the numbers bad is mended
    assert outcome(settings.run).step == 20
