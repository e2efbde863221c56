"""Several machines, each started by hand with DeepSpeed's own launcher, train one model: two of them on the loopback."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from emotion_llm.language.llm import LoraSettings
from emotion_llm.runtime.tensorboard import Tag

ROOT = Path(__file__).parents[2]
MACHINES = ("127.0.0.1", "127.0.0.2")


def losses(run: Path) -> list[float]:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [event.value for event in events.Scalars(Tag.LOSS)]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.slow
def test_two_machines_train_as_one_does(small_world, tmp_path):
    settings = small_world.train(tmp_path / "one", max_steps=3, lora=LoraSettings(rank=4, alpha=8, dropout=0.0))
    hostfile, port = tmp_path / "hostfile", free_port()
    hostfile.write_text("".join(f"{machine} slots=1\n" for machine in MACHINES), encoding="utf-8")
    arguments = [
        "--run", tmp_path / "two", "--data", settings.data, "--encoder", settings.encoder, "--llm", settings.llm,
        "--corpora", *settings.corpora, "--max-steps", 3, "--global-batch", settings.global_batch, "--warmup-steps", 1,
        "--peak-learning-rate", settings.peak_learning_rate, "--lora.rank", 4, "--lora.alpha", 8, "--lora.dropout", 0,
        "--evaluate-clips", 4,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = []
    for rank in range(len(MACHINES)):
        launcher = [sys.executable, "-m", "deepspeed.launcher.runner", "--hostfile", hostfile, "--no_ssh", "--node_rank", rank]
        command = [*launcher, "--master_addr", MACHINES[0], "--master_port", port, "tests/helpers/tampered_finetune.py", *arguments]
        with (tmp_path / f"log-{rank}").open("w") as log:
            started.append(
                subprocess.Popen(list(map(str, command)), cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
            )
    try:
        statuses = [process.wait(timeout=240) for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    logs = [(tmp_path / f"log-{rank}").read_text(encoding="utf-8") for rank in range(len(MACHINES))]
    assert statuses == [0, 0], logs[0][-2000:] + logs[1][-2000:]
    assert "batch 8 = 2 processes x 4 motions x 1 micro-steps" in logs[0]
    assert "micro-steps" not in logs[1]  # only the first machine's first process talks
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
