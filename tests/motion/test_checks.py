"""Suspicions about a recording: each fault is found, and nothing is found without a fault."""

from dataclasses import replace

import numpy as np
import pytest

from emotion_llm.motion.canonical import to_motion
from emotion_llm.motion.checks import UNITS, check_clip
from emotion_llm.motion.layout import read_layout
from emotion_llm.motion.motion import Motion
from emotion_llm.motion.reading import read_motion_file
from tests.helpers.motion_examples import moving_body

LAYOUTS = ("kdae_72", "emilya_28", "kinect_v2_25", "bandai_namco_27")


@pytest.fixture(params=LAYOUTS)
def motion(request) -> Motion:
    return moving_body(read_layout(request.param), seconds=3, rate=60.0)


def changed(motion: Motion, positions: np.ndarray) -> Motion:
    return replace(motion, positions=positions)


def kinds(motion: Motion) -> list[str]:
    return [finding.split(":")[0] for finding in check_clip(motion)]


def test_a_sound_recording_raises_no_suspicion(motion):
    assert check_clip(motion) == []
    assert check_clip(changed(motion, motion.positions * 0.65)) == []  # a child
    assert check_clip(changed(motion, motion.positions + np.array([5, -3, 2]))) == []


def test_a_sensors_noise_raises_no_suspicion():
    rng = np.random.default_rng(0)
    for _ in range(20):
        motion = moving_body(read_layout("kinect_v2_25"), seconds=4)
        assert check_clip(changed(motion, motion.positions + 0.01 * rng.normal(size=motion.positions.shape))) == []


def test_frozen_recordings_are_found(motion):
    still = np.repeat(motion.positions[:1], 90, axis=0)
    assert check_clip(changed(motion, still)) == ["frozen: nothing moves in the whole recording; leave it out"]
    stuck = np.concatenate([motion.positions[:50], np.repeat(motion.positions[50:51], 90, axis=0), motion.positions[50:]])
    assert check_clip(changed(motion, stuck)) == ["frozen: nothing moves for 1.5 s from frame 50 on; cut that out"]


def test_teleporting_joints_are_found(motion):
    layout = motion.layout
    wrist = layout.landmarks["left_wrist"]
    for frames in (slice(80, 81), slice(80, None)):  # there and back; for good
        positions = motion.positions.copy()
        positions[frames, wrist] += (0.5, 0.3, 0)
        found = check_clip(changed(motion, positions))
        assert any(
            finding.startswith(f"teleporting: '{layout.joint_names[wrist]}' jumps 0.") and "to frame 8" in finding for finding in found
        )
    positions = motion.positions.copy()
    positions[100:] += 1.0  # the whole body
    assert any("jumps 1.7" in finding and f"{layout.joints} joints jump" in finding for finding in check_clip(changed(motion, positions)))


def test_missing_values_are_told(motion):
    positions = motion.positions.copy()
    positions[10:15, 3] = np.nan
    positions[10:12, 4, 1] = np.inf
    name = motion.layout.joint_names[3]
    assert check_clip(changed(motion, positions)) == [
        f"missing: 2 joints have missing values, '{name}' most, in 5 of 181 frames; short gaps are filled"
    ]
    positions[1:] = np.nan
    assert check_clip(changed(motion, positions))[-1] == "short: 1 complete frames; leave the recording out"
    assert kinds(changed(motion, positions * np.nan)) == ["missing", "short"]


def test_bones_that_change_their_length_are_found(motion):
    positions, elbow = motion.positions.copy(), motion.layout.landmarks["right_elbow"]
    parent = motion.layout.parents[elbow]
    stretch = 1 + 0.4 * np.sin(np.arange(len(positions)) / 8)[:, None]
    positions[:, elbow] = positions[:, parent] + stretch * (positions[:, elbow] - positions[:, parent])
    found = [finding for finding in check_clip(changed(motion, positions)) if finding.startswith("bones")]
    assert len(found) == 1 and "change length" in found[0]


@pytest.mark.parametrize("true", [1.0, 0.01, 0.001, 0.0254, 0.3048, 0.0564])
@pytest.mark.parametrize("said", [1.0, 0.01, 0.001])
def test_a_wrong_unit_is_found_with_the_right_one_and_hides_no_other_fault(motion, true, said):
    wrong = replace(motion, positions=motion.positions / true * said, metres_per_unit=said)
    if 0.55 < said / true < 1.6:
        assert check_clip(wrong) == []
        return
    (found,) = check_clip(wrong)
    assert found.startswith(f"unit: with metres_per_unit {said:g} the body has {said / true:.3f} times a human's size")
    assert f"metres_per_unit {true:g} ({UNITS[true]})" in found and found.endswith("would fit")
    assert "upside down" in kinds(changed(wrong, -wrong.positions))


def test_a_size_that_no_unit_explains_and_no_size_at_all_are_found(motion):
    assert check_clip(changed(motion, motion.positions * 1e6))[0].endswith("no usual unit fits; check the layout")
    assert check_clip(changed(motion, motion.positions * 0))[0].startswith("unit: the body has no size")


def test_a_body_upside_down_or_along_another_axis_is_found(motion):
    x, y, z = np.moveaxis(motion.positions, 2, 0)
    assert check_clip(changed(motion, np.stack([x, -y, -z], axis=2))) == [
        "upside down: the head is below the feet; set up to the axis that points up, such as -y"
    ]
    (found,) = check_clip(changed(motion, np.stack([x, -z, y], axis=2)))
    assert found.startswith("lying: the body lies along the z axis")
    (found,) = check_clip(changed(motion, np.stack([y, -x, z], axis=2)))
    assert found.startswith("lying: the body lies along the x axis")


def test_swapped_sides_are_found(motion):
    found = check_clip(changed(motion, motion.positions * (-1, 1, 1)))
    assert found == ["mirrored: the feet point backwards; left and right are swapped, or the axes are left-handed: set handedness to left"]


@pytest.mark.real
def test_no_real_clip_raises_a_suspicion(real_archives):
    layout = read_layout("bandai_namco_27")
    paths = [path for paths in real_archives.values() for path in paths]
    findings = {path.name: check_clip(to_motion(read_motion_file(path), layout, 0.01, "y", None, path.name)) for path in paths}
    assert len(findings) == 804 and {name: found for name, found in findings.items() if found} == {}
