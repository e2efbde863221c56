"""Losses gone wrong are noticed, counted and traced to their motions."""

import pytest
import torch

from emotion_llm.runtime.errors import UserError
from emotion_llm.training.loss_monitor import NAMED, SPIKE_FACTOR, SPIKE_FEWEST, SPIKE_WINDOW, LossMonitor, motion_losses

NAN = float("nan")


def own(**losses: float):
    return lambda: list(losses.items())


def test_a_skipped_update_is_counted_and_names_the_motions_at_fault():
    numbers = LossMonitor(skipped_before=3, most_skipped_in_a_row=5)
    words = numbers.check(7, NAN, float("inf"), True, own(walk=1.0, fall=NAN))
    assert words == "warning: step 7: loss nan, gradient norm inf; the update was skipped (4 so far); motions with such a loss: fall (nan)"


def test_where_only_the_gradient_is_bad_all_motions_of_the_step_are_named():
    words = LossMonitor(0, 5).check(7, 1.0, float("inf"), True, own(walk=1.0, fall=2.0))
    assert words.endswith("every motion's own loss is finite: walk (1), fall (2)")


def test_many_motions_are_counted_rather_than_listed():
    words = LossMonitor(0, 5).check(7, 1.0, float("inf"), True, own(**{f"m{number}": 1.0 for number in range(64)}))
    assert words.endswith(f"m{NAMED - 1} (1) and {64 - NAMED} more")


def test_so_many_skipped_updates_in_a_row_end_the_run():
    numbers = LossMonitor(0, most_skipped_in_a_row=2)
    for loss in (NAN, 1.0, NAN):
        numbers.check(1, loss, 1.0, loss != 1.0, own())
        numbers.check_streak(1, lambda: "")
    numbers.check(4, NAN, 1.0, True, own())
    with pytest.raises(
        UserError,
        match=r"step 4: the updates of 2 steps in a row were skipped, .* \(--max-skipped-in-a-row\); the newest checkpoint is of step 3; "
        r"look at the motions named above, or start a new run with a lower --peak-learning-rate",
    ):
        numbers.check_streak(4, lambda: "the newest checkpoint is of step 3")


def test_a_jump_of_the_loss_is_said_with_the_worst_motions_first():
    numbers = LossMonitor(0, 5)
    for step in range(SPIKE_FEWEST):
        assert numbers.check(step, 1.0, 1.0, False, own()) is None
    assert numbers.check(20, SPIKE_FACTOR, 1.0, False, own()) is None
    words = numbers.check(21, SPIKE_FACTOR + 0.5, 1.0, False, own(calm=1.0, wild=9.0))
    assert words == "warning: step 21: the loss jumped to 4.5, the median of the last 21 is 1; highest: wild (9), calm (1)"


def test_the_median_is_of_the_last_hundred_losses():
    numbers = LossMonitor(0, 5)
    for step in range(SPIKE_WINDOW // 2 + 1):
        numbers.check(step, 100.0, 1.0, False, own())
    for step in range(SPIKE_WINDOW):
        assert numbers.check(step, 1.0, 1.0, False, own()) is None
    assert "the median of the last 100 is 1;" in numbers.check(200, 5.0, 1.0, False, own())


def test_one_outlier_does_not_hide_the_next_spike():
    numbers = LossMonitor(0, 5)
    for step in range(SPIKE_FEWEST):
        numbers.check(step, 1.0, 1.0, False, own())
    assert numbers.check(20, 1000.0, 1.0, False, own()) is not None
    assert numbers.check(21, SPIKE_FACTOR + 0.5, 1.0, False, own()) is not None


def test_a_skipped_update_with_a_finite_loss_and_a_bad_loss_that_was_not_skipped_both_count_towards_the_streak():
    numbers = LossMonitor(0, most_skipped_in_a_row=2)
    numbers.check(1, 1.0, float("inf"), True, own())
    numbers.check(2, NAN, 1.0, False, own())
    assert numbers.skipped == 1
    with pytest.raises(UserError, match="the updates of 2 steps in a row"):
        numbers.check_streak(2, lambda: "")


def test_a_good_step_costs_no_look_at_single_motions():
    def never():
        raise AssertionError

    assert LossMonitor(0, 5).check(1, 1.0, 1.0, False, never) is None


def test_a_motions_loss_is_the_mean_over_its_answer_tokens():
    found = motion_losses(["a", "b"], torch.tensor([-1.0, -3.0, -5.0]), torch.tensor([0, 0, 1]))
    assert found == [("a", 2.0), ("b", 5.0)]
