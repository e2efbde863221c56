"""TensorBoard: what is shown after a restart, and without a disk."""

from emotion_llm.runtime.tensorboard import TensorBoardWriter
from tests.helpers.run_outcome import curve


def test_a_restart_hides_the_steps_that_are_done_again_and_no_other(tmp_path):
    tensorboard = TensorBoardWriter(tmp_path)
    for step in (1, 2, 3, 4):
        tensorboard.scalars({"loss": step}, step)
    tensorboard.close()
    tensorboard = TensorBoardWriter(tmp_path, steps_done=2)
    tensorboard.scalars({"loss": 30.0}, 3)
    tensorboard.close()
    assert curve(tmp_path, "loss") == {1: 1.0, 2: 2.0, 3: 30.0}


def test_what_is_flushed_is_on_disk_before_the_board_is_closed(tmp_path):
    tensorboard = TensorBoardWriter(tmp_path)
    tensorboard.scalars({"loss": 1.0}, 1)
    tensorboard.flush(1)
    assert curve(tmp_path, "loss") == {1: 1.0}


def test_a_disk_that_fails_costs_points_and_not_the_run(tmp_path, monkeypatch, capsys):
    tensorboard = TensorBoardWriter(tmp_path)
    tensorboard.scalars({"loss": 1.0}, 1)
    tensorboard.flush(1)

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensorboard._writer, "add_scalar", no_space)
    for step in (2, 3):
        tensorboard.scalars({"loss": 1.0}, step)
    said = capsys.readouterr().out
    assert said.count("warning: TensorBoard not written ([Errno 28] No space left on device); training continues") == 1
    tensorboard.flush(3)
    tensorboard.scalars({"loss": 4.0}, 4)
    tensorboard.close()
    assert curve(tmp_path, "loss") == {1: 1.0, 4: 4.0}


def test_a_long_run_writes_at_most_ten_thousand_evenly_spaced_points_and_always_the_last_step(tmp_path, monkeypatch):
    monkeypatch.setattr("emotion_llm.runtime.tensorboard.MAX_POINTS", 10)
    tensorboard = TensorBoardWriter(tmp_path, total_steps=42)
    for step in range(1, 43):
        tensorboard.step_scalars({"loss": step}, step)
        tensorboard.step_scalars({"speed": step}, step)
    tensorboard.close()
    assert list(curve(tmp_path, "loss")) == list(curve(tmp_path, "speed")) == [5, 10, 15, 20, 25, 30, 35, 40, 42]
