"""launch/finetune.py, with one thing broken: the environment variable TAMPERING names the function below that breaks it."""

from __future__ import annotations

import os
import time

from emotion_llm.runtime.console import parse_settings, run
from emotion_llm.training import engine, held_out, loop
from emotion_llm.training.settings import presets_of_stage
from launch.finetune import finetune

RANK = int(os.environ["RANK"])
engine.bf16_is_fast_on_cpu = lambda: False  # results are compared, so the precision is fixed
held_out.explain = lambda *_: ["(not what is tested here)"]


def rank_1_raises() -> None:
    """In the middle of step 3."""

    def backward(self: engine.Engine, loss_share: object) -> None:
        if RANK == 1 and self.updates == 2:
            raise RuntimeError("the true error of rank 1")
        true_backward(self, loss_share)

    true_backward, engine.Engine.backward = engine.Engine.backward, backward


def rank_1_hangs() -> None:
    """In the middle of step 3."""

    def backward(self: engine.Engine, loss_share: object) -> None:
        if RANK == 1 and self.updates == 2:
            stuck_in_an_endless_wait()
        true_backward(self, loss_share)

    true_backward, engine.Engine.backward = engine.Engine.backward, backward


def stuck_in_an_endless_wait() -> None:
    while True:
        time.sleep(1)


def slow_steps() -> None:
    """Time to be killed in."""

    def train_step(*arguments: object) -> loop.StepReport:
        time.sleep(0.2)
        return true_train_step(*arguments)

    true_train_step, loop.train_step = loop.train_step, train_step


def main() -> None:
    finetune(parse_settings(presets_of_stage(), __doc__))


if __name__ == "__main__":
    if os.environ.get("TAMPERING"):
        globals()[os.environ["TAMPERING"]]()
    run(main)
