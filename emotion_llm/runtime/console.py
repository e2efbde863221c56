"""What a user sees of every script: its settings, its progress, its errors.

command line  ->  settings of one stage;  UserError  ->  one line and exit status 2
"""

import argparse
import contextlib
import dataclasses
import errno
import io
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

import tyro
from pydantic import ValidationError
from tqdm import tqdm

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.output import BestEffort, prepare_output, print_last, printable
from emotion_llm.runtime.validation import options_of_the_command_line
from emotion_llm.runtime.watchdog import current

Settings = TypeVar("Settings")
Item = TypeVar("Item")

USER_ERROR_STATUS = 2
DISK_ERRORS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "no space left; free some"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "no permission; correct it, or choose another folder,"),
    errno.ENOTDIR: "lies below a file; choose another folder",
}
"""Errors of the file system that the user can fix, each with its remedy."""
PROGRAM_BEGIN = time.perf_counter()


def parse_settings(presets: Mapping[str, Settings], description: str, arguments: list[str] | None = None) -> Settings:
    """The preset named by --preset (by default the first), changed by the fields that the command line names.

    `--dry-run` prints the resulting settings as JSON and exits.

    Raises:
        UserError: no such preset, or a value out of bounds.
    """
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--preset", default=next(iter(presets)))
    own.add_argument("--dry-run", action="store_true")
    own.add_argument("--local_rank", help=argparse.SUPPRESS)  # appended by the deepspeed launcher, which also sets LOCAL_RANK
    chosen, rest = own.parse_known_args(arguments)
    if chosen.preset not in presets:
        raise UserError(f"--preset {chosen.preset}: no such preset; choose one of {', '.join(presets)}")
    default = presets[chosen.preset]
    heading = f"{description}\n\nPresets (--preset): {', '.join(presets)}; shown are the values of '{chosen.preset}'. --dry-run prints the settings."
    # An option's union of settings classes is chosen as in `encoder:st-gcn-settings`; without such a word, the default's class stays.
    config = () if any(re.match(r"\w+:\w", word) for word in rest) else (tyro.conf.AvoidSubcommands,)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            settings = tyro.cli(type(default), default=default, args=rest, description=heading, config=config)
    except SystemExit as stop:
        cause: BaseException | None = stop
        while cause is not None:  # tyro prints pydantic's errors with their class names; ours name the options
            if isinstance(cause, ValidationError):
                with options_of_the_command_line(rest):
                    raise cause from None
            cause = cause.__context__
        sys.stderr.write(printed.getvalue())
        raise
    except BrokenPipeError:  # --help into `head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    if chosen.dry_run:
        if is_first_rank():
            print(json.dumps({"preset": chosen.preset} | settings_to_dict(settings), indent=2))
        sys.exit(0)
    return settings


def settings_to_dict(settings: Any) -> dict[str, Any]:
    """A settings dataclass as JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(settings), default=str))


def run(main: Callable[[], object], at_once: bool = False) -> None:
    """Runs a script's main function and turns errors that the user can fix into one line and an exit status.

    An error in one process ends all processes of the job, and its message is the last one (runtime/watchdog.py).

    Args:
        at_once: after success, end without taking the interpreter down, which takes a second once torch is loaded.
    """
    prepare_output()
    try:
        main()
        if watch := current():
            watch.close()
        if at_once:
            BestEffort(sys.stdout).flush()
            BestEffort(sys.stderr).flush()
            os._exit(0)
    except UserError as error:
        _exit(f"error: {error}", USER_ERROR_STATUS)
    except KeyboardInterrupt:
        _exit("interrupted", 130)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            _exit(f"error: {error.filename or 'the disk'}: {DISK_ERRORS[error.errno]} and run the same command again", USER_ERROR_STATUS)
        watch = current()
        if watch is None or len(watch.peers) < 2:
            print_last(traceback.format_exc().rstrip())  # Python would print control characters of the message
            sys.exit(1)
        _exit(f"rank {watch.rank} failed:\n{traceback.format_exc()}", 1)


def _exit(message: str, status: int) -> NoReturn:
    """Ends this process and the others of its job without waiting for them: they may be blocked in a collective."""
    watch = current()
    if watch is not None and status == 1:
        watch.fail(message, status)
    if not is_first_rank():
        time.sleep(2)  # rank 0 usually fails with the same message: it prints it below its progress bar and ends this process
    if watch is not None:
        watch.end(message, status)
    print_last(message)
    os._exit(status)


def say(message: str) -> None:
    """Prints above any progress bar, on the first rank only. A closed terminal or pipe is no error: the work continues."""
    if is_first_rank():
        stdout = BestEffort(sys.stdout)
        tqdm.write(printable(message), file=stdout)
        stdout.flush()


def progress(items: Iterable[Item], label: str, unit: str, total: int | None = None, start: int = 0) -> "tqdm[Item]":
    """The same items behind a bar with rate and remaining time, on the first rank only.

    If the output is not a terminal, the bar is printed every ten seconds only, which keeps log files readable.
    """
    seconds = 0.1 if sys.stderr.isatty() else 10
    return tqdm(
        items, desc=printable(label, keep=""), unit=unit, total=total, initial=start, disable=not is_first_rank(),
        file=BestEffort(sys.stderr), mininterval=seconds, maxinterval=seconds, dynamic_ncols=True, smoothing=0.1,
    )  # fmt: skip
