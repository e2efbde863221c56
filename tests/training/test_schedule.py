"""The learning rate of a step."""

from itertools import pairwise

import pytest

from emotion_llm.training.schedule import learning_rate


def test_the_rate_rises_linearly_to_its_peak_and_falls_to_nearly_zero():
    rates = [learning_rate(step, 2.0, warmup_steps=4, max_steps=104) for step in range(1, 105)]
    assert rates[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert all(later < earlier for earlier, later in pairwise(rates[3:]))
    assert rates[53] == pytest.approx(1.0, abs=0.02)  # half way down
    assert 0 < rates[-1] < 0.002  # the last step still learns


@pytest.mark.parametrize(("warmup", "steps"), [(0, 1), (0, 10), (5, 5), (10, 5)])
def test_every_step_has_a_rate_whatever_the_lengths(warmup, steps):
    assert all(0 < learning_rate(step, 1.0, warmup, steps) <= 1.0 for step in range(1, steps + 1))
