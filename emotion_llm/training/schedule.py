"""The learning rate of a step, from the step alone.

step, settings  ->  learning rate
"""

from __future__ import annotations

import math


def learning_rate(step: int, peak: float, warmup_steps: int, max_steps: int) -> float:
    """Linear warm-up to the peak, reached at step `warmup_steps`, then cosine decay to zero behind the last step (our choice).

    Args:
        step: 1 to max_steps, as in the logs.
    """
    if step <= warmup_steps:
        return peak * step / warmup_steps
    done = (step - warmup_steps) / max(1, max_steps + 1 - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * done))
