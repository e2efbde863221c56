"""Runs that must be the same: resumed and unbroken, on one process and on several, in fp32 and in bf16."""

import shutil

import numpy as np
import pytest

from emotion_llm.language.llm import LoraSettings
from emotion_llm.runtime.tensorboard import Tag
from emotion_llm.training.checkpoint import newest_checkpoint
from tests.helpers.jobs import run_job
from tests.helpers.launching import launch
from tests.helpers.run_outcome import curve, outcome
from tests.helpers.tampering import bf16, quick

pytestmark = pytest.mark.slow
WITHOUT_DROPOUT = LoraSettings(rank=4, alpha=8, dropout=0.0)


def resume_after_first_checkpoint(unbroken, resumed) -> None:
    """A copy of the run from which all checkpoints but the oldest are gone."""
    shutil.copytree(unbroken.run, resumed.run)
    for folder in sorted((resumed.run / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(folder)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("precision", "steps"), [(quick, 8), (bf16, 4)])
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(small_run, precision, steps, processes):
    """In the middle of an epoch (44 motions, 8 per step), with dropout, with two micro-steps per step on one process."""
    unbroken, resumed = (small_run(name, max_steps=steps, checkpoint_every=2, keep_checkpoints=9) for name in ("unbroken", "resumed"))
    run_job(unbroken, processes, precision)
    resume_after_first_checkpoint(unbroken, resumed)
    said = run_job(resumed, processes, precision)
    assert "continues from step 2 (" in said
    assert ("bf16 on cpu" if precision is bf16 else "fp32 on cpu") in said
    assert outcome(resumed.run) == outcome(unbroken.run)


def test_two_processes_under_the_deepspeed_launcher_equal_one_without(small_run):
    one, two = (small_run(name, max_steps=6, lora=WITHOUT_DROPOUT) for name in ("one", "two"))
    run_job(one, 1, quick)
    job = launch(two, 2)
    try:
        assert job.wait() == 0, job.printed()
    finally:
        job.end()
    assert_close_curves(one, two)
    for name, value in newest_checkpoint(one.run).weights().items():
        np.testing.assert_allclose(value, newest_checkpoint(two.run).weights()[name], rtol=1e-3, atol=2e-4, err_msg=name)


@pytest.mark.parametrize(("saved_on", "resumed_on"), [(2, 1), (2, 4), (4, 1), (4, 8)])
def test_a_run_goes_on_at_any_number_of_processes(small_run, saved_on, resumed_on):
    unbroken, moved = (small_run(name, max_steps=6, checkpoint_every=3, lora=WITHOUT_DROPOUT) for name in ("unbroken", "moved"))
    run_job(unbroken, saved_on, quick)
    resume_after_first_checkpoint(unbroken, moved)
    said = run_job(moved, resumed_on, quick)
    assert "continues from step 3 (" in said
    assert f"batch 8 = {resumed_on} processes" in said
    assert_close_curves(unbroken, moved)


def assert_close_curves(one, other) -> None:
    """Losses and gradient norms are equal within the reordering of float sums."""
    for name, tolerance in ((Tag.LOSS, 2e-5), (Tag.GRADIENT_NORM, 1e-3)):
        of_one, of_other = curve(one.run, name), curve(other.run, name)
        assert of_one.keys() == of_other.keys() == set(range(1, 7))
        np.testing.assert_allclose(list(of_one.values()), list(of_other.values()), rtol=tolerance)
