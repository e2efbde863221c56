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
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn, Protocol

PERIOD = 1.0
"""Seconds between two looks."""
LINGER = 2.5 * PERIOD
"""Seconds in which everyone has looked: so long a process waits for the true reason of its error, and stays to let its own be read."""
OUT_OF_REACH = 60.0
"""Seconds without an answer from the first process's machine after which it counts as lost."""
END = "end"
COLLECTIVES = ("/torch/distributed/", "/deepspeed/comm/")
"""Folders of the code that waits for other processes."""
GO_ON = "run the same command again to go on from the newest checkpoint"
LAUNCHERS = {"deepspeed", "ds", "torchrun", "deepspeed.launcher.runner", "deepspeed.launcher.launch", "torch.distributed.run"}
"""Programs and modules that start one process per device."""


class Store(Protocol):
    """What torch's TCPStore and HashStore can do: a small dictionary that all processes share. It lives in the first process."""

    def set(self, key: str, value: str) -> None: ...
    def get(self, key: str) -> bytes: ...
    def check(self, keys: list[str]) -> bool: ...
    def compare_set(self, key: str, expected: str, desired: str) -> bytes: ...


@dataclass(frozen=True)
class Peer:
    """A process of the job."""

    host: str
    pid: int

    @classmethod
    def this(cls) -> Peer:
        return cls(socket.gethostname(), os.getpid())

    @property
    def is_gone(self) -> bool:
        """True where the process is known to have ended; of another machine's processes nothing is known."""
        return self.host == socket.gethostname() and not is_alive(self.pid)


@dataclass(frozen=True, order=True)
class Place:
    """How far a process has come. Processes that wait for another stand at the same place as it, or further on."""

    step: int = 0
    micro_step: int = 0
    phase: int = 0
    """Index into PHASES."""

    def __str__(self) -> str:
        return f"step {self.step}, micro-step {self.micro_step}, {PHASES[self.phase]}"


PHASES = ("data", "forward", "backward", "optimizer", "checkpoint", "evaluation")
"""What a step does, in its order."""


@dataclass(frozen=True)
class Sign:
    """What a process tells the others once a second."""

    count: int
    """Goes up with every sign."""
    place: tuple[int, int, int]
    still: float
    """Seconds for which the main thread has been at this place."""
    waits: bool
    """True where the main thread waits in a collective for the others."""
    stack: str
    """Where its main thread stands, once it has been still for long."""


