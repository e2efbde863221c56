"""What all tests share: determinism and small language models."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # programs that tests start run this checkout, not an installed package
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests are offline; the hub's client would otherwise retry for half a minute

import pytest
import torch

from emotion_llm.runtime import processes
from emotion_llm.training import engine

for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1):  # ignored where pytest runs under nohup or in the background
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number is signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _fp32() -> Iterator[None]:
    """Numbers are compared in fp32 on every CPU; bf16 differs in the third digit. Tests of bf16 ask for it."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (processes, engine):
            patch.setattr(module, "bf16_is_fast_on_cpu", lambda: False)
        yield


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch) -> None:
    """A fine-tune in this process says in the environment that it is a world of one; a program that a test starts must not take that for
    its own launcher's word."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def small_world(tmp_path_factory):
    """Two imported corpora, an encoder and an LLM, made once."""
    from tests.helpers.small_world import make_small_world

    return make_small_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def finished_run(small_world):
    """The run folder of a fine-tune of six steps, with several checkpoints. Not to be changed: copy it."""
    run = small_world.folder / "finished"
    small_world.train(run, max_steps=6, evaluate_every=3, checkpoint_every=2)
    return run


@pytest.fixture(scope="session")
def recognition_run(small_world):
    run = small_world.folder / "recognition"
    small_world.train(run)
    return run


@pytest.fixture(scope="session")
def description_run(small_world, recognition_run):
    run = small_world.folder / "description"
    small_world.train(run, "description", start_from=recognition_run)
    return run
