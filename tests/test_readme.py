"""The README is part of the program: every command in it runs."""

import os
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.strip().splitlines()]
FRESH = [command for command in COMMANDS if command.startswith("python3 -m venv")]
REAL = README.split("## Results on real motion")[1].split("```bash\n")[1].split("```")[0].strip().splitlines()
SHOWS_ONLY = ("--list",)
"""Options with which a command changes nothing, so that it is run as it stands."""
PROGRAMS = {
    "python": [sys.executable],
    "torchrun": [sys.executable, "-m", "torch.distributed.run"],
    "deepspeed": [sys.executable, "-m", "deepspeed.launcher.runner"],
}
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
STAGES = [command for command in COMMANDS if command.split()[0] in PROGRAMS and command not in REAL]


def run(command: str, *more: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    program, *words = shlex.split(command)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*PROGRAMS[program], *words, *more], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_continuous_integration_runs_the_two_commands_as_they_stand():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert len(FRESH) == 2
    for command in FRESH:
        assert command in script


@pytest.mark.slow
@pytest.mark.parametrize("command", STAGES)
def test_a_stage_command_resolves_its_settings(command):
    more = () if any(option in command for option in SHOWS_ONLY) else ("--dry-run",)
    done = run(command, *more)
    assert done.returncode == 0, done.stderr[-2000:]
    assert ("preset" if more else "kdae") in done.stdout


@pytest.mark.slow
def test_tensorboard_opens_on_a_run_folder(tmp_path):
    assert any(command.startswith("tensorboard --logdir ") for command in COMMANDS)
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path), "--port", "0", "--host", "127.0.0.1"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = next(match.group(0) for line in server.stderr if (match := re.search(r"http://127\.0\.0\.1:\d+/", line)))
        with urllib.request.urlopen(address, timeout=60) as page:
            assert "TensorBoard" in page.read().decode()
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
@pytest.mark.parametrize("code", PYTHON)
def test_python_code_runs_as_it_stands(code, small_world, description_run, tmp_path):
    """In a folder with a clip.bvh, a folder `takes` of clips, and a run."""
    clips = sorted((small_world.raw / "emilya").rglob("*.bvh"))[:2]
    (tmp_path / "takes").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "description").symlink_to(description_run)
    (tmp_path / "clip.bvh").symlink_to(clips[0])
    for clip in clips:
        (tmp_path / "takes" / clip.name).symlink_to(clip)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()


def test_nothing_is_left_out_of_these_tests():
    kinds = (FRESH, REAL, STAGES, [command for command in COMMANDS if command.startswith("tensorboard ")])
    assert sorted(COMMANDS) == sorted({command for kind in kinds for command in kind})
