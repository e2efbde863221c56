"""No space left while a checkpoint is written: training continues, and older checkpoints stay intact."""

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from emotion_llm.training.checkpoint import newest_checkpoint, read_checkpoint
from tests.helpers.jobs import run_job, start_job
from tests.helpers.run_outcome import outcome
from tests.helpers.tampering import quick, small_files_only

pytestmark = pytest.mark.slow


def test_a_disk_that_is_full_for_a_while_costs_those_checkpoints_only(small_run):
    whole, hindered = small_run("whole", max_steps=9), small_run("hindered", max_steps=9, keep_checkpoints=9)
    run_job(whole, tamper=quick)
    said = run_job(hindered, tamper=partial(small_files_only, 3600))
    for step in (4, 6):
        assert f"warning: checkpoint of step {step} not written (" in said
    assert "training continues, older checkpoints are intact; free some space in" in said
    assert "warning: TensorBoard not written (" in said
    kept = sorted(int(folder.name[5:]) for folder in (hindered.run / "checkpoints").glob("step-*"))
    assert kept == [2, 8, 9]
    assert all(read_checkpoint(folder) for folder in (hindered.run / "checkpoints").glob("step-*"))
    assert not list((hindered.run / "checkpoints").glob(".step-*"))
    assert outcome(hindered.run).weights_and_moments == outcome(whole.run).weights_and_moments


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 300 KB; only root may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here; the test above has the kernel refuse the writing instead")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_run_on_a_disk_that_stays_full_ends_with_one_line_and_goes_on_when_there_is_space(small_run, small_disk: Path):
    whole, hindered = small_run("whole", max_steps=9), small_run(str(small_disk / "run"), max_steps=9, keep_checkpoints=9)
    run_job(whole, tamper=quick)
    job = start_job(hindered, tamper=quick)
    statuses, said = job.wait(), job.printed()
    assert statuses == [2]
    assert "No space left on device" in said
    newest = newest_checkpoint(hindered.run).step
    assert 2 <= newest < 9
    assert f"the newest checkpoint is of step {newest}; free some space in {hindered.run}, then run the same command again" in said
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    run_job(hindered, tamper=quick)
    assert outcome(hindered.run).weights_and_moments == outcome(whole.run).weights_and_moments
    assert json.loads((hindered.run / "checkpoints" / "best.json").read_text())["step"] == 9