class Watch:
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
        self._store = store
        self._place, self._since, self._patience = Place(), time.monotonic(), None
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
        self._place, self._since = Place(step, micro_step, PHASES.index(phase)), time.monotonic()

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
        """Ends the job for an error of this process. Where it only follows from another process's end, that one's reason is given instead."""
        if len(self.peers) > 1:
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
            try:
                self._store.set(f"sign/{self.rank}", json.dumps(asdict(self._sign())))
                self._answered = time.monotonic()
                self._leave_with_others()
                reason = self._reason_to_end()
            except RuntimeError:  # torch's word for a store that does not answer
                reason = self._reason_of_silence()
            if reason is not None and not self._closed.is_set():
                self.end(reason, 1)

    def _sign(self) -> Sign:
        self._signs += 1
        place, still = self._place, time.monotonic() - self._since
        stack = traceback.StackSummary()
        if self._patience is not None and still > self._patience / 2:
            stack = traceback.extract_stack(sys._current_frames()[self._main_thread])
        waits = any(collectives in frame.filename for frame in stack for collectives in COLLECTIVES)
        return Sign(self._signs, (place.step, place.micro_step, place.phase), still, waits, "".join(stack.format()[-5:]))

    def _leave_with_others(self) -> None:
        if self._store.check([END]):
            end = json.loads(self._store.get(END))
            if end["rank"] != self.rank:
                self._leave(end["status"])

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
                signs[rank] = Sign(**json.loads(self._store.get(f"sign/{rank}")))
                if signs[rank].count != self._heard[rank][0]:
                    self._heard[rank] = signs[rank].count, now
        silent = {rank: now - self._heard[rank][1] for rank in others}
        limit = self._patience if self.rank == 0 else self._patience + 10 * PERIOD  # the first process is the judge while it can be
        if signs[self.rank].still > limit or max(silent.values(), default=0.0) > limit:
            return hang_message(signs, {rank: seconds for rank, seconds in silent.items() if seconds > limit / 2}, self._patience)
        return None

    def _reason_of_silence(self) -> str | None:
        """The store, and so the first process, does not answer."""
        if self.rank != 0 and self.peers[0].is_gone:
            return gone_message(0) if self.rank == 1 else ""
        if time.monotonic() - self._answered > OUT_OF_REACH:
            return f"error: rank 0 on {self.peers[0].host} has not answered for {OUT_OF_REACH:.0f} s; is that machine up? Then {GO_ON}"
        return None

    def _claim_end(self, status: int) -> bool:
        """True where this process is the first to end the job, and so the one to say why."""
        own = json.dumps({"rank": self.rank, "status": status})
        try:
            return self._store.compare_set(END, "", own).decode() == own
        except RuntimeError:
            return True  # the first process is gone with its store: nobody else can be asked

    def _last_words(self, message: str) -> None:
        if message:
            print(message.rstrip(), file=sys.stderr, flush=True)
        if len(self.peers) > 1:
            time.sleep(LINGER)

    def _leave(self, status: int) -> NoReturn:
        """No waiting for a main thread that may hang."""
        try:
            self.before_end(status)
            sys.stdout.flush()
        finally:
            os._exit(status)


def gone_message(rank: int) -> str:
    return f"error: rank {rank} is gone without a word: killed from outside, or the machine's memory was full; {GO_ON}"


def hang_message(signs: Mapping[int, Sign], silent: Mapping[int, float], patience: float) -> str:
    """Who is behind, and where.

    Args:
        silent: rank -> seconds, for processes that give no sign at all: frozen, or their machine is lost.
    """
    begin = f"error: the job hangs: no step has got on for {patience:g} s (--hang-timeout-seconds); "
    if silent:
        which = ", ".join(f"rank {rank} (no sign of life for {seconds:.0f} s)" for rank, seconds in sorted(silent.items()))
        return f"{begin}behind: {which}; {GO_ON}"
    places = {rank: (Place(*sign.place), sign.waits) for rank, sign in signs.items()}  # at one place, who waits is further than who does not
    first, last = min(places.values()), max(places.values())
    behind = sorted(rank for rank, place in places.items() if place == first)
    if first == last and len(places) > 1:
        who = f"all ranks stand at {first[0]}; is the network up?"
    else:
        who = f"behind: {', '.join(f'rank {rank}' for rank in behind)} at {first[0]}" + (f"; the others wait at {last[0]}" if first != last else "")
    stack = signs[behind[0]].stack
    where = f"\nrank {behind[0]} stands at\n{stack}" if stack else " "
    return f"{begin}{who}{where}{GO_ON}"


def launchers() -> tuple[int, ...]:
    """Process ids of the launchers above this process (launch.py and deepspeed, or torchrun); none where it was started by hand."""
    found, pid = [], os.getppid()
    while pid > 1 and _is_launcher(pid):
        found.append(pid)
        pid = _parent(pid)
    return tuple(found)


def _is_launcher(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:4]
    except OSError:
        return False
    return any(word.rpartition("/")[2] in LAUNCHERS for word in words)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs; one that has ended and waits for its parent to notice does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        if Path("/proc/self").exists():
            return False
        try:
            os.kill(pid, 0)  # no /proc on this system
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    return state not in "ZX"


_current: Watch | None = None


def set_current(watch: Watch) -> Watch:
    """Makes it the process's own watch."""
    global _current
    _current = watch
    return watch


def current() -> Watch | None:
    """The process's own watch; None where it does not work with others."""
    return _current
