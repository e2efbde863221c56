"""Which checkpoints a run has after a while."""

import json
import shutil

import pytest

from emotion_llm.runtime.errors import UserError
from emotion_llm.training import checkpoint_manager
from emotion_llm.training.checkpoint import checkpoint_folders, newest_checkpoint
from emotion_llm.training.checkpoint_manager import CheckpointManager


@pytest.fixture
def manager(parts):
    """manager(steps_done=0, keep=2) -> CheckpointManager of one engine."""
    made = parts()
    return lambda steps_done=0, keep=2: CheckpointManager(made.settings.run, made.engine, made.metadata, keep, steps_done)


def steps(manager: CheckpointManager) -> list[int]:
    return sorted(int(folder.name.removeprefix("step-")) for folder in (manager._run / "checkpoints").glob("step-*"))


def test_the_newest_few_and_the_best_are_kept(manager):
    kept = manager()
    for step, accuracy in ((1, 0.2), (2, 0.9), (3, 0.1), (4, 0.9), (5, None), (6, None)):
        kept.save(step)
        if accuracy is not None:
            kept.note_accuracy(step, {"egbm": accuracy, "emilya": accuracy / 2})
    kept.finish()
    assert steps(kept) == [2, 5, 6]
    best = json.loads((kept._run / "checkpoints" / "best.json").read_text())
    assert best["step"] == 2  # the earliest of equals
    assert best["mean_accuracy"] == pytest.approx(0.675)
    assert best["evaluations"]["3"] == {"egbm": 0.1, "emilya": 0.05}


def test_what_evaluations_found_is_known_after_a_restart_but_not_beyond_the_step_gone_on_from(manager):
    kept = manager()
    for step in (1, 2):
        kept.save(step)
        kept.note_accuracy(step, {"egbm": 0.1 * step})
    again = manager(steps_done=1)
    assert again.is_evaluated(1)
    assert not again.is_evaluated(2)


def test_newer_checkpoints_that_were_passed_over_are_moved_out_of_the_way(manager):
    kept = manager(keep=3)
    for step in (1, 2, 3):
        kept.save(step)
    kept.finish()
    (kept._run / "checkpoints" / "step-00000003" / "checkpoint.json").unlink()
    assert newest_checkpoint(kept._run).step == 2
    again = manager(steps_done=2, keep=2)
    assert steps(again) == [1, 2]
    assert (kept._run / "checkpoints" / "damaged-step-00000003").is_dir()
    again.save(3)
    again.finish()
    assert steps(again) == [2, 3]


def test_what_a_killed_process_was_writing_is_cleared_away(manager, parts):
    kept = manager()
    left = kept._run / "checkpoints" / ".step-00000007.tmp"
    (left / "adapter").mkdir(parents=True)
    manager()
    assert not left.exists()


def test_a_full_disk_costs_one_save_and_nothing_else(manager, monkeypatch, capsys):
    kept = manager()
    kept.save(1)
    kept.wait()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_manager, "write_checkpoint", no_space)
    kept.save(2)
    with pytest.raises(
        UserError, match=r"the checkpoint of step 2 could not be written .*; the newest checkpoint is of step 1; free some space in"
    ):
        kept.finish()
    assert "warning: checkpoint of step 2 not written ([Errno 28] No space left on device); training continues" in capsys.readouterr().out
    monkeypatch.undo()
    kept.save(3)
    kept.finish()
    assert steps(kept) == [1, 3]


def test_a_damaged_best_json_is_said_and_made_anew(manager, capsys):
    kept = manager()
    kept.save(1)
    kept.note_accuracy(1, {"egbm": 0.5})
    (kept._run / "checkpoints" / "best.json").write_text("[")
    again = manager(steps_done=1)
    assert "best.json: cannot be read (JSONDecodeError); the best checkpoint is chosen among those to come" in capsys.readouterr().out
    again.note_accuracy(1, {"egbm": 0.5})
    assert json.loads((kept._run / "checkpoints" / "best.json").read_text())["step"] == 1


def test_a_copied_checkpoint_folder_costs_no_other_one(manager):
    kept = manager(keep=2)
    kept.save(1)
    kept.wait()
    copy = kept._run / "checkpoints" / "step-00000010.bak"
    shutil.copytree(kept._run / "checkpoints" / "step-00000001", copy)
    for step in (2, 3):
        kept.save(step)
    kept.finish()
    assert [folder.name for folder in checkpoint_folders(kept._run)] == ["step-00000002", "step-00000003"]
    assert copy.is_dir()


def test_a_run_folder_deleted_while_training_ends_the_run_in_one_line(manager, parts):
    with manager() as made:
        made.save(1)
        made.wait()
        shutil.rmtree(made._run)
        with pytest.raises(UserError, match=r"run: the run folder was deleted while the run was training; start again in a new one"):
            made.save(2)
