"""Recordings that cannot be used are told from unusual ones."""

from dataclasses import replace

import numpy as np
import pytest

from emotion_llm.corpus.definition import read_definition
from emotion_llm.motion.canonical import to_motion
from emotion_llm.motion.checks import gross_failure
from emotion_llm.motion.layout import read_layout
from emotion_llm.motion.motion import Motion
from emotion_llm.motion.reading import read_motion_file
from emotion_llm.synthetic.corpora import write_egbm


@pytest.fixture(scope="module")
def motion(tmp_path_factory) -> Motion:
    folder = tmp_path_factory.mktemp("egbm")
    write_egbm(folder, clips_per_emotion=1, seed=0)
    path = min(folder.glob("*_*_*.csv"))
    definition = read_definition("egbm")
    recorded = read_motion_file(path, definition.columns)
    return to_motion(recorded, definition.layout, definition.metres_per_unit, definition.up, definition.frames_per_second, place=path.name)


def test_a_recording_without_faults_can_be_used_in_any_unit_and_anywhere(motion):
    assert gross_failure(motion) is None
    assert gross_failure(replace(motion, positions=motion.positions * 100)) is None  # a wrong unit is another finding
    assert gross_failure(replace(motion, positions=motion.positions + np.array([500.0, 0, 0]))) is None


def test_a_reference_point_above_the_pelvis_may_stay_at_the_origin():
    layout = read_layout("bandai_namco_27")
    assert layout.parents[layout.landmarks["pelvis"]] >= 0
    positions = np.random.default_rng(0).normal(size=(5, layout.joints, 3)) * 0.3 + np.array([20.0, 0, 0])
    positions[:, layout.parents[layout.landmarks["pelvis"]]] = 0
    assert gross_failure(Motion(layout, positions, 30.0)) is None


def test_a_value_that_stands_for_a_missing_one_is_named_with_its_joint_and_frame(motion):
    positions = motion.positions.copy()
    positions[3, 7, 1] = -99.99
    name = motion.layout.joint_names[7]
    assert f"'{name}' is 10" in gross_failure(replace(motion, positions=positions))
    assert "in frame 3; correct or cut" in gross_failure(replace(motion, positions=positions))


def test_a_jump_of_the_whole_body_by_metres_is_named_with_its_frame(motion):
    positions = motion.positions.copy()
    positions[10:] += np.array([4.0, 0, 0])
    assert "the body jumps 4.0 m to frame 10" in gross_failure(replace(motion, positions=positions))
