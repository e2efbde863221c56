"""All stages at small size: motion files, corpora, encoder, both fine-tunes, evaluation, one clip explained. CPU is enough.

    python launch/demo.py    # writes data/demo, models/demo, runs/demo and runs/demo/summary.json

Run again, it starts over.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from emotion_llm.runtime.console import run, say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import write_json

ROOT = Path(__file__).parents[1]
RUN = Path("runs/demo")
TWO = "2"
"""Processes of the distributed stages."""
STAGES = {
    "corpora": ["python", "launch/prepare.py", "--preset", "demo"],
    "language model": ["python", "launch/get_llm.py", "--preset", "demo"],
    "encoder": ["torchrun", "--nproc_per_node", TWO, "launch/pretrain_encoder.py", "--preset", "demo"],
    "recognition": ["deepspeed", "--quiet", "--num_gpus", TWO, "launch/finetune.py", "--stage", "recognition", "--preset", "demo"],
    "description": ["deepspeed", "--quiet", "--num_gpus", TWO, "launch/finetune.py", "--stage", "description", "--preset", "demo"],
    "evaluation": ["deepspeed", "--quiet", "--num_gpus", TWO, "launch/evaluate.py", "--preset", "demo"],
}
"""What a user would type, stage by stage."""
LEFT_OUT_ON_PURPOSE = 3
"""launch/prepare.py's exit status where some files were left out."""


def main() -> None:
    """Runs the stages and writes the summary.

    Raises:
        UserError: a stage failed.
    """
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False).parse_args()
    os.chdir(ROOT)
    shutil.rmtree(RUN, ignore_errors=True)
    seconds = {name: _run_stage(name, command) for name, command in STAGES.items()}
    clip = _a_held_out_clip()
    seconds["one clip"] = _run_stage("one clip", ["python", "launch/predict.py", str(clip), "--preset", "demo"])
    metrics = json.loads((RUN / "description" / "evaluation" / "metrics.json").read_text(encoding="utf-8"))["corpora"]
    corpora = {name: {"accuracy": values["accuracy"], "chance": values["chance"]} for name, values in metrics.items()}
    write_json(RUN / "summary.json", {"seconds": {name: round(value, 1) for name, value in seconds.items()}, "corpora": corpora})
    say(summary_text(seconds, corpora))


def summary_text(seconds: dict[str, float], corpora: dict[str, dict[str, float]]) -> str:
    """The demo's last message."""
    times = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    accuracy = ", ".join(f"{name} {values['accuracy']:.0%} (chance {values['chance']:.0%})" for name, values in corpora.items())
    return f"""
The demo is done, in {sum(seconds.values()):.0f} s: {times}
Held-out accuracy: {accuracy}
Run folder:   {RUN}  (summary.json; description/evaluation/metrics.json and predictions.jsonl)
TensorBoard:  tensorboard --logdir {RUN}
Corpora:      data/demo  (raw motion files in data/demo/raw)
The corpora are synthetic and the LLM is a tiny one made for them: the figures show that the path works, nothing about people."""


def _run_stage(name: str, command: list[str]) -> float:
    """Runs a stage's command with this Python; returns its seconds."""
    say(f"\n== {name}: {shlex.join(command)}")
    program = {
        "python": [sys.executable],
        "torchrun": [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"],
        "deepspeed": [sys.executable, "-m", "deepspeed.launcher.runner"],
    }[command[0]]
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // int(TWO)))}
    environment = os.environ | (threads if command[0] == "torchrun" else {})  # which warns about its default otherwise
    begin = time.perf_counter()
    status = subprocess.run([*program, *command[1:]], env=environment, check=False).returncode
    if status and not (name == "corpora" and status == LEFT_OUT_ON_PURPOSE):
        raise UserError(f"the demo's stage '{name}' ended with status {status}; see its own message above")
    return time.perf_counter() - begin


def _a_held_out_clip() -> Path:
    """The first held-out clip of the KDAE-style corpus, as a raw file."""
    predictions = RUN / "description" / "evaluation" / "predictions.jsonl"
    records = [json.loads(line) for line in predictions.read_text(encoding="utf-8").splitlines()]
    clip = next(record["clip"] for record in records if record["corpus"] == "kdae")
    return Path("data/demo/raw/kdae") / f"{clip}.bvh"


if __name__ == "__main__":
    run(main)
