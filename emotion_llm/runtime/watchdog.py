"""The watchdog: a thread in every process of a job that ends the job as soon as one process cannot continue.

heartbeats of all processes  ->  exit of all processes, with one error message

In a collective, processes wait for each other: if one is missing, the others wait forever or fail with an error that hides the first.
With the watchdog, if

    a process raises        its error is printed; the others exit silently
    a process is killed     the others name its rank
    a process hangs         its rank is named, with its stack
    the launcher is gone    the processes exit by themselves

The heartbeats are exchanged through a store in rank 0's process. If rank 0 is frozen, the store does not answer and the others notice.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from emotion_llm.runtime.launcher import Peer, is_alive, launchers
from emotion_llm.runtime.output import BestEffort, print_last

if TYPE_CHECKING:  # the watchdog imports no torch
    from torch.distributed import Store

PERIOD = 1.0  # Seconds between two checks
GRACE = 2.5 * PERIOD
"""Seconds in which every process has checked once. A failed process waits that long, so that the first error of the job is the one printed."""
STORE_TIMEOUT = 5.0  # Seconds after which a store call that got no answer is given up
UNREACHABLE = 60.0  # Seconds without an answer from the store after which rank 0 counts as lost
END = "end"  # Store key: the rank that ended the job, and the exit status
RESUME = "run the same command again to resume from the newest checkpoint"
COLLECTIVES = ("/torch/distributed/", "/deepspeed/comm/")
"""Folders of code in which the main thread waits for other processes."""
PHASES = ("data", "forward", "backward", "optimizer", "checkpoint", "evaluation")  # The parts of a step, in order


class Progress(NamedTuple):
    """How far a process has come. Processes that wait for another one have come as far as it, or further."""

    step: int = 0
    micro_step: int = 0
    phase: int = 0  # Index into PHASES

    def __str__(self) -> str:
        return f"step {self.step}, micro-step {self.micro_step}, {PHASES[self.phase]}"


@dataclass(frozen=True)
class Heartbeat:
    """What a process publishes once a second."""

    count: int  # Increases with every heartbeat
    progress: Progress
    idle_seconds: float  # Seconds since the main thread last made progress
    in_collective: bool  # True if the main thread waits for other processes
    stack: str  # The main thread's stack, once it has been idle for long


def heartbeat_of(count: int, progress: Progress, idle_seconds: float, thread: int | None) -> Heartbeat:
    """The heartbeat of this process.

    Args:
        thread: identifier of the thread whose stack is reported; None: no stack.
    """
    frame = sys._current_frames().get(thread) if thread is not None else None
    stack = traceback.extract_stack(frame) if frame is not None else traceback.StackSummary()
    in_collective = any(folder in line.filename for line in stack for folder in COLLECTIVES)
    return Heartbeat(count, progress, idle_seconds, in_collective, "".join(stack.format()[-5:]))


def killed_message(rank: int) -> str:
    return f"error: rank {rank} was killed, by a signal or because the machine ran out of memory; {RESUME}"


def hang_message(heartbeats: Mapping[int, Heartbeat], silent: Mapping[int, float], timeout: float) -> str:
    """Names the ranks that the others wait for, and their progress.

    Args:
        heartbeats: by rank; not needed from ranks that are silent.
        silent: rank -> seconds without a heartbeat: the process is frozen, or its machine is unreachable.
    """
    begin = f"error: no progress for {timeout:g} s (--hang-timeout-seconds); "
    if silent:
        named = ", ".join(f"rank {rank} (no heartbeat for {seconds:.0f} s)" for rank, seconds in sorted(silent.items()))
        return f"{begin}waiting for {named}; {RESUME}"
    # Of two ranks at the same point, the one in a collective is further.
    points = {rank: (Progress(*heartbeat.progress), heartbeat.in_collective) for rank, heartbeat in heartbeats.items()}
    first, last = min(points.values()), max(points.values())
    slowest = sorted(rank for rank, point in points.items() if point == first)
    if first == last and len(points) > 1:
        who = f"all ranks are at {first[0]}; check the network"
    else:
        who = f"waiting for {', '.join(f'rank {rank}' for rank in slowest)} at {first[0]}"
        who += f"; the others are at {last[0]}" if first != last else ""
    stack = heartbeats[slowest[0]].stack
    return f"{begin}{who}" + (f"\nstack of rank {slowest[0]}:\n{stack}" if stack else "; ") + RESUME


class StoreError(Exception):
    """The store did not answer."""


class TimedStore:
    """A store whose calls raise StoreError instead of blocking while rank 0's process is frozen."""

    def __init__(self, store: "Store") -> None:
        self._store, self._thread = store, ThreadPoolExecutor(1, "store")

    def _call(self, function: Callable, *arguments: object):
        try:
            future = self._thread.submit(function, *arguments)
            try:
                return future.result(STORE_TIMEOUT)
            finally:
                future.cancel()  # if it waits behind a blocked call
        except (RuntimeError, TimeoutError) as error:  # RuntimeError: connection lost, or the interpreter is shutting down
            raise StoreError(str(error)) from error

    def set(self, key: str, value: str) -> None:
        self._call(self._store.set, key, value)

    def get(self, key: str) -> str | None:
        return self._call(self._store.get, key).decode() if self.has(key) else None

    def has(self, key: str) -> bool:
        return self._call(self._store.check, [key])

    def set_once(self, key: str, value: str) -> bool:
        """Sets a key that has no value yet; True if the value is now this one."""
        return self._call(self._store.compare_set, key, "", value).decode() == value


