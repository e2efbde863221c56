"""Fine-tunes under the real `deepspeed` launcher, to be treated badly."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emotion_llm.runtime.processes import free_port
from emotion_llm.training.settings import FinetuneSettings

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Launched:
    """A running `deepspeed` command: the runner, its child launch.py, and their ranks, in a process group of their own."""

    runner: subprocess.Popen
    log: Path

    @property
    def launcher(self) -> int:
        """Process id of launch.py."""
        return children(self.runner.pid)[0]

    @property
    def ranks(self) -> list[int]:
        """Process ids of the ranks, in rank order."""
        return sorted(children(self.launcher))

    def signal_all(self, number: int) -> None:
        """As a cluster does: every process of the job gets it."""
        os.killpg(self.runner.pid, number)

    def wait(self, seconds: float = 180) -> int:
        """The exit status of `deepspeed`."""
        return self.runner.wait(seconds)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 180) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"it did not come to pass; the job said:\n{self.printed()}")
            time.sleep(0.05)

    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def own_lines(self) -> list[str]:
        """What the ranks printed, without the launcher's log and the progress bar."""
        lines = [line for part in self.printed().splitlines() for line in part.split("\r")]
        return [line for line in lines if line.strip() and not line.startswith("[20") and "step/s" not in line]

    def end(self) -> None:
        """Nothing is left running."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.runner.pid, signal.SIGKILL)
        self.runner.wait(10)


def launch(settings: FinetuneSettings, processes: int, tampering: str = "") -> Launched:
    """Starts `deepspeed --num_gpus <processes> launch/finetune.py`.

    Args:
        tampering: name of a function of tampered_finetune.py that breaks what the test wants broken.
    """
    settings.run.mkdir(parents=True, exist_ok=True)
    log = settings.run / "log.txt"
    command = [sys.executable, "-m", "deepspeed.launcher.runner", "--num_gpus", str(processes), "--master_port", str(free_port())]
    environment = os.environ | {"TAMPERING": tampering, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = str(HERE.parents[1])
    with log.open("ab") as output:
        runner = subprocess.Popen(
            [*command, str(HERE / "tampered_finetune.py"), *arguments(settings)],
            stdout=output, stderr=output, env=environment, start_new_session=True,
        )  # fmt: skip
    return Launched(runner, log)


def arguments(settings: FinetuneSettings) -> list[str]:
    """The command line that says what the settings say."""
    words = ["--stage", settings.stage]
    for field in dataclasses.fields(settings):
        value, default = getattr(settings, field.name), field.default
        if field.name == "stage" or value == default or field.name in ("slots", "sampling"):
            continue
        if field.name == "lora":
            words += [f"--lora.{part.name}={getattr(value, part.name)}" for part in dataclasses.fields(value)]
        else:
            words += [f"--{field.name.replace('_', '-')}", *([str(one) for one in value] if isinstance(value, tuple) else [str(value)])]
    return words


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
