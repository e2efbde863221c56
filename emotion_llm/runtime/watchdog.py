"""The watch over a job: one thread in each of its processes, which goes on looking when the main thread hangs.

signs of life of all processes  ->  the job ends as soon as one of them cannot go on, and its true reason is the last word

Processes that compute together wait for one another in every collective. Where one is missing, the others wait for ever, or die of a
second error that hides the first. So:

    a process raises        it says why; the others end without a word
    a process is killed     the others say which one is gone
    a process hangs         the one that is behind is named, with the place in its code where it stands
    the launcher is gone    nobody could end the processes any more: they end by themselves
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import NoReturn, Protocol

from emotion_llm.runtime.heartbeat import GO_ON, PHASES, Heartbeat, Progress, gone_message, hang_message, heartbeat_of
from emotion_llm.runtime.launcher import Peer, is_alive, launchers

PERIOD = 1.0
"""Seconds between two looks."""
LINGER = 2.5 * PERIOD
"""Seconds in which everyone has looked: so long a process waits for the true reason of its error, and stays to let its own be read."""
OUT_OF_REACH = 60.0
"""Seconds without an answer from the first process's machine after which it counts as lost."""
END = "end"
"""Key of the store under which stands who ended the job, and with which status."""


class Store(Protocol):
    """What torch's TCPStore and HashStore can do: a small dictionary that all processes share. It lives in the first process."""

    def set(self, key: str, value: str) -> None: ...
    def get(self, key: str) -> bytes: ...
    def check(self, keys: list[str]) -> bool: ...
    def compare_set(self, key: str, expected: str, desired: str) -> bytes: ...


