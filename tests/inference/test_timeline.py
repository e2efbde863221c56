"""Long recordings: windows cover them, curves stay probabilities, segments follow each other, short ones are not split off."""

from itertools import pairwise

import numpy as np
import pytest

import emotion_llm
from emotion_llm.inference.prediction import PredictSettings, predict
from emotion_llm.inference.timeline import segment, smooth, window_starts
from emotion_llm.motion.canonical import to_motion
from emotion_llm.motion.layout import read_layout
from emotion_llm.motion.reading import read_motion_file
from emotion_llm.runtime.errors import UserError


def test_windows_cover_every_recording():
    for frames in range(1, 200, 7):
        starts = window_starts(frames, 64, 30)
        assert starts[0] == 0
        assert starts[-1] + 64 == max(frames, 64)
        assert all(0 < after - before <= 30 for before, after in pairwise(starts))


def test_a_smoothed_curve_stays_a_probability_and_moves_less():
    random = np.random.default_rng(0)
    seconds, curve = np.arange(60.0), random.dirichlet(np.ones(4), 60)
    smoothed = smooth(seconds, curve)
    np.testing.assert_allclose(smoothed.sum(1), 1)
    assert np.abs(np.diff(smoothed, axis=0)).mean() < np.abs(np.diff(curve, axis=0)).mean() / 2
    np.testing.assert_allclose(smooth(seconds[:1], curve[:1]), curve[:1])


def test_segments_follow_each_other_and_short_ones_join_the_likelier_neighbour():
    seconds = np.arange(12.0)
    curve = np.full((12, 3), 0.2)
    curve[:5, 0], curve[5:6, 2], curve[6:, 1] = 0.8, 0.9, 0.8
    curve[5, 1] = 0.5
    segments = segment(seconds, curve, 0.0, 12.0)
    assert segments == [(0.0, 4.5, 0), (4.5, 12.0, 1)]
    assert segment(seconds[:1], curve[:1], 0.0, 2.0) == [(0.0, 2.0, 0)]


@pytest.fixture(scope="module")
def model(description_run):
    return emotion_llm.load(description_run)


@pytest.fixture(scope="module")
def long_motion(small_world, model):
    """Two clips, one after the other, in metres."""
    clips = sorted((small_world.raw / "emilya").rglob("*.bvh"))
    reading = model.conventions.corpora["emilya"]["reading"]
    motions = [
        to_motion(read_motion_file(clip), read_layout("emilya_28"), reading["metres_per_unit"], reading["up"], None, "clip")
        for clip in (clips[0], clips[-1])
    ]
    return np.concatenate([motion.positions for motion in motions]), motions[0].frames_per_second


def test_a_recording_of_one_window_gets_the_answer_of_a_clip(model, long_motion):
    positions, rate = long_motion
    record = model.encoder.record
    short = positions[: round(record.window_frames / record.frames_per_second * rate)]
    answer, timeline = model.read(short, rate), model.read_long(short, rate)
    (only,) = timeline.segments
    assert (only.emotion, only.explanation) == (answer.emotion, answer.explanation)
    assert dict(zip(timeline.emotions, timeline.probabilities[0], strict=True)) == pytest.approx(answer.probabilities, abs=2e-6)


def test_every_window_is_answered_as_a_clip_of_its_own_wherever_it_stands(model, long_motion):
    """A recording that is turned and moved as a whole, or continued, gets the same curve."""
    positions, rate = long_motion
    timeline = model.read_long(positions, rate)
    turned = positions[:, :, [2, 1, 0]] * (1, 1, -1) + (3, 0, 5)
    again = model.read_long(turned, rate)
    np.testing.assert_allclose(again.probabilities, timeline.probabilities, atol=1e-4)
    assert timeline.segments[0].start == 0
    assert timeline.segments[-1].end == pytest.approx(len(positions) / rate)
    assert all(before.end == after.start for before, after in pairwise(timeline.segments))
    assert all(part.explanation is not None for part in timeline.segments)
    longer = model.read_long(np.concatenate([positions, positions[::-1]]), rate, explanation=False)
    np.testing.assert_allclose(longer.probabilities[: len(timeline.probabilities) - 1], timeline.probabilities[:-1], atol=1e-5)


def test_parts_that_cannot_be_read_are_left_out_and_named(model, long_motion):
    positions, rate = long_motion
    damaged = positions.copy()
    damaged[: round(2.5 * rate), 3] = np.nan
    timeline = model.read_long(damaged, rate, explanation=False)
    assert len(timeline.seconds) < len(model.read_long(positions, rate, explanation=False).seconds)
    assert any("windows cannot be read, the first: array from 0.0 s: joint" in finding for finding in timeline.findings)
    damaged[:, 3] = np.nan
    with pytest.raises(UserError, match=r"array from 0.0 s: joint .* is missing"):
        model.read_long(damaged, rate)


def test_predict_prints_and_stores_timelines(small_world, description_run, tmp_path, capsys):
    clip = sorted((small_world.raw / "emilya").rglob("*.bvh"))[0]
    assert predict(PredictSettings((str(clip),), run=description_run, long=True)) == 0
    printed = capsys.readouterr().out
    assert f"{clip}:\n" in printed
    assert "0.0 - " in printed
    settings = PredictSettings((str(clip),), run=description_run, long=True, output=tmp_path / "a.jsonl")
    assert predict(settings) == 0
    assert '"segments"' in (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert predict(settings) == 0
    assert "1 of 1 clips are answered already" in capsys.readouterr().out
