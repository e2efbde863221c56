"""The learning rate of pre-training.

step, settings  ->  learning rate
"""

from emotion_llm.pretraining.settings import PretrainSettings

DECAY = 0.1  # The learning rate is multiplied by this at every milestone (paper: divided by 10)


def learning_rate(step: int, settings: PretrainSettings, steps_per_epoch: int) -> float:
    """Linear warm-up, then constant, multiplied by DECAY at each milestone.

    Args:
        step: counted from 1, as in the logs.
    """
    warmup_steps = settings.warmup_epochs * steps_per_epoch
    if step <= warmup_steps:
        return settings.learning_rate * step / warmup_steps
    epochs_done = (step - 1) // steps_per_epoch
    return settings.learning_rate * DECAY ** sum(epochs_done >= milestone for milestone in settings.milestones)