class Watchdog:
    """Runs in a thread of its own until `close`."""

    def __init__(self, store: "Store", rank: int, peers: Sequence[Peer]) -> None:
        self.rank, self.peers = rank, peers  # every process of the job in rank order, this one included
        self.when_orphaned: Callable[[], object] = lambda: self.end(f"error: the launcher has ended, so the job ends; {RESUME}", 1)
        self.may_leave: Callable[[], str | None] = lambda: None
        self.before_exit: Callable[[int], object] = lambda status: None
        self._store = TimedStore(store)
        self._clock = 0.0  # seconds of watching; seconds in which this process was suspended do not count
        self._checked = time.monotonic()
        self._progress, self._progress_at, self._timeout = Progress(), 0.0, float("inf")
        self._beats = 0
        self._heard = {other: (0, 0.0) for other in range(len(peers))}  # rank -> count of its last heartbeat, and our clock then
        self._answered = 0.0  # our clock at the store's last answer
        self._launchers = launchers()
        self._main_thread = threading.main_thread().ident
        self._closed = threading.Event()
        self._ending = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def at(self, step: int, micro_step: int, phase: str) -> None:
        """Reports progress of the main thread."""
        self._progress, self._progress_at = Progress(step, micro_step, PHASES.index(phase)), self._clock

    @contextmanager
    def expecting_progress(
        self, seconds: float, when_orphaned: Callable[[], object], may_leave: Callable[[], str | None], before_exit: Callable[[int], object]
    ) -> Iterator[None]:
        """Inside, the job ends if a process makes no progress for so many seconds.

        Args:
            when_orphaned: called once a second after the launcher has ended.
            may_leave: called once a second; a message (not None) ends the job at once, with status 0.
            before_exit: called with the exit status before this process exits because of another one.
        """
        before = self.when_orphaned, self.may_leave, self.before_exit
        self._progress_at, self._timeout = self._clock, seconds
        self.when_orphaned, self.may_leave, self.before_exit = when_orphaned, may_leave, before_exit
        try:
            yield
        finally:
            self._timeout = float("inf")
            self.when_orphaned, self.may_leave, self.before_exit = before

    def fail(self, message: str, status: int) -> NoReturn:
        """Ends the job after an error in this process; if another process failed first, with that one's message."""
        if len(self.peers) > 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent by the launcher as soon as any process has ended
            time.sleep(GRACE)  # the watchdog's thread exits if it finds another cause
        self.end(message, status)

    def end(self, message: str, status: int) -> NoReturn:
        """Ends the job; of several processes that do so at once, one prints its message."""
        with self._ending:  # main thread or watchdog, whichever is first
            if self._is_speaker(status):
                self._print_last(message)
            self._exit(status)

    def close(self) -> None:
        """Called when the work is done. Rank 0 stays until all others have called it, because it holds the store."""
        self._store.set(f"done/{self.rank}", "")
        while self.rank == 0 and not all(self._store.has(f"done/{other}") for other in range(len(self.peers))):
            time.sleep(0.05)
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(PERIOD):
            self._tick()
            if any(not is_alive(launcher) for launcher in self._launchers):
                self.when_orphaned()
            if (message := self.may_leave()) is not None:
                self.end(message, 0)
            if (reason := self._check()) is not None and not self._closed.is_set():
                self.end(reason, 1)

    def _tick(self) -> None:
        """Advances the clock, over a pause of this process (SIGSTOP, suspended machine) only as far as one check may take."""
        now = time.monotonic()
        self._clock += min(now - self._checked, PERIOD + 2 * STORE_TIMEOUT)
        self._checked = now

    def _check(self) -> str | None:
        """A reason to end the job, or None."""
        if self.rank != 0 and self.peers[0].is_gone:
            return killed_message(0)
        try:
            self._store.set(f"heartbeat/{self.rank}", json.dumps(asdict(self._heartbeat())))
            end = self._store.get(END)
            if end is not None and json.loads(end)["rank"] != self.rank:
                self._exit(json.loads(end)["status"])
            reason = self._reason_to_end()
            self._answered = self._clock
            return reason
        except StoreError:
            silent = self._clock - self._answered
            if silent > self._timeout + 10 * PERIOD:
                return hang_message({}, {0: silent}, self._timeout)
            if silent > UNREACHABLE:
                return f"error: rank 0 on {self.peers[0].host} has not answered for {silent:.0f} s; check that machine, then {RESUME}"
            return None

    def _heartbeat(self) -> Heartbeat:
        self._beats += 1
        idle = self._clock - self._progress_at
        return heartbeat_of(self._beats, self._progress, idle, self._main_thread if idle > self._timeout / 2 else None)

    def _reason_to_end(self) -> str | None:
        """A process that was killed or hangs, as a message. Rank 0 checks all others, the others check rank 0."""
        others = [rank for rank in (range(len(self.peers)) if self.rank == 0 else [0]) if rank != self.rank]
        for rank in others:
            if self.peers[rank].is_gone and not self._store.has(f"done/{rank}") and not self._store.has(END):
                return killed_message(rank)
        heartbeats = {self.rank: self._heartbeat()}
        for rank in others:
            if (text := self._store.get(f"heartbeat/{rank}")) is not None:
                heartbeats[rank] = Heartbeat(**json.loads(text))
                if heartbeats[rank].count != self._heard[rank][0]:
                    self._heard[rank] = heartbeats[rank].count, self._clock
        silent = {rank: self._clock - self._heard[rank][1] for rank in others}
        limit = self._timeout if self.rank == 0 else self._timeout + 10 * PERIOD  # rank 0 sees all, so it decides if it can
        if max(heartbeats[self.rank].idle_seconds, *silent.values(), 0.0) > limit:
            return hang_message(heartbeats, {rank: seconds for rank, seconds in silent.items() if seconds > limit / 2}, self._timeout)
        return None

    def _is_speaker(self, status: int) -> bool:
        """True if this process is the first to end the job, and therefore prints the message."""
        try:
            return self._store.set_once(END, json.dumps({"rank": self.rank, "status": status}))
        except StoreError:  # nobody can be asked: the lowest living rank that does not hold the store
            return self.rank == next((rank for rank, peer in enumerate(self.peers) if rank > 0 and not peer.is_gone), self.rank)

    def _print_last(self, message: str) -> None:
        """Prints below a progress bar, and silences this process: a main thread that lost its peers fails with misleading errors."""
        print_last(("\n" if self._timeout < float("inf") else "") + message.rstrip())
        if len(self.peers) > 1:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            time.sleep(GRACE)

    def _exit(self, status: int) -> NoReturn:
        """Exits without waiting for the main thread, which may hang."""
        try:
            self.before_exit(status)
            BestEffort(sys.stdout).flush()
        finally:
            os._exit(status)


_current: Watchdog | None = None


def set_current(watchdog: Watchdog) -> Watchdog:
    global _current
    _current = watchdog
    return watchdog


def current() -> Watchdog | None:
    """This process's watchdog; None before the processes have started."""
    return _current
