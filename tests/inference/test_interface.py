"""The Python interface: quick to import, without side effects, and the same answers from files and from arrays."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import emotion_llm
from emotion_llm.inference.recordings import ReadingChoices, fitting_motion
from emotion_llm.motion.canonical import to_motion
from emotion_llm.motion.layout import read_layout
from emotion_llm.motion.reading import read_motion_file
from emotion_llm.runtime.errors import UserError

_STATE = """
import json, logging, os, signal, sys, threading, time, warnings
def state():
    return json.dumps([list(map(str, warnings.filters)), threading.active_count(), [str(signal.getsignal(n)) for n in (2, 15)],
        logging.root.level, len(logging.root.handlers), sorted(logging.root.manager.loggerDict), dict(os.environ), str(sys.excepthook)])
before, begin = state(), time.perf_counter()
import emotion_llm
emotion_llm.Answer
seconds = time.perf_counter() - begin
print(json.dumps({"same": before == state(), "seconds": seconds, "torch": "torch" in sys.modules}))
"""


@pytest.fixture(scope="module")
def model(description_run):
    return emotion_llm.load(description_run)


def test_the_import_is_quick_and_changes_no_global_state():
    done = subprocess.run([sys.executable, "-c", _STATE], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["same"]
    assert not found["torch"]
    assert found["seconds"] < 1


def test_loading_and_reading_change_no_warning_filters_threads_or_signals(small_world, recognition_run):
    code = f"""
import warnings, signal, torch
import torch._dynamo, transformers.modeling_utils, peft  # libraries have side effects of their own
def state():
    return [list(map(str, warnings.filters)), torch.get_num_threads(), [str(signal.getsignal(n)) for n in (2, 15)],
        torch.distributed.is_initialized(), torch.get_default_dtype(), transformers.utils.logging.is_progress_bar_enabled()]
before = state()
import emotion_llm
answer = emotion_llm.load({str(recognition_run)!r}).read({str(next((small_world.raw / "emilya").rglob("*.bvh")))!r})
assert before == state(), (before, state())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
    assert done.stdout == ""


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        emotion_llm.nothing  # noqa: B018


def test_an_array_in_metres_is_answered_as_its_file(small_world, model):
    clip = next((small_world.raw / "emilya").rglob("*.bvh"))
    record = model.conventions.corpora["emilya"]["reading"]
    motion = to_motion(read_motion_file(clip), read_layout("emilya_28"), record["metres_per_unit"], record["up"], None, "clip")
    by_file, by_array = model.read(clip), model.read(motion.positions, motion.frames_per_second, "emilya_28")
    assert isinstance(by_file, emotion_llm.Answer)
    assert by_array.probabilities == by_file.probabilities
    assert by_array.explanation == by_file.explanation
    assert by_array.probabilities == model.read(motion.positions, motion.frames_per_second).probabilities  # 28 joints: only one layout
    assert model.read(clip, explanation=False).explanation is None


def test_arrays_that_cannot_be_read_say_why(model):
    positions = np.random.default_rng(0).normal(size=(60, 25, 3))
    with pytest.raises(UserError, match=r"array: its frame rate is missing; give frames_per_second"):
        model.read(positions)
    with pytest.raises(UserError, match=r"array: its shape is \(60, 75\); give positions as \(frames, joints, 3\)"):
        model.read(positions.reshape(60, 75), 30)
    with pytest.raises(UserError, match=r"layout 'smpl' is not known to the run; it knows kinect_v2_25, emilya_28"):
        model.read(positions, 30, "smpl")
    with pytest.raises(UserError, match=r"no training corpus has a layout of 24 joints; the run knows kinect_v2_25 \(25 joints\)"):
        model.read(positions[:, :24], 30)
    with pytest.raises(UserError, match=r"clip.bvh: a layout is named for arrays only"):
        model.read("clip.bvh", layout="emilya_28")


def test_an_array_that_fits_two_corpora_needs_the_name_of_one(model):
    corpora = model.conventions.corpora
    twice = replace(model.conventions, corpora={**corpora, "second": corpora["egbm"]})
    positions, choices = np.random.default_rng(0).normal(size=(60, 25, 3)), ReadingChoices(frames_per_second=30)
    with pytest.raises(UserError, match=r"array: fits several training corpora; say which it is like: --corpus egbm or --corpus second"):
        fitting_motion(positions, twice, choices)
    assert fitting_motion(positions, twice, replace(choices, corpus="second"))[0] == "second"


def test_a_choice_that_cannot_be_is_named(model):
    with pytest.raises(UserError, match=r"how to read it: field 'up' is 'w'; must be one of 'x', 'y', 'z'"):
        model.read("clip.bvh", up="w")
    with pytest.raises(UserError, match=r"field 'unit' is not a known field; known fields: corpus, frames_per_second"):
        model.read("clip.bvh", unit=0.01)


def test_an_unreadable_file_among_many_yields_its_reason(small_world, model, tmp_path):
    (tmp_path / "broken.bvh").write_text("HIERARCHY\nROOT")
    clip = next((small_world.raw / "emilya").rglob("*.bvh"))
    first, unread, last = model.read_many([clip, tmp_path / "broken.bvh", clip], explanation=False)
    assert isinstance(unread, emotion_llm.Unread)
    assert str(tmp_path / "broken.bvh") in unread.error
    assert first.probabilities == last.probabilities


def test_claims_are_held_against_the_movement_where_the_run_has_norms(small_world, model):
    clips = sorted((small_world.raw / "emilya").rglob("*.bvh"))[:6]
    verdicts = [model.judge("The movement is fast. The movement is slow.", model.open(clip)) for clip in clips]
    for fast, slow in verdicts:
        assert {fast.verdict, slow.verdict} in ({"supported", "contradicted"}, {"indeterminate"})
    assert any(fast.verdict != "indeterminate" for fast, _ in verdicts)
    assert replace(model, norms={}).judge("The movement is fast.", model.open(clips[0])) == ()


def test_attribution_is_given_on_request(small_world, model):
    clip = next((small_world.raw / "emilya").rglob("*.bvh"))
    assert model.read(clip, explanation=False).attribution is None
    weights = model.read(clip, explanation=False, attribution=True).attribution
    assert tuple(weights.joints) == read_layout("emilya_28").joint_names
    assert len(weights.seconds) == len(weights.moments) > 0
