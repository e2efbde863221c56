"""Fine-tunes in processes of their own, one per rank, as a launcher starts them.

They are forked from a process that has imported everything already: a start takes a second or two instead of half a minute.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from emotion_llm.language.llm import load_llm
from emotion_llm.runtime import console
from emotion_llm.runtime.processes import free_port
from emotion_llm.training import engine
from emotion_llm.training.settings import FinetuneSettings
from launch.finetune import finetune
from tests.helpers.families import write_small_llm

WARM = "EMOTION_LLM_TEST_JOBS"
"""Environment variable by which the fork server knows that it is to do once what every job would do."""
_context = multiprocessing.get_context("forkserver")
if os.environ.pop(WARM, None):
    import torch.utils.tensorboard

    engine._import_deepspeed()
    with tempfile.TemporaryDirectory() as folder:
        load_llm(str(write_small_llm(Path(folder))), torch.float32)


@dataclass(frozen=True)
class Job:
    """Running ranks."""

    processes: list[multiprocessing.Process]
    log: Path

    def signal(self, number: int, rank: int | None = None) -> None:
        """Sends a signal to one rank, or to all that still live."""
        for process in self.processes if rank is None else [self.processes[rank]]:
            if process.is_alive():
                os.kill(process.pid, number)

    def wait(self, seconds: float = 120) -> list[int]:
        """The ranks' exit statuses; a negative one is the signal that ended it."""
        end = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.1, end - time.monotonic()))
        late = [rank for rank, process in enumerate(self.processes) if process.is_alive()]
        if late:
            self.signal(signal.SIGKILL)
            raise TimeoutError(f"ranks {late} still ran after {seconds} s; they said:\n{self.printed()}")
        return [process.exitcode for process in self.processes]

    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Until the run folder, or what was printed, shows it."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or not any(process.is_alive() for process in self.processes):
                raise TimeoutError(f"it did not come to pass; the job said:\n{self.printed()}")
            time.sleep(0.02)


def start_job(settings: FinetuneSettings, processes: int = 1, tamper: Callable[[int], None] | None = None) -> Job:
    """Starts a fine-tune on so many processes.

    Args:
        tamper: called in every process, with its rank, before anything else: it may break what the test wants broken.
    """
    os.environ |= {WARM: "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    _context.set_forkserver_preload(["tests.helpers.jobs"])
    settings.run.mkdir(parents=True, exist_ok=True)
    log, port = settings.run / "log.txt", free_port()
    log.touch()
    started = []
    for rank in range(processes):
        environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        process = _context.Process(target=_work, args=[settings, {name: str(value) for name, value in environment.items()}, log, tamper])
        process.start()
        started.append(process)
    return Job(started, log)


def run_job(settings: FinetuneSettings, processes: int = 1, tamper: Callable[[int], None] | None = None) -> str:
    """Runs a fine-tune to its end; returns what it printed."""
    job = start_job(settings, processes, tamper)
    statuses = job.wait()
    assert statuses == [0] * processes, f"exit statuses {statuses}; the job said:\n{job.printed()}"
    return job.printed()


def _work(settings: FinetuneSettings, environment: dict[str, str], log: Path, tamper: Callable[[int], None] | None) -> None:
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if tamper is not None:
        tamper(int(environment["RANK"]))
    console.run(lambda: finetune(settings))
