"""Losses and gradients gone wrong: noticed, counted, and traced to the motions.

a step's loss, whether its update was skipped, every motion's own loss  ->  words for the user; an end after too many skipped updates

Everything here is decided from numbers that all processes share, so all of them come to the same decision.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.processes import gather_over_processes

SPIKE_FACTOR = 4.0
"""A loss is a spike where it exceeds the median of the losses before it so many times (our choice)."""
SPIKE_WINDOW, SPIKE_FEWEST = 100, 20
"""Steps that the median is taken over, at most and at least (our choice)."""
NAMED = 8
"""Motions to name, at most."""


@dataclass(frozen=True)
class MotionLoss:
    """The mean negative log-likelihood of an answer token of one motion."""

    motion: str
    loss: float


class LossMonitor:
    """What the losses so far say of the next one."""

    def __init__(self, skipped_before: int, most_skipped_in_a_row: int) -> None:
        """
        Args:
            skipped_before: updates skipped before this process started.
        """
        self.skipped = skipped_before
        """Updates skipped since the run's first step."""
        self._in_a_row, self._most_in_a_row = 0, most_skipped_in_a_row
        self._losses: deque[float] = deque(maxlen=SPIKE_WINDOW)

    def look(self, step: int, loss: float, gradient_norm: float, was_skipped: bool, own: Callable[[], list[MotionLoss]]) -> str | None:
        """What is wrong with a step, in words; None where nothing is. Every rank must call it.

        Args:
            own: tells the losses of this process's motions; only called where something is wrong.
        """
        if was_skipped or not math.isfinite(loss):
            self.skipped += was_skipped
            self._in_a_row += 1
            motions = gather_motions(own())
            bad = [motion for motion in motions if not math.isfinite(motion.loss)]
            which = f"motions with such a loss: {named(bad)}" if bad else f"every motion's own loss is finite: {named(motions)}"
            what = f"loss {loss:g}, gradient norm {gradient_norm:g}; the update was skipped ({self.skipped} so far)"
            return f"warning: step {step}: {what}; {which}"
        self._in_a_row = 0
        words = None
        if len(self._losses) >= SPIKE_FEWEST and loss > SPIKE_FACTOR * (median := statistics.median(self._losses)):
            worst = sorted(gather_motions(own()), key=lambda motion: -motion.loss)
            usual = f"the median of the last {len(self._losses)} is {median:.3g}"
            words = f"warning: step {step}: the loss jumped to {loss:.3g}, {usual}; highest: {named(worst)}"
        self._losses.append(loss)
        return words

    def check_streak(self, step: int, newest: Callable[[], str]) -> None:
        """
        Args:
            newest: tells the newest checkpoint in words; only called where the run ends.

        Raises:
            UserError: too many updates in a row were skipped.
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
    return [MotionLoss(name, loss) for name, loss in zip(names, (losses / torch.bincount(answer_index)).tolist(), strict=True)]


def gather_motions(own: Iterable[MotionLoss]) -> list[MotionLoss]:
    return [motion for of_rank in gather_over_processes(list(own)) for motion in of_rank]


def named(motions: Sequence[MotionLoss]) -> str:
    more = f" and {len(motions) - NAMED} more" if len(motions) > NAMED else ""
    return ", ".join(f"{motion.motion} ({motion.loss:.3g})" for motion in motions[:NAMED]) + more
