"""TensorBoard: what is shown after a restart, and without a disk."""

from run_outcome import curve

from emotion_llm.training.board import Board


def test_a_restart_hides_the_steps_that_are_done_again_and_no_other(tmp_path):
    board = Board(tmp_path)
    for step in (1, 2, 3, 4):
        board.scalars({"loss": step}, step)
    board.close()
    board = Board(tmp_path, first_step=2)
    board.scalars({"loss": 30.0}, 3)
    board.close()
    assert curve(tmp_path, "loss") == {1: 1.0, 2: 2.0, 3: 30.0}


def test_what_is_flushed_is_on_disk_before_the_board_is_closed(tmp_path):
    board = Board(tmp_path)
    board.scalars({"loss": 1.0}, 1)
    board.flush(1)
    assert curve(tmp_path, "loss") == {1: 1.0}


def test_a_disk_that_fails_costs_points_and_not_the_run(tmp_path, monkeypatch, capsys):
    board = Board(tmp_path)
    board.scalars({"loss": 1.0}, 1)
    board.flush(1)

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(board._writer, "add_scalar", no_space)
    for step in (2, 3):
        board.scalars({"loss": 1.0}, step)
    said = capsys.readouterr().out
    assert said.count("warning: TensorBoard not written ([Errno 28] No space left on device); training goes on") == 1
    board.flush(3)
    board.scalars({"loss": 4.0}, 4)
    board.close()
    assert curve(tmp_path, "loss") == {1: 1.0, 4: 4.0}
