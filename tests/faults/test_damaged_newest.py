"""The newest checkpoint is damaged or missing: the run goes on from the one before, says so, and ends the same."""

import shutil

import pytest

from emotion_llm.training.checkpoint import MOMENT_FILE
from tests.helpers.jobs import run_job
from tests.helpers.run_outcome import outcome
from tests.helpers.tampering import quick

pytestmark = pytest.mark.slow


def truncate(newest) -> None:
    path = newest / MOMENT_FILE
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(newest) -> None:
    content = bytearray((newest / MOMENT_FILE).read_bytes())
    content[-1000] ^= 1
    (newest / MOMENT_FILE).write_bytes(content)


@pytest.mark.parametrize(("damage", "processes"), [(truncate, 1), (flip_a_bit, 2), (shutil.rmtree, 1)])
def test_the_one_before_is_gone_on_from_and_the_run_ends_the_same(small_run, damage, processes):
    unbroken, damaged = small_run("unbroken", max_steps=8), small_run("damaged", max_steps=8)
    run_job(unbroken, processes, quick)
    shutil.copytree(unbroken.run, damaged.run)
    (damaged.run / "log.txt").unlink()
    damage(damaged.run / "checkpoints" / "step-00000008")
    said = run_job(damaged, processes, quick)
    assert "continues from step 6 (" in said
    if damage is not shutil.rmtree:
        assert (
            "step-00000008: moments.safetensors is damaged (its checksum differs from the one in checkpoint.json); looking for an older"
            in said
        )
        assert (damaged.run / "checkpoints" / "damaged-step-00000008").is_dir()
    assert outcome(damaged.run).weights_and_moments == outcome(unbroken.run).weights_and_moments
