"""Frames of a stream: read or refused with a reason, in a window of bounded size at an even rate."""

import json

import numpy as np
import pytest

from emotion_llm.motion.layout import read_layout
from emotion_llm.streaming import frames
from emotion_llm.streaming.frames import Frame, MalformedFrame, SlidingWindow, parse_frame

KINECT = read_layout("kinect_v2_25")
LAYOUTS = {KINECT.name: KINECT}


def frame(seconds: float, joints: int = 25) -> Frame:
    return Frame(seconds, np.full((joints, 3), seconds))


def test_joints_by_name_come_in_the_layouts_order():
    named = {name: [float(index), 0, 0] for index, name in enumerate(KINECT.joint_names)}
    shuffled = dict(sorted(named.items()))
    found = parse_frame(json.dumps({"time": 1, "joints": shuffled}), LAYOUTS)
    assert found.seconds == 1
    np.testing.assert_array_equal(found.positions[:, 0], np.arange(25))


def test_a_missing_coordinate_is_nan():
    assert np.isnan(parse_frame('{"positions": [[null, 0, 1]]}', LAYOUTS).positions[0, 0])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "no frame such as"),
        (b"\xff\xfe", "no frame such as"),
        ("[1, 2]", "no frame such as"),
        ("{}", "no frame such as"),
        ("[" * 100_000, "no frame such as"),
        ('{"positions": [[1, 2], [3, 4]]}', r"positions of shape \(2, 2\)"),
        ('{"positions": [[1, 2, "x"]]}', "no frame such as"),
        ('{"positions": []}', "positions of shape"),
        ('{"positions": [[1, 2, 3]], "time": "now"}', "time is now; give seconds"),
        ('{"positions": [[1, 2, 3]], "time": NaN}', "time is nan; give seconds"),
        ('{"joints": {"Head": [1, 2, 3]}}', "its 1 joints are those of none of the layouts kinect_v2_25"),
        (" " * 1_000_001, "a line of more than 1,000,000 bytes"),
    ],
)
def test_a_line_that_is_no_frame_says_why(line, reason):
    with pytest.raises(MalformedFrame, match=reason):
        parse_frame(line, LAYOUTS)


def test_the_window_holds_the_last_seconds_whatever_the_rate(monkeypatch):
    for rate in (15, 30, 120):
        window = SlidingWindow(2.0, 30.0)
        for index in range(5 * rate):
            window.add(frame(index / rate))
        assert window.duration == pytest.approx(2, abs=1 / rate)
        assert window.now == pytest.approx(5 - 1 / rate)
    monkeypatch.setattr(frames, "MAX_FRAMES", 50)
    window = SlidingWindow(2.0, 30.0)
    for index in range(1000):
        window.add(frame(index / 1000))
    assert len(window.times) == len(window.positions) == 50


def test_frames_at_uneven_times_come_out_evenly_and_at_their_times():
    random = np.random.default_rng(0)
    window = SlidingWindow(2.0, 30.0)
    for seconds in np.cumsum(random.uniform(0.01, 0.06, 300)):
        window.add(frame(float(seconds)))
    positions, rate = window.even()
    np.testing.assert_allclose(np.diff(positions[:, 0, 0]), 1 / rate)
    assert positions[-1, 0, 0] == pytest.approx(window.now)


def test_after_a_gap_or_a_jump_of_the_clock_the_window_starts_again():
    for jump in (0.6, 100, -100):
        window = SlidingWindow(2.0, 30.0)
        for index in range(30):
            assert window.add(frame(index / 30)) is None
        assert "from one frame to the next: the window starts again" in window.add(frame(29 / 30 + jump))
        assert len(window.times) == 1


def test_frames_out_of_order_and_of_other_joints_are_left_out():
    window = SlidingWindow(2.0, 30.0)
    window.add(frame(1.0))
    for seconds in (1.0, 0.9):
        with pytest.raises(MalformedFrame, match="is not later than 1, that of the frame before"):
            window.add(frame(seconds))
    with pytest.raises(MalformedFrame, match="24 joints after frames of 25"):
        window.add(frame(1.1, joints=24))
    assert list(window.times) == [1.0]


def test_frames_without_a_time_count_at_the_rate_given():
    window = SlidingWindow(2.0, 20.0)
    for _ in range(21):
        window.add(Frame(None, np.zeros((25, 3))))
    assert window.duration == pytest.approx(1.0)
