"""Kinematic descriptors: known values on motions made by formula, and what must not change them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import savgol_filter

from emotion_llm.kinematics.descriptors import DESCRIPTORS, describe
from emotion_llm.kinematics.movement import Movement
from emotion_llm.motion.layout import LANDMARKS, known_layouts, read_layout
from emotion_llm.motion.motion import Motion
from tests.helpers.motion_examples import moving_body, turned

LAYOUT = read_layout("bandai_namco_27")
NAMES = list(DESCRIPTORS)


def described(motion: Motion) -> dict[str, float]:
    return dict(zip(NAMES, describe(motion), strict=True))


def statue(seconds: float = 3.0, rate: float = 30.0) -> Motion:
    """A body in a T-pose that faces +Z and does not move."""
    pose, pelvis = np.zeros((LAYOUT.joints, 3)), LAYOUT.landmarks["pelvis"]
    for joint in LAYOUT.parents_first:
        part, parent = LAYOUT.parts[joint], LAYOUT.parents[joint]
        direction = (0, 1, 0) if part in ("trunk", "head") else (1 if part.startswith("left") else -1, 0, 0)
        if part.endswith("leg") and parent != pelvis:
            direction = (0, -1, 0)
        pose[joint] = (pose[parent] if parent >= 0 else 0) + LAYOUT.bone_lengths[joint] * np.array(direction)
    return Motion(LAYOUT, np.repeat(pose[None], round(seconds * rate) + 1, axis=0), rate)


def moved(motion: Motion, path: np.ndarray) -> Motion:
    """The whole body moved along a path (T, 3) in metres."""
    return replace(motion, positions=motion.positions + path[:, None])


def with_landmark(motion: Motion, name: str, track: np.ndarray) -> Motion:
    """One landmark, and what coincides with it, on another track (T, 3)."""
    positions = motion.positions.copy()
    positions[:, LAYOUT.landmarks[name]] = track
    return replace(motion, positions=positions)


def mirrored(motion: Motion) -> Motion:
    order = list(range(motion.layout.joints))
    for left, right in motion.layout.mirror_pairs:
        order[left], order[right] = right, left
    return replace(motion, positions=motion.positions[:, order] * (-1, 1, 1))


def seconds_of(motion: Motion) -> np.ndarray:
    return np.arange(len(motion.positions)) / motion.frames_per_second


def test_a_body_that_glides_at_one_metre_per_second():
    body = statue()
    values = described(moved(body, np.outer(seconds_of(body), (0, 0, 1.0))))
    height = Movement(body).height
    for name in ("speed_mean", "speed_peak", "travel_speed"):
        assert values[name] * height == pytest.approx(1)
    assert values["path_straightness"] == pytest.approx(1)
    assert values["laban_weight"] * height**2 == pytest.approx(1)
    for name in ("acceleration_mean", "quantity_of_motion_mean", "hand_speed_mean", "turning_speed", "stillness", "cadence", "laban_flow"):
        assert values[name] == pytest.approx(0, abs=1e-6)


def test_a_body_on_a_circle_has_its_speed_and_centripetal_acceleration_and_gets_nowhere():
    body = statue(4.0)
    angle = 2 * np.pi * seconds_of(body) / 4  # once around in 4 s, radius 1 m
    values, height = described(moved(body, np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=1))), Movement(body).height
    assert values["speed_mean"] * height == pytest.approx(np.pi / 2, rel=0.01)
    assert values["acceleration_mean"] * height == pytest.approx((np.pi / 2) ** 2, rel=0.01)
    assert values["laban_flow"] * height == pytest.approx((np.pi / 2) ** 3, rel=0.02)
    assert values["path_straightness"] == pytest.approx(0, abs=0.01)


def test_a_still_body_is_still_upright_and_symmetric():
    values = described(statue())
    assert values["stillness"] == 1
    for name in ("trunk_lean_mean", "elbow_flexion_mean", "knee_flexion_mean", "posture_asymmetry_mean", "dimensionless_jerk"):
        assert values[name] == pytest.approx(0, abs=0.5)
    assert values["arm_opening_mean"] == pytest.approx(90, abs=1)
    assert values["hand_height_mean"] > 0


def test_a_bent_elbow_of_ninety_degrees_is_averaged_with_the_straight_one():
    body = statue()
    shoulder, elbow = (LAYOUT.landmark(body.positions, f"left_{name}") for name in ("shoulder", "elbow"))
    upper_arm = elbow - shoulder
    across = np.cross(upper_arm, (0.0, 1.0, 0.0))
    one = with_landmark(body, "left_wrist", elbow + across / np.linalg.norm(across[0]) * 0.25)
    straight = described(body)["elbow_flexion_mean"]
    assert 2 * described(one)["elbow_flexion_mean"] - straight == pytest.approx(90, abs=0.1)
    assert described(one)["posture_asymmetry_mean"] > 0.02


@pytest.mark.parametrize("degrees", [-20.0, 30.0])
def test_a_leaning_body_has_the_lean_of_its_angle(degrees):
    body, angle = statue(), np.radians(degrees)
    pitch = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])  # +Y towards +Z
    values = described(replace(body, positions=body.positions @ pitch.T))
    assert values["trunk_lean_mean"] == pytest.approx(degrees, abs=0.5)
    assert values["head_pitch_mean"] == pytest.approx(degrees, abs=0.5)
    assert values["head_angle_mean"] == pytest.approx(abs(degrees), abs=0.5)


def test_a_hand_that_swings_as_a_sinusoid():
    body, hertz, amplitude = statue(4.0), 1.0, 0.2
    track = LAYOUT.landmark(body.positions, "left_wrist") + np.outer(amplitude * np.sin(2 * np.pi * hertz * seconds_of(body)), (0, 1.0, 0))
    values, height = described(with_landmark(body, "left_wrist", track)), Movement(body).height
    mean = 4 * amplitude * hertz / height / 2  # of both hands, one still
    assert values["hand_speed_mean"] == pytest.approx(mean, rel=0.03)
    assert values["hand_asymmetry"] == pytest.approx(1, abs=0.01)
    assert values["range_of_motion_mean"] == pytest.approx(amplitude * 2 / np.pi / height / 4, rel=0.03)  # of four limbs, three still
    jerk = np.log1p((2 * np.pi * hertz) ** 4 / 2)  # D³ / v² · ∫ j² dt = ω⁴ / 2 in one second
    assert values["dimensionless_jerk"] == pytest.approx(jerk, rel=0.03)


def test_alternating_feet_give_cadence_and_stride():
    body, hertz, speed = statue(6.0), 0.9, 1.2
    walking = moved(body, np.outer(speed * seconds_of(body), (0, 0, 1.0)))
    for side, sign in (("left", 1), ("right", -1)):
        swing = np.outer(sign * 0.25 * np.sin(2 * np.pi * hertz * seconds_of(body)), (0, 0, 1.0))
        walking = with_landmark(walking, f"{side}_ankle", LAYOUT.landmark(walking.positions, f"{side}_ankle") + swing)
    values = described(walking)
    assert values["cadence"] == pytest.approx(2 * hertz * 60, rel=0.02)
    assert values["stride_length"] * Movement(walking).height == pytest.approx(speed / hertz, rel=0.03)
    both = 2 * 0.25 * 2 / np.pi / 4  # limbs that swing against each other do not cancel, and travel does not count
    assert values["range_of_motion_mean"] * Movement(walking).height == pytest.approx(both, rel=0.05)
    assert described(body)["cadence"] == described(body)["stride_length"] == 0


def test_a_straight_reach_is_more_direct_than_a_loop():
    body = statue(2.0)
    time = seconds_of(body)
    straight, loop = np.outer(0.3 * time, (0, 0, 1.0)), 0.1 * np.stack([np.cos(6 * time), np.sin(6 * time), 0 * time], axis=1)
    directness = []
    for path in (straight, loop):
        directness.append(described(with_landmark(body, "left_wrist", LAYOUT.landmark(body.positions, "left_wrist") + path))["laban_space"])
    assert directness[0] > directness[1] + 0.05


@pytest.mark.parametrize("layout", known_layouts())
def test_a_mirrored_motion_has_the_same_descriptors(layout):
    motion = moving_body(read_layout(layout), 3.0)
    np.testing.assert_allclose(describe(mirrored(motion)), describe(motion), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_the_size_of_the_body_changes_nothing(factor):
    motion = moving_body(LAYOUT, 3.0)
    np.testing.assert_allclose(describe(replace(motion, positions=motion.positions * factor)), describe(motion), rtol=1e-6, atol=1e-8)


def test_where_the_body_stands_and_faces_changes_nothing():
    motion = moving_body(LAYOUT, 3.0)
    np.testing.assert_allclose(
        describe(replace(motion, positions=turned(motion.positions, 1.0) + np.array((3, 1, -2)))), describe(motion), atol=1e-6
    )


def differences(one: Motion, other: Motion) -> dict[str, float]:
    """Relative change of each descriptor; those that are near 0 are measured against a tenth of their unit's usual size."""
    floors = {"deg": 2.0, "deg/s": 5.0, "1": 0.05, "share": 0.05, "heights": 0.01, "heights/s": 0.05, "heights/s2": 0.2}
    a, b = describe(one), describe(other)
    return {name: abs(x - y) / max(abs(x), floors.get(DESCRIPTORS[name], 1e-3)) for name, x, y in zip(DESCRIPTORS, a, b, strict=True)}


