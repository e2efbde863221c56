"""Requested stops: preemption by a cluster, Ctrl-C, a launcher that has ended.

signal  ->  StopRequest.reason, read at the next step boundary

A signal may arrive at any moment and in some of the processes only, so its handler only records it. The request reaches all processes
together with the step's loss; at the end of that step all of them save and exit.
"""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any, Self

from emotion_llm.runtime.files import write_json
from emotion_llm.runtime.launcher import is_first_rank

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)
"""Signals that stop a run: clusters send the first two before preemption, a closed terminal the third, Ctrl-C the last."""
MARKER = "preempted.json"


class StopRequest:
    """Context manager in which the signals above only set `reason`; a second Ctrl-C interrupts."""

    def __init__(self) -> None:
        self.reason: str | None = None  # The signal's name, or another cause; None: no stop was requested
        self.nothing_to_lose = False
        """True while everything is saved: the process may then exit at once instead of at the next step boundary."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                self._before[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ask(self, reason: str) -> None:
        """Requests a stop. The first reason is kept: a job may receive several signals."""
        self.reason = self.reason or reason

    def may_leave(self) -> str | None:
        """The last message, if the process can exit without another step."""
        return f"stopped by {self.reason}; everything is saved" if self.reason and self.nothing_to_lose else None

    def _record(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGINT and self.reason == name:
            raise KeyboardInterrupt
        self.ask(name)


def leave_marker(run: Path, step: int, reason: str | None) -> None:
    """Tells job scripts that the run was stopped on request and can be resumed; the launcher's exit status does not."""
    if is_first_rank():
        write_json(run / MARKER, {"step": step, "stopped_by": reason or "another process", "seconds_since_1970": round(time.time())})


def remove_marker(run: Path) -> None:
    if is_first_rank():
        (run / MARKER).unlink(missing_ok=True)
