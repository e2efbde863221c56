"""A stop that is asked for."""

import json
import os
import signal

import pytest

from emotion_llm.runtime.stopping import MARKER, SIGNALS, StopRequest, leave_marker


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_leaves_a_note_and_ends_nothing(number):
    with StopRequest() as stop:
        assert stop.reason is None
        os.kill(os.getpid(), number)
        assert stop.reason == signal.Signals(number).name
        os.kill(os.getpid(), signal.SIGTERM)  # ranks may be told twice
        assert stop.reason == signal.Signals(number).name


def test_a_second_ctrl_c_ends_at_once():
    with StopRequest(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_afterwards_signals_mean_what_they_meant_before():
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_that_was_ignored_before_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.reason is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_only_where_everything_is_saved_a_process_may_leave_at_once():
    stop = StopRequest()
    stop.ask("SIGTERM")
    assert stop.may_leave() is None
    stop.nothing_to_lose = True
    assert stop.may_leave() == "stopped by SIGTERM; everything is saved"


def test_the_marker_tells_a_job_script_to_start_again(tmp_path):
    leave_marker(tmp_path, 7, "SIGUSR1")
    marker = json.loads((tmp_path / MARKER).read_text())
    assert (marker["step"], marker["stopped_by"]) == (7, "SIGUSR1")