@pytest.mark.parametrize("layout", known_layouts())
def test_the_frame_rate_changes_each_descriptor_by_less_than_three_per_cent(layout):
    slow, fast = (moving_body(read_layout(layout), 4.0, rate) for rate in (30.0, 60.0))
    assert {name: value for name, value in differences(slow, fast).items() if value > 0.03} == {}


def test_a_millimetre_of_noise_changes_each_descriptor_by_less_than_ten_per_cent():
    motion = moving_body(LAYOUT, 4.0)
    noise = np.random.default_rng(0).normal(0, 1e-3, motion.positions.shape)
    changed = differences(motion, replace(motion, positions=motion.positions + noise))
    assert {name: value for name, value in changed.items() if value > 0.1} == {}


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 8])
def test_a_clip_shorter_than_the_filter_still_has_finite_descriptors(frames):
    motion = moving_body(LAYOUT, 1.0)
    assert np.isfinite(describe(replace(motion, positions=motion.positions[:frames]))).all()


def test_a_collapsed_body_has_finite_descriptors():
    assert np.isfinite(describe(Motion(LAYOUT, np.zeros((30, LAYOUT.joints, 3)), 30.0))).all()


def test_every_number_of_the_vector_has_a_name_and_a_unit():
    assert len(describe(statue())) == len(DESCRIPTORS)
    assert all(DESCRIPTORS.values())


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 8, 11, 12, 40])
def test_tracks_and_derivatives_are_those_of_the_savitzky_golay_filter_of_scipy(frames):
    walk = moving_body(LAYOUT)
    motion = replace(walk, positions=walk.positions[:frames])
    movement, window = Movement(motion), max(1, min(11, frames - 1 + frames % 2))
    joints = [LAYOUT.landmarks[name] for name in LANDMARKS]
    for order in range(min(3, window - 1) + 1):
        scaled = motion.positions[:, joints].astype(float) / movement.height
        expected = savgol_filter(scaled, window, min(3, window - 1), deriv=order, delta=1 / 30, axis=0)
        np.testing.assert_allclose(movement.derivative(order), expected, rtol=1e-7, atol=1e-9 * max(1, abs(expected).max()))
