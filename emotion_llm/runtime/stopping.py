"""A stop that was asked for: preemption by a cluster, Ctrl-C, a launcher that is gone.

signal  ->  StopRequest.reason, read at the next step boundary

A signal may come at any moment and to some of the processes only, so it only leaves a note. The note travels to all processes with the
step's loss; at the end of that step all of them save together and leave.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType

from emotion_llm.runtime.files import write_json
from emotion_llm.runtime.launcher import is_first_rank

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)
"""What ends a run in good order: clusters send the first two before they take a machine, a lost terminal the third, Ctrl-C the last."""
MARKER = "preempted.json"


class StopRequest:
    """Listens while it is entered; from then on the signals above end nothing by themselves (a second Ctrl-C does)."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Who asked for the stop, in a word; None: nobody."""
        self.nothing_to_lose = False
        """True while everything is saved: the process may then leave at once, not only at the next step boundary."""
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                self._before[number] = signal.signal(number, self._take_note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ask(self, reason: str) -> None:
        """The first reason stays: the processes of a job may be told twice."""
        self.reason = self.reason or reason

    def may_leave(self) -> str | None:
        """The last words, where the stop needs no further step."""
        return f"stopped by {self.reason}; everything is saved" if self.reason and self.nothing_to_lose else None

    def _take_note(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGINT and self.reason == name:
            raise KeyboardInterrupt
        self.ask(name)


def leave_marker(run: Path, step: int, reason: str | None) -> None:
    """Tells job scripts that the run was stopped on request, can go on, and lost nothing; the launcher's exit status cannot tell."""
    if is_first_rank():
        write_json(run / MARKER, {"step": step, "stopped_by": reason or "another process", "seconds_since_1970": round(time.time())})


def remove_marker(run: Path) -> None:
    if is_first_rank():
        (run / MARKER).unlink(missing_ok=True)
