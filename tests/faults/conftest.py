"""Settings of fine-tunes that are small enough to be killed many times."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from emotion_llm.training.settings import FinetuneSettings


@pytest.fixture(scope="session")
def two_micro_steps(tmp_path_factory) -> Path:
    """A DeepSpeed configuration under which one process needs two micro-steps for a step of eight motions."""
    path = tmp_path_factory.mktemp("ds") / "two_micro_steps.json"
    config = json.loads((Path(__file__).parents[2] / "ds_configs" / "recognition.json").read_text())
    path.write_text(json.dumps(config | {"train_micro_batch_size_per_gpu": 4}))
    return path


@pytest.fixture
def small_run(small_world, two_micro_steps, tmp_path) -> Callable[..., FinetuneSettings]:
    """small_run(name, any setting) -> settings of a run folder of that name."""

    def make(name: str, **changes: object) -> FinetuneSettings:
        few = {"ds_config": two_micro_steps, "evaluate_every": 10, "checkpoint_every": 2, "max_steps": 20}
        return small_world.settings(tmp_path / name, **(few | changes))

    return make