class Watchdog:
    """Looks on, in a thread of its own, until `close`."""

    def __init__(self, store: Store, rank: int, peers: Sequence[Peer]) -> None:
        """
        Args:
            peers: every process of the job in rank order, this one included.
        """
        self.rank, self.peers = rank, peers
        self.when_orphaned: Callable[[], object] = lambda: self.end(f"error: the launcher is gone, so the job ends; {GO_ON}", 1)
        self.may_leave: Callable[[], str | None] = lambda: None
        self.before_end: Callable[[int], object] = lambda status: None
        self._store: Store | None = store
        self._place, self._since, self._patience = Progress(), time.monotonic(), None
        self._signs = 0
        self._heard = {other: (0, time.monotonic()) for other in range(len(peers))}  # rank -> its last sign's count, and when it came
        self._answered = time.monotonic()
        self._launchers = launchers()
        self._main_thread = threading.main_thread().ident
        self._closed = threading.Event()
        self._ending = threading.Lock()
        self._thread = threading.Thread(target=self._look_on, name="watch", daemon=True)
        self._thread.start()

    def at(self, step: int, micro_step: int, phase: str) -> None:
        """The main thread has come to this place."""
        self._place, self._since = Progress(step, micro_step, PHASES.index(phase)), time.monotonic()

    @contextmanager
    def expecting_progress(
        self, seconds: float, when_orphaned: Callable[[], object], may_leave: Callable[[], str | None], before_end: Callable[[int], object]
    ) -> Iterator[None]:
        """Inside, the job ends where no process comes to a new place for so many seconds.

        Args:
            when_orphaned: called, again and again, once the launcher is gone.
            may_leave: asked every second; words (not None) end the job at once, with status 0.
            before_end: what is still to be brought to its end before this process leaves for another's sake; gets the exit status.
        """
        before = self.when_orphaned, self.may_leave, self.before_end
        self._since, self._patience = time.monotonic(), seconds
        self.when_orphaned, self.may_leave, self.before_end = when_orphaned, may_leave, before_end
        try:
            yield
        finally:
            self._patience = None
            self.when_orphaned, self.may_leave, self.before_end = before

    def fail(self, message: str, status: int) -> NoReturn:
        """Ends the job for an error of this process. Where it only follows from another process's end, that one's reason is given."""
        if len(self.peers) > 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher sends it as soon as any process has ended
            time.sleep(LINGER)  # the thread ends this process if it finds another reason
        self.end(message, status)

    def end(self, message: str, status: int) -> NoReturn:
        """Ends the job; of several processes that say so at once, one is heard."""
        with self._ending:  # main thread or watch, whoever comes first
            if self._claim_end(status):
                self._last_words(message)
            self._leave(status)

    def close(self) -> None:
        """The work is done and the others are no longer needed; the first process stays until all have come here."""
        if self.rank == 0:
            while not all(self._store.check([f"done/{other}"]) for other in range(1, len(self.peers))):
                time.sleep(0.05)
        else:
            self._store.set(f"done/{self.rank}", "")
        self._closed.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._closed.wait(PERIOD):
            if any(not is_alive(launcher) for launcher in self._launchers):
                self.when_orphaned()
            if words := self.may_leave():
                self.end(words, 0)
            if reason := self._look():
                self.end(reason, 1)

    def _look(self) -> str | None:
        """A reason to end the job, or None."""
        first = self.peers[0]
        if self.rank != 0 and first.is_gone:  # and the store with it
            self._store = None
            return gone_message(0)
        try:
            self._store.set(f"sign/{self.rank}", json.dumps(asdict(self._sign())))
            self._answered = time.monotonic()
            if self._store.check([END]) and (end := json.loads(self._store.get(END)))["rank"] != self.rank:
                self._leave(end["status"])
            return self._reason_to_end()
        except RuntimeError:  # torch's word for a store that does not answer
            if time.monotonic() - self._answered > OUT_OF_REACH:
                return f"error: rank 0 on {first.host} has not answered for {OUT_OF_REACH:.0f} s; is that machine up? Then {GO_ON}"
            return None

    def _sign(self) -> Heartbeat:
        self._signs += 1
        still = time.monotonic() - self._since
        look_closer = self._patience is not None and still > self._patience / 2
        return heartbeat_of(self._signs, self._place, still, self._main_thread if look_closer else None)

    def _reason_to_end(self) -> str | None:
        """A process that is gone or hangs, in words. The first process looks at all, the others at the first."""
        others = [rank for rank in (range(len(self.peers)) if self.rank == 0 else [0]) if rank != self.rank]
        for rank in others:
            if self.peers[rank].is_gone and not self._store.check([f"done/{rank}"]) and not self._store.check([END]):
                return gone_message(rank)
        if self._patience is None:
            return None
        now, signs = time.monotonic(), {self.rank: self._sign()}
        for rank in others:
            if self._store.check([f"sign/{rank}"]):
                signs[rank] = Heartbeat(**json.loads(self._store.get(f"sign/{rank}")))
                if signs[rank].count != self._heard[rank][0]:
                    self._heard[rank] = signs[rank].count, now
        silent = {rank: now - self._heard[rank][1] for rank in others}
        limit = self._patience if self.rank == 0 else self._patience + 10 * PERIOD  # the first process is the judge while it can be
        if signs[self.rank].still > limit or max(silent.values(), default=0.0) > limit:
            return hang_message(signs, {rank: seconds for rank, seconds in silent.items() if seconds > limit / 2}, self._patience)
        return None

    def _claim_end(self, status: int) -> bool:
        """True where this process is the first to end the job, and so the one to say why."""
        if self._store is None:
            return self.rank == 1  # nobody else can be asked
        own = json.dumps({"rank": self.rank, "status": status})
        try:
            return self._store.compare_set(END, "", own).decode() == own
        except RuntimeError:
            return True

    def _last_words(self, message: str) -> None:
        """They stand below a progress bar, and nothing comes after them: no second error of a main thread that has lost its peers."""
        sys.stdout.flush()
        print(("\n" if self._patience is not None else "") + message.rstrip(), file=sys.stderr, flush=True)
        if len(self.peers) > 1:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            time.sleep(LINGER)

    def _leave(self, status: int) -> NoReturn:
        """No waiting for a main thread that may hang."""
        try:
            self.before_end(status)
            sys.stdout.flush()
        finally:
            os._exit(status)


_current: Watchdog | None = None


def set_current(watch: Watchdog) -> Watchdog:
    """Makes it the process's own watch."""
    global _current
    _current = watch
    return watch


def current() -> Watchdog | None:
    """The process's own watch; None where it does not work with others."""
    return _current
