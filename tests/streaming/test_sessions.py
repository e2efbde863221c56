"""Streams: bounded delay, and no answer is lost by slow readers, gaps, malformed frames or a source that vanishes."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import emotion_llm
from emotion_llm.inference.recordings import ReadingChoices
from emotion_llm.motion.layout import read_layout
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.processes import free_port
from emotion_llm.streaming.connections import Inbox, Outbox, open_source
from emotion_llm.streaming.session import run_session
from emotion_llm.streaming.stream import Stream
from tests.helpers.motion_examples import moving_body

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(description_run):
    return emotion_llm.load(description_run)


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """Six seconds of a Kinect's frames."""
    motion = moving_body(read_layout("kinect_v2_25"), seconds=179 / 30)
    return [json.dumps({"time": 100 + index / 30, "positions": frame.tolist()}) for index, frame in enumerate(motion.positions)]


def session(model, given: list, *, live: bool = False, output: Path | None = None, stdout=None, **options) -> tuple:
    inbox, stdout = Inbox(live), stdout or io.StringIO()
    for line in given:
        inbox.put(line)
    inbox.close()
    tally = run_session(inbox, Stream(model, ReadingChoices(), **options), Outbox(stdout, output), live, timeout=5)
    answers = [json.loads(line) for line in stdout.getvalue().splitlines()] if isinstance(stdout, io.StringIO) else []
    return tally, answers


def test_a_recording_is_answered_every_second_and_at_its_end(model, lines):
    tally, answers = session(model, lines)
    assert [round(answer["seconds"], 1) for answer in answers] == [100.5, 101.5, 102.5, 103.5, 104.5, 105.5, 106.0]
    assert tally.lines == 180
    assert tally.skipped == tally.malformed == 0
    assert not tally.silent
    assert answers[0]["explanation"] is not None
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_a_streams_first_answer_is_that_of_the_same_frames_as_an_array(model, lines):
    _, answers = session(model, lines[:64], every=100.0)
    positions = np.array([json.loads(line)["positions"] for line in lines[:16]])
    expected = model.read(positions, 30.0)
    assert answers[0]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    assert answers[0]["explanation"] == expected.explanation


def test_a_live_stream_skips_moments_but_answers_the_newest_frame(model, lines):
    _, answers = session(model, lines, live=True)
    assert len(answers) == 1
    assert answers[0]["seconds"] == pytest.approx(100 + 179 / 30)


def test_malformed_frames_and_gaps_cost_no_answer(model, lines):
    dirty = []
    for index, line in enumerate(lines):
        dirty += [line] + [b"\xff", "{}", lines[max(0, index - 5)]] * (index % 7 == 0)
    tally, answers = session(model, dirty)
    _, clean = session(model, lines)
    assert tally.malformed == 78
    assert sum(answer["malformed"] for answer in answers) <= 78
    assert [answer["probabilities"] for answer in answers] == [answer["probabilities"] for answer in clean]
    tally, answers = session(model, lines[:60] + lines[90:])
    assert {round(answer["seconds"], 1) for answer in answers} >= {100.5, 101.5, 103.5, 104.5, 105.5}


def test_a_window_that_cannot_be_read_is_reported_and_the_stream_goes_on(model, lines, capsys):
    blind = [json.dumps(record | {"positions": [[None] * 3] * 25}) for record in map(json.loads, lines[60:120])]
    _, answers = session(model, lines[:60] + blind + lines[120:])
    assert answers[-1]["seconds"] == pytest.approx(100 + 179 / 30)
    assert "no answer: stream at" in capsys.readouterr().err


class SlowReader(io.StringIO):
    def write(self, text):
        time.sleep(0.2)
        return super().write(text)


class GoneReader(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_a_slow_reader_gets_every_answer(model, lines):
    slow = SlowReader()
    _, fast = session(model, lines)
    _, answers = session(model, lines, stdout=slow)
    assert [answer["seconds"] for answer in answers] == [answer["seconds"] for answer in fast]


def test_an_answer_is_in_the_file_before_anybody_reads_it(tmp_path):
    slow = SlowReader()
    outbox = Outbox(slow, tmp_path / "answers.jsonl")
    outbox.write("{}")
    assert (tmp_path / "answers.jsonl").read_text() == "{}\n"
    outbox.close()
    assert slow.getvalue() == "{}\n"


def test_answers_survive_a_reader_that_is_gone_in_the_file(model, lines, tmp_path):
    session(model, lines, stdout=GoneReader(), output=tmp_path / "answers.jsonl")
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 7
    tally, _ = session(model, lines * 20, stdout=GoneReader())
    assert len(tally.delays) < 100  # nobody will see an answer: it ends


def test_a_source_that_falls_silent_ends_the_session_with_what_it_gave(model, lines):
    inbox, stdout = Inbox(live=True), io.StringIO()
    for line in lines[:40]:
        inbox.put(line)
    tally = run_session(inbox, Stream(model, ReadingChoices()), Outbox(stdout, None), True, timeout=0.5)
    assert tally.silent
    assert "the source has fallen silent" in tally.text()
    assert len(stdout.getvalue().splitlines()) == 1


def test_waiting_lines_are_bounded():
    live = Inbox(live=True)
    for index in range(10_005):
        live.put(str(index))
    taken = live.take(0)
    assert len(taken) == 10_000
    assert taken[-1][0] == "10004"
    patient = Inbox(live=False)
    thread = threading.Thread(target=lambda: [patient.put(str(index)) for index in range(10_005)], daemon=True)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()  # the source waits
    assert len(patient.take(0)) + len(patient.take(1)) == 10_005


def test_frames_arrive_by_udp_and_by_websocket(lines):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    port = free_port()
    inbox, stop = open_source(f"udp:{port}", live=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(lines[0].encode(), ("127.0.0.1", port))
    assert inbox.take(5)[0][0] == lines[0].encode()
    with pytest.raises(UserError, match=rf"--source udp:{port}: cannot listen on 127.0.0.1, port {port} \(.*\); choose another port"):
        open_source(f"udp:{port}", live=True)
    stop()
    port = free_port()
    inbox, stop = open_source(f"websocket:{port}", live=True)
    with connect(f"ws://127.0.0.1:{port}") as client:
        client.send(lines[0])
        client.send("x" * 2_000_000)  # too large: the connection is closed, the server goes on
    assert inbox.take(5)[0][0] == lines[0]
    with connect(f"ws://127.0.0.1:{port}") as client:
        client.send(lines[1])
        assert inbox.take(5)[0][0] == lines[1]
    with pytest.raises(InvalidStatus):  # a page in a browser
        connect(f"ws://127.0.0.1:{port}", origin="http://example.org")
    stop()


def test_a_source_that_is_none_is_refused():
    for word in ("tcp:9000", "udp:", "udp:99999", "websocket:x"):
        with pytest.raises(UserError, match=rf"--source {word}: give - for standard input, udp:PORT or websocket:PORT"):
            open_source(word, live=True)


@pytest.mark.slow
def test_the_program_reads_standard_input_and_prints_json_lines_alone(lines, description_run, tmp_path):
    done = subprocess.run(
        [sys.executable, "launch/stream.py", "--run", str(description_run), "--no-live", "--output", str(tmp_path / "a.jsonl")],
        input="\n".join([*lines, "no frame"]), capture_output=True, text=True, cwd=ROOT, env=os.environ, timeout=200, check=True,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 7
    assert (tmp_path / "a.jsonl").read_text() == done.stdout
    assert "181 lines, 1 malformed; 7 answers, delay p50" in done.stderr
