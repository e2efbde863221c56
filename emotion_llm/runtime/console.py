"""What a user sees of every script: its settings, its progress, its errors.

command line  ->  settings of one stage; UserError  ->  one line and exit status 2
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NoReturn, TypeVar

import tyro
from tqdm import tqdm

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.watchdog import current

Settings = TypeVar("Settings")
Item = TypeVar("Item")

USER_ERROR_STATUS = 2
PROGRAM_BEGIN = time.perf_counter()


def parse_settings(presets: Mapping[str, Settings], description: str, arguments: list[str] | None = None) -> Settings:
    """The preset named by --preset (the first one by default), with every field that the command line names overridden.

    `--dry-run` prints the resolved settings as JSON and exits.

    Raises:
        UserError: no such preset. (A field's own check raises the rest.)
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default=next(iter(presets)))
    first.add_argument("--dry-run", action="store_true")
    first.add_argument("--local_rank", help=argparse.SUPPRESS)  # appended by the deepspeed launcher; the environment says the same
    chosen, rest = first.parse_known_args(arguments)
    if chosen.preset not in presets:
        raise UserError(f"--preset {chosen.preset}: no such preset; choose one of {', '.join(presets)}")
    default = presets[chosen.preset]
    heading = f"{description}\n\nPresets (--preset): {', '.join(presets)}; shown are the values of '{chosen.preset}'. --dry-run prints the settings."
    settings = tyro.cli(type(default), default=default, args=rest, description=heading)
    if chosen.dry_run:
        if is_first_rank():
            print(json.dumps({"preset": chosen.preset} | settings_to_dict(settings), indent=2))
        sys.exit(0)
    return settings


def settings_to_dict(settings: object) -> dict:
    """A settings record as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(settings), default=str))


def run(main: Callable[[], None]) -> None:
    """Runs a script's main function; what the user can mend ends in one line, not in a traceback.

    An error of one process ends all of them, and is the last thing that they print (emotion_llm/watching).
    """
    try:
        main()
        if watch := current():
            watch.close()
    except UserError as error:
        _end(f"error: {error}", USER_ERROR_STATUS)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            _end(f"error: {error.filename or 'the disk'}: no space left; free some and run the same command again", USER_ERROR_STATUS)
        if len(watch.peers if (watch := current()) else ()) < 2:
            raise
        _end(f"rank {watch.rank} failed:\n{traceback.format_exc()}", 1)


def _end(message: str, status: int) -> NoReturn:
    """Ends this process, and the others of its job, without waiting: a peer may be stuck in a collective."""
    watch = current()
    if watch is not None and status == 1:
        watch.fail(message, status)
    if not is_first_rank():
        time.sleep(2)  # rank 0 most often says the same, below its progress bar, and ends this process before it can repeat it
    if watch is not None:
        watch.end(message, status)
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(status)


def is_first_rank() -> bool:
    """True in the one process that prints and writes (torchrun and deepspeed both set RANK)."""
    return int(os.environ.get("RANK", "0")) == 0


def say(message: str) -> None:
    """Prints on the first rank only, above any progress bar. Work goes on where nobody listens any more (a closed terminal or pipe)."""
    if is_first_rank():
        with contextlib.suppress(BrokenPipeError):
            tqdm.write(message, file=sys.stdout)
            sys.stdout.flush()


def progress(items: Iterable[Item], label: str, unit: str, total: int | None = None, start: int = 0) -> Iterator[Item]:
    """The same items behind a bar with rate and time left, on the first rank only.

    Where the output is no terminal the bar is redrawn every ten seconds, so that a log file stays readable.
    """
    seconds = 0.1 if sys.stderr.isatty() else 10
    return tqdm(
        items, desc=label, unit=unit, total=total, initial=start, disable=not is_first_rank(), mininterval=seconds, maxinterval=seconds,
        dynamic_ncols=True, smoothing=0.1,
    )  # fmt: skip
