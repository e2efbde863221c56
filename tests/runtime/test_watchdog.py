"""Who is behind, who is gone, and whose words are the last."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch

from emotion_llm.runtime import watchdog as watching
from emotion_llm.runtime.launcher import Peer, is_alive, launchers
from emotion_llm.runtime.watchdog import PHASES, Heartbeat, Progress, TimedStore, Watchdog, hang_message, heartbeat_of


def sign(place: tuple[int, int, int], in_collective: bool = False, stack: str = "") -> Heartbeat:
    return Heartbeat(1, place, 60.0, in_collective, stack)


def test_the_rank_at_the_earlier_place_is_behind():
    words = hang_message({0: sign((7, 0, 2)), 1: sign((7, 0, 0), stack="  File x\n"), 2: sign((7, 0, 2))}, {}, 60)
    assert words == (
        "error: no progress for 60 s (--hang-timeout-seconds); waiting for rank 1 at step 7, micro-step 0, data; the others "
        "are at step 7, micro-step 0, backward\nstack of rank 1:\n  File x\nrun the same command again to resume from the newest checkpoint"
    )


def test_of_two_at_one_place_the_one_that_waits_for_nobody_is_behind():
    words = hang_message({0: sign((7, 0, 2), in_collective=True), 1: sign((7, 0, 2), in_collective=False)}, {}, 60)
    assert "waiting for rank 1 at step 7, micro-step 0, backward; the others are" in words


def test_where_all_wait_for_one_another_the_network_is_suspected():
    words = hang_message({0: sign((7, 0, 2), in_collective=True), 1: sign((7, 0, 2), in_collective=True)}, {}, 60)
    assert "all ranks are at step 7, micro-step 0, backward; check the network" in words


def test_a_rank_without_any_sign_of_life_is_behind():
    words = hang_message({0: sign((7, 0, 2)), 1: sign((7, 0, 2))}, {1: 75.4}, 60)
    assert "waiting for rank 1 (no heartbeat for 75 s)" in words


def test_places_follow_one_another_as_a_step_does():
    order = [Progress(1, 1, 5), Progress(2, 0, 0), Progress(2, 0, 1), Progress(2, 1, 0), Progress(3, 0, 0)]
    assert order == sorted(order)
    assert str(Progress(2, 1, PHASES.index("backward"))) == "step 2, micro-step 1, backward"


def test_a_sign_tells_where_the_thread_stands():
    inside, may_end = threading.Event(), threading.Event()

    def stands_here():
        inside.set()
        may_end.wait()

    thread = threading.Thread(target=stands_here)
    thread.start()
    inside.wait()
    told = heartbeat_of(1, Progress(), 0.0, thread.ident)
    may_end.set()
    thread.join()
    assert "stands_here" in told.stack
    assert not told.in_collective
    assert heartbeat_of(1, Progress(), 0.0, None).stack == ""


def test_an_ended_process_is_gone_even_before_its_parent_has_noticed():
    child = subprocess.Popen([sys.executable, "-c", ""])
    peer = replace(Peer.this(), pid=child.pid)
    deadline = time.monotonic() + 20
    while not peer.is_gone:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.wait()
    assert peer.is_gone
    assert not Peer.this().is_gone
    assert is_alive(os.getpid())
    assert not replace(peer, machine="another").is_gone  # nothing is known of it


def test_started_by_hand_there_is_no_launcher():
    assert launchers() == ()


class Ended(BaseException):
    def __init__(self, status: int) -> None:
        self.status = status


@pytest.fixture
def two(monkeypatch):
    """The watches of two ranks in one process, looked through by hand; an end is an exception."""

    def end(status: int) -> None:
        raise Ended(status)

    monkeypatch.setattr(watching.os, "_exit", end)
    monkeypatch.setattr(watching.os, "dup2", lambda *_: None)
    monkeypatch.setattr(watching.time, "sleep", lambda _: None)
    monkeypatch.setattr(watching.Watchdog, "_watch", lambda self: None)
    store = torch.distributed.HashStore()
    return [Watchdog(store, rank, [Peer.this(), Peer.this()]) for rank in (0, 1)]


def expecting(watch: Watchdog, seconds: float):
    return watch.expecting_progress(seconds, lambda: None, lambda: None, lambda status: None)


def test_of_two_that_fail_one_is_heard_and_both_end(two, capsys):
    for watch, words in zip(two, ("the first error", "the second error"), strict=True):
        with pytest.raises(Ended) as ended:
            watch.end(words, 2)
        assert ended.value.status == 2
    assert capsys.readouterr().err == "the first error\n"


def test_the_others_leave_without_a_word_and_bring_their_files_to_an_end(two, capsys):
    with pytest.raises(Ended):
        two[1].end("the true error", 1)
    seen = []
    with two[0].expecting_progress(60, lambda: None, lambda: None, seen.append), pytest.raises(Ended) as ended:
        two[0]._check()
    assert ended.value.status == 1
    assert seen == [1]
    assert capsys.readouterr().err == "the true error\n"


def test_a_rank_that_is_gone_is_named(two):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone = replace(Peer.this(), pid=child.pid)
    two[0].peers = [Peer.this(), gone]
    assert two[0]._check().startswith("error: rank 1 was killed, by a signal or because the machine ran out of memory; run the same")
    two[1].peers = [gone, Peer.this()]
    assert two[1]._check().startswith("error: rank 0 was killed")


def test_a_rank_that_is_done_may_be_gone(two):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    two[0].peers = [Peer.this(), replace(Peer.this(), pid=child.pid)]
    two[0]._store.set("done/1", "")
    assert two[0]._check() is None


def test_as_long_as_there_is_progress_nothing_happens_and_then_the_one_behind_is_named(two):
    with expecting(two[0], 0.2), expecting(two[1], 0.2):
        for watch, phase in zip(two, ("backward", "data"), strict=True):
            watch.at(3, 0, phase)
        assert [watch._check() for watch in (two[1], two[0])] == [None, None]
        two[0]._clock += 0.3
        two[1]._clock += 0.3
        two[1]._check()
        words = two[0]._check()
        assert "waiting for rank 1 at step 3, micro-step 0, data; the others are at step 3, micro-step 0, backward" in words
        two[0].at(3, 0, "optimizer")
        two[1].at(3, 0, "optimizer")
        assert [watch._check() for watch in (two[1], two[0])] == [None, None]


def test_without_expecting_progress_a_long_wait_is_no_hang(two):
    two[0]._clock += 10_000
    assert two[0]._check() is None


def test_a_machine_that_does_not_answer_is_named_after_a_while(two, monkeypatch):
    class Silent:
        def set(self, *_):
            raise RuntimeError("Broken pipe")

    two[1]._store, two[1].peers = TimedStore(Silent()), [Peer("node7", 1, "another"), Peer.this()]
    assert two[1]._check() is None
    two[1]._clock += 61
    assert (
        two[1]._check().startswith("error: rank 0 on node7 has not answered for 61 s; check that machine, then run the same command again")
    )


def test_a_frozen_rank_0_does_not_block_the_others_and_one_of_them_names_it(two, monkeypatch, capsys):
    class Frozen:
        def __getattr__(self, name):
            return lambda *_: may_end.wait()

    may_end = threading.Event()
    monkeypatch.setattr(watching, "STORE_TIMEOUT", 0.05)
    two[1]._store = TimedStore(Frozen())
    with expecting(two[1], 8):
        assert two[1]._check() is None
        two[1]._clock += 19
        words = two[1]._check()
        assert words.startswith("error: no progress for 8 s (--hang-timeout-seconds); waiting for rank 0 (no heartbeat for 19 s)")
        with pytest.raises(Ended):
            two[1].end(words, 1)
    may_end.set()
    assert "waiting for rank 0" in capsys.readouterr().err


def test_a_killed_rank_0_is_named_at_once_although_its_store_ended_with_it(two):
    class Lost:
        def __getattr__(self, name):
            def call(*_):
                raise RuntimeError("connection lost")

            return call

    two[1]._store = TimedStore(Lost())
    assert two[1]._check() is None
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    two[1].peers = [replace(Peer.this(), pid=ended.pid), Peer.this()]
    assert two[1]._check().startswith("error: rank 0 was killed")


def test_neither_a_suspended_job_nor_a_clock_that_jumps_by_days_is_a_hang(two, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10 * 86_400)
    with expecting(two[0], 60):
        for _ in range(3):
            two[0]._checked -= 10 * 86_400  # as after SIGSTOP and SIGCONT
            two[0]._tick()
        assert two[0]._check() is None


def test_after_the_work_a_long_wait_is_no_hang(two):
    with expecting(two[0], 8):
        two[0].at(1, 0, "data")
    two[1]._check()
    two[0]._clock += 1000
    two[0]._heard = {0: (0, 1000.0), 1: (0, 1000.0)}
    assert two[0]._check() is None


@pytest.mark.parametrize(("file", "waits"), [("/lib/torch/distributed/c10d.py", True), ("/lib/torch/nn/linear.py", False)])
def test_a_thread_inside_torchs_collectives_waits_for_others(file, waits):
    names = {}
    exec(compile("def call(function): return function()", file, "exec"), names)
    assert names["call"](lambda: heartbeat_of(1, Progress(), 60.0, threading.get_ident())).in_collective is waits
