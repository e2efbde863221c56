"""What a user sees: settings, one-line errors, JSON files that are whole."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from emotion_llm.runtime.console import parse_settings, progress
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import atomic_write, write_json
from emotion_llm.training.settings import PRESETS, presets_of_stage
from launch import finetune
from tests.helpers.scripts import run_script

LAUNCH = Path(__file__).parents[2] / "launch"


def test_the_paper_is_the_default_and_any_field_can_be_overridden():
    settings = parse_settings(PRESETS["recognition"], "", ["--lora.rank", "8", "--corpora", "kdae"])
    assert settings.max_steps == 800_000
    assert settings.lora.rank == 8
    assert settings.corpora == ("kdae",)
    assert parse_settings(PRESETS["recognition"], "", ["--preset", "demo", "--local_rank=1"]).llm == "models/demo"


def test_the_papers_numbers_are_the_defaults():
    recognition, description = PRESETS["recognition"]["paper"], PRESETS["description"]["paper"]
    assert (recognition.max_steps, recognition.global_batch, recognition.peak_learning_rate) == (800_000, 64, 1e-5)
    assert (description.max_steps, description.global_batch, description.peak_learning_rate) == (10_000, 16, 1e-5)
    for settings in (recognition, description):
        assert (settings.lora.rank, settings.lora.alpha, settings.lora.dropout) == (64, 16, 0.05)
    assert description.start_from == recognition.run


@pytest.mark.parametrize("script", sorted(LAUNCH.glob("*.py")), ids=lambda path: path.name)
def test_commands_in_a_scripts_help_keep_their_lines(script):
    """Lines that are not indented are joined to a paragraph in --help."""
    lines = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))).splitlines()
    commands = [line for line in lines if "launch/" in line and not line.startswith("Needs ")]
    assert commands
    assert all(line.startswith("    ") for line in commands)


def test_an_unknown_preset_or_stage_is_named():
    with pytest.raises(UserError, match=r"--preset huge: no such preset; choose one of paper, demo, smollm2"):
        parse_settings(PRESETS["recognition"], "", ["--preset", "huge"])
    with pytest.raises(UserError, match=r"--stage sleep: no such stage; choose one of recognition, description"):
        presets_of_stage(["--stage", "sleep"])


def test_a_dry_run_prints_the_settings_as_json_and_ends(capsys):
    with pytest.raises(SystemExit) as ended:
        parse_settings(PRESETS["description"], "", ["--dry-run", "--seed", "3"])
    assert ended.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["preset"], printed["seed"], printed["max_steps"]) == ("paper", 3, 10_000)


def test_a_user_error_is_one_line_and_a_status_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, LAUNCH / "predict.py", tmp_path / "nothing.bvh"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: {tmp_path / 'nothing.bvh'}: no such motion file"


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "some.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_only_the_first_rank_shows_a_bar(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert list(progress(range(3), "label", "step")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_setting_out_of_bounds_is_one_line_too():
    done = run_script(finetune.main, "--max-steps", "0")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: --max-steps 0: must be at least 1"


def test_an_aside_file_takes_the_place_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as tmp:
        tmp.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    with atomic_write(path) as tmp:
        tmp.write_text("new")
    assert path.read_text() == "new" and not tmp.exists()
