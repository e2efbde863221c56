"""What all tests share: determinism, small corpora, encoder, LLM and runs.

Folders of tests run in two workers (pytest-xdist); chosen files run in this process, where --pdb and -s work as usual.
"""

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # programs that tests start run this checkout, not an installed package
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests are offline; the hub's client would otherwise retry for half a minute

import pytest

for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1):  # ignored where pytest runs under nohup or in the background
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number is signal.SIGINT else signal.SIG_DFL)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return min(2, os.cpu_count() or 1) if any(Path(argument).is_dir() for argument in config.args) else 0


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    import torch  # not above: the process that only hands out tests to workers needs a second to start, not ten

    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _fp32() -> Iterator[None]:
    """Numbers are compared in fp32 on every CPU; bf16 differs in the third digit. Tests of bf16 ask for it."""
    from emotion_llm.runtime import processes
    from emotion_llm.training import engine

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
def made_once(tmp_path_factory, request) -> Callable[[str, Callable[[Path], object]], Path]:
    """made_once(name, make) -> a folder that make(folder) has filled, once for all workers. Not to be changed: copy it."""
    base = tmp_path_factory.getbasetemp()
    shared = Path(os.environ.get("TESTS_SHARED_FOLDER") or (base.parent if hasattr(request.config, "workerinput") else base))

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def small_world(made_once):
    """Two imported corpora, an encoder and an LLM."""
    from tests.helpers.small_world import SmallWorld, make_small_world

    return SmallWorld(made_once("world", make_small_world))


@pytest.fixture(scope="session")
def finished_run(small_world, made_once) -> Path:
    """The run folder of a fine-tune of six steps, with several checkpoints."""
    return made_once("finished", lambda run: small_world.train(run, max_steps=6, evaluate_every=3, checkpoint_every=2))


@pytest.fixture(scope="session")
def recognition_run(small_world, made_once) -> Path:
    return made_once("recognition", small_world.train)


@pytest.fixture(scope="session")
def description_run(small_world, recognition_run, made_once) -> Path:
    return made_once("description", lambda run: small_world.train(run, "description", start_from=recognition_run))
