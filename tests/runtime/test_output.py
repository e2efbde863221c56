"""Printing that cannot end a run, and an import that changes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emotion_llm.runtime.console import printable
from tests.helpers.run_outcome import curve

ROOT = Path(__file__).parents[2]


def python(code: str, **options) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    return subprocess.run(
        [sys.executable, "-c", code, *options.pop("arguments", [])],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        **options,
    )


def test_control_characters_are_escaped_and_other_letters_stay():
    assert printable("joy\x1b[2J\u202e\udcff é 喜\n") == "joy\\x1b[2J\\u202e\\udcff é 喜\n"
    assert printable("two\nlines", keep="") == "two\\nlines"


def test_an_ascii_terminal_is_no_error():
    code = "from emotion_llm.runtime.console import run, say; run(lambda: say('Überraschung'))"
    done = python(code, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\xdcberraschung\n", "")


def test_help_whose_reader_has_gone_is_no_error():
    read, write = os.pipe()
    os.close(read)
    code = (
        "from emotion_llm.evaluation.comparison import PRESETS; from emotion_llm.runtime.console import parse_settings, run; "
        "run(lambda: parse_settings(PRESETS, ''))"
    )
    done = python(code, arguments=["--help"], stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_standard_output_is_no_error_and_no_file_receives_what_is_printed(tmp_path):
    code = (
        "from emotion_llm.runtime.console import run, say\n"
        "def main():\n"
        f"    with open({str(tmp_path / 'data')!r}, 'w') as file:\n"
        "        file.write('data'); say('printed'); __import__('os').write(1, b'by a library')\n"
        "run(main)"
    )
    done = python(code, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "data").read_text() == "data"


def test_a_reader_that_is_gone_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = python("from emotion_llm.runtime.console import run, say; run(lambda: [say('x' * 100_000) for _ in range(3)])", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_script_that_ends_at_once_loses_no_output_and_keeps_its_status():
    code = "import atexit, sys; from emotion_llm.runtime.console import run, say; atexit.register(lambda: say('torn down'))\n"
    main = "def main():\n    print('x' * 100_000, end=''); print('y', end='', file=sys.stderr)\n"
    done = python(f"{code}{main}run(main, at_once=True)", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "x" * 100_000, "y")
    assert python(f"{code}run(lambda: sys.exit(3), at_once=True)", stdout=subprocess.PIPE).returncode == 3


def test_an_uncaught_error_escapes_control_characters_of_its_message():
    done = python(
        "from emotion_llm.runtime.console import run\ndef main(): raise KeyError('a') from ValueError('\x1b[2J\u202e')\nrun(main)"
    )
    assert done.returncode == 1
    assert "\x1b" not in done.stderr and "ValueError: \\x1b[2J\\u202e" in done.stderr and done.stderr.rstrip().endswith("KeyError: 'a'")


def test_a_folder_that_vanishes_under_tensorboard_is_one_warning(tmp_path):
    code = (
        "import shutil, sys; from pathlib import Path; from emotion_llm.runtime.console import run\n"
        "from emotion_llm.runtime.tensorboard import TensorBoardWriter\n"
        "def main():\n"
        "    writer = TensorBoardWriter(Path(sys.argv[1])); writer.scalars({'loss': 1.0}, 1); writer.flush(1)\n"
        "    shutil.rmtree(sys.argv[1]); writer.scalars({'loss': 2.0}, 2); writer.flush(2)\n"
        "    writer.flush(3); writer.scalars({'loss': 3.0}, 3); writer.close()\n"
        "run(main)"
    )
    done = python(code, arguments=[tmp_path / "run"], stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1 and "warning: TensorBoard not written ([Errno 2] No such file or directory" in done.stdout
    assert curve(tmp_path / "run", "loss") == {3: 3.0}


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("ENOSPC", "no space left; free some and run the same command again"),
        ("EROFS", "no permission; correct it, or choose another folder, and run the same command again"),
        ("ENOTDIR", "lies below a file; choose another folder and run the same command again"),
    ],
)
def test_an_error_of_the_file_system_is_one_line(number, said):
    code = (
        f"import errno; from emotion_llm.runtime.console import run\ndef main(): raise OSError(errno.{number}, '', 'some/file')\nrun(main)"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (2, f"error: some/file: {said}\n")


def test_importing_changes_no_warning_filter_no_thread_count_and_no_environment():
    code = (
        "import os, warnings, torch, tyro, tqdm\n"
        "state = lambda: (list(warnings.filters), torch.get_num_threads(), dict(os.environ))\n"
        "before = state()\n"
        "import emotion_llm.runtime.console, emotion_llm.runtime.processes\n"
        "assert state() == before"
    )
    done = python(code, env={"LOCAL_WORLD_SIZE": "64"})
    assert done.returncode == 0, done.stderr


def test_processes_of_one_machine_share_its_cores():
    code = "import torch; from emotion_llm.runtime.processes import start_processes; start_processes(); assert torch.get_num_threads() == 1"
    environment = {"LOCAL_WORLD_SIZE": "10000", "OMP_NUM_THREADS": "2"}
    assert python(code, env=environment).returncode == 1  # the user's own choice stays
    del environment["OMP_NUM_THREADS"]
    done = python("import os; os.environ.pop('OMP_NUM_THREADS', None); " + code, env=environment)
    assert done.returncode == 0, done.stderr


def test_prediction_imports_no_deepspeed():
    code = "import sys, emotion_llm.inference.prediction; assert 'deepspeed' not in sys.modules"
    assert python(code).returncode == 0


def test_two_jobs_under_the_deepspeed_launchers_default_port_do_not_collide():
    code = "import os; from emotion_llm.runtime.processes import start_processes; start_processes(); print(os.environ['MASTER_PORT'])"
    job = {"RANK": "0", "LOCAL_RANK": "0", "LOCAL_SIZE": "1", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    done = python(code, env=job, stdout=subprocess.PIPE)
    assert done.stdout.strip() == str(10_000 + os.getpid() % 20_000), done.stderr


def test_programs_that_tests_start_run_this_checkout(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import emotion_llm; print(emotion_llm.__file__)"], capture_output=True, text=True, cwd=tmp_path
    )
    assert Path(done.stdout.strip()) == ROOT / "emotion_llm" / "__init__.py"


@pytest.mark.parametrize("collects", [True, False])
def test_collection_is_as_before_after_a_large_import(collects):
    code = f"import gc; {'' if collects else 'gc.disable(); '}import emotion_llm; emotion_llm.Answer; print(gc.isenabled())"
    assert python(code, stdout=subprocess.PIPE).stdout.strip() == str(collects)
