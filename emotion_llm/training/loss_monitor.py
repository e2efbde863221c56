"""Detects non-finite losses and loss spikes, and names the motions that caused them.

a step's loss, whether its update was skipped, the loss per motion  ->  a warning, or an error after too many skipped updates

All decisions use numbers that are the same on all processes, so all processes decide the same.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeAlias

import torch
from torch import Tensor

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.processes import gather_over_processes

SPIKE_FACTOR = 4.0
"""A loss above this multiple of the median of the previous ones is a spike (our choice)."""
SPIKE_WINDOW, SPIKE_FEWEST = 100, 20
"""Steps of the median, at most and at least (our choice)."""
NAMED = 8
"""At most so many motions are listed."""
MotionLoss: TypeAlias = tuple[str, float]
"""A motion and the mean negative log-likelihood of one of its answer tokens."""


class LossMonitor:
    """Compares each loss with those before it."""

    def __init__(self, skipped_before: int, most_skipped_in_a_row: int) -> None:
        self.skipped = skipped_before
        """Updates skipped since the run's first step."""
        self._in_a_row, self._most_in_a_row = 0, most_skipped_in_a_row
        self._losses: deque[float] = deque(maxlen=SPIKE_WINDOW)

    def check(self, step: int, loss: float, gradient_norm: float, was_skipped: bool, own: Callable[[], list[MotionLoss]]) -> str | None:
        """A warning about the step, or None. Every rank must call it.

        Args:
            own: losses of this process's motions; only called if something is wrong.
        """
        if was_skipped or not math.isfinite(loss):
            self.skipped += was_skipped
            self._in_a_row += 1
            motions = list(chain(*gather_over_processes(own())))
            bad = [motion for motion in motions if not math.isfinite(motion[1])]
            which = f"motions with such a loss: {named(bad)}" if bad else f"every motion's own loss is finite: {named(motions)}"
            what = f"loss {loss:g}, gradient norm {gradient_norm:g}; the update was skipped ({self.skipped} so far)"
            return f"warning: step {step}: {what}; {which}"
        self._in_a_row, warning = 0, None
        if len(self._losses) >= SPIKE_FEWEST and loss > SPIKE_FACTOR * (median := statistics.median(self._losses)):
            worst = sorted(chain(*gather_over_processes(own())), key=lambda motion: -motion[1])
            usual = f"the median of the last {len(self._losses)} is {median:.3g}"
            warning = f"warning: step {step}: the loss jumped to {loss:.3g}, {usual}; highest: {named(worst)}"
        self._losses.append(loss)
        return warning

    def check_streak(self, step: int, newest: Callable[[], str]) -> None:
        """
        Args:
            newest: describes the newest checkpoint; only called if the run ends.

        Raises:
            UserError: too many consecutive updates were skipped.
        """
        if self._in_a_row >= self._most_in_a_row:
            raise UserError(
                f"step {step}: the updates of {self._in_a_row} steps in a row were skipped, their losses or gradients were not finite "
                f"(--max-skipped-in-a-row); {newest()}; look at the motions named above, or start a new run with a lower "
                "--peak-learning-rate"
            )


def motion_losses(names: Sequence[str], token_log_likelihoods: Tensor, answer_index: Tensor) -> list[MotionLoss]:
    """The loss of each of N motions.

    Shape:
        N names, (A,), (A,) -> N
    """
    losses = token_log_likelihoods.new_zeros(len(names)).index_add(0, answer_index, -token_log_likelihoods)
    return list(zip(names, (losses / torch.bincount(answer_index)).tolist(), strict=True))


def named(motions: Sequence[MotionLoss]) -> str:
    more = f" and {len(motions) - NAMED} more" if len(motions) > NAMED else ""
    return ", ".join(f"{motion} ({loss:.3g})" for motion, loss in motions[:NAMED]) + more
