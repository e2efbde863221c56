"""What is taken out of a recording, and what stays."""

from dataclasses import replace

import numpy as np
import pytest

from emotion_llm.motion.canonical import CanonicalSettings, canonicalise, to_motion
from emotion_llm.motion.layout import known_layouts, read_layout
from emotion_llm.motion.motion import Motion, MotionFileError, RecordedMotion
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import validate_record
from tests.helpers.motion_examples import bvh_text, moving_body, turned

SETTINGS = CanonicalSettings()
LAYOUTS = ("kdae_72", "emilya_28", "kinect_v2_25", "bandai_namco_27")


def canonical(motion: Motion, **changes) -> np.ndarray:
    return canonicalise(motion, replace(SETTINGS, **changes)).positions


def bone_lengths(positions: np.ndarray, layout) -> np.ndarray:
    """(T, V); 0 for the root."""
    parents = [parent if parent >= 0 else joint for joint, parent in enumerate(layout.parents)]
    return np.linalg.norm(positions - positions[:, parents], axis=2)


def changed(motion: Motion, positions: np.ndarray) -> Motion:
    return replace(motion, positions=positions)


@pytest.mark.parametrize("name", LAYOUTS)
def test_place_direction_floor_and_size_leave_no_trace(name):
    motion = moving_body(read_layout(name))
    expected = canonical(motion)
    for other in (
        motion.positions + np.array([3.0, 0.7, -2.0]),
        turned(motion.positions, 2.0),
        motion.positions * 1.3,
        0.8 * turned(motion.positions, -1.0) + (-5, -0.9, 4),
    ):
        np.testing.assert_allclose(canonical(changed(motion, other)), expected, atol=1e-9)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_lengths_of_bones_leave_no_trace(name):
    layout, rng = read_layout(name), np.random.default_rng(0)
    lengths = np.array(layout.bone_lengths) * rng.uniform(0.7, 1.4, layout.joints)
    expected, found = canonical(moving_body(layout)), canonical(moving_body(layout, lengths=lengths))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(bone_lengths(found, layout), np.broadcast_to(layout.bone_lengths, found.shape[:2]), atol=1e-9)


def test_header_offsets_of_a_file_leave_no_trace():
    from emotion_llm.motion.bvh import parse_bvh
    from tests.helpers.motion_examples import ExampleJoint

    layout, rng = read_layout("emilya_28"), np.random.default_rng(0)
    move = rng.uniform(-20, 20, size=(30, 6 + 3 * layout.joints)).round(3)

    def recorded(scale: np.ndarray, root: tuple[float, float, float]) -> Motion:
        joints = []
        for joint, (joint_name, parent, part) in enumerate(zip(layout.joint_names, layout.parents, layout.parts, strict=True)):
            side = -1.0 if part.startswith("right") else 1.0
            rest = {"trunk": (0, 1, 0), "head": (0, 1, 0)}.get(part, (side, 0, 0) if part.endswith("arm") or parent == 0 else (0, -1, 0))
            offset = root if parent < 0 else tuple(np.array(rest) * layout.bone_lengths[joint] * 100 * scale[joint])
            channels = tuple(f"{axis}{kind}" for kind in (("position", "rotation") if parent < 0 else ("rotation",)) for axis in "ZXY")
            joints.append(ExampleJoint(None if joint_name.endswith("_end") else joint_name, parent, offset, channels))
        for joint in joints:
            joint.channels = () if joint.name is None else joint.channels
        values = move[:, : sum(len(joint.channels) for joint in joints)]
        return to_motion(parse_bvh(bvh_text(joints, values, 1 / 30).encode(), "a.bvh"), layout, 0.01, "y", None, "a.bvh")

    legs = {joint for side in ("left", "right") for joint in layout.chain(f"{side}_hip", f"{side}_ankle")}
    others = np.where([joint in legs for joint in range(layout.joints)], 1, rng.uniform(0.8, 1.2, layout.joints))
    expected = canonical(recorded(np.ones(layout.joints), (0, 0, 0)))
    np.testing.assert_allclose(canonical(recorded(others, (7.0, 93.0, -3.0))), expected, atol=1e-9)


def test_the_body_faces_the_front_at_the_start_and_turning_is_kept():
    layout = read_layout("kinect_v2_25")

    def heading(positions: np.ndarray) -> np.ndarray:
        left, right = (sum(layout.landmark(positions, f"{side}_{word}") for word in ("hip", "shoulder")) for side in ("left", "right"))
        front = np.cross(left - right, (0, 1, 0))
        return np.unwrap(np.arctan2(front[:, 0], front[:, 2]))

    motion = moving_body(layout, seconds=4, turning=0.9)
    before, after = heading(motion.positions), heading(canonical(motion))
    assert abs(after[:8].mean()) < 0.02  # radians from +Z
    np.testing.assert_allclose(after - after[0], before - before[0], atol=0.03)
    assert after[-1] - after[0] == pytest.approx(0.9 * 4, abs=0.1)


def test_the_front_is_between_that_of_the_hips_and_that_of_the_shoulders():
    """A twisted trunk: hips along X, shoulders turned by 60 degrees about the vertical."""
    motion = moving_body(read_layout("emilya_28"))
    layout, positions = motion.layout, motion.positions.copy()
    for side, sign in (("left", 1.0), ("right", -1.0)):
        hip, shoulder = (layout.landmarks[f"{side}_{word}"] for word in ("hip", "shoulder"))
        positions[:, hip] = positions[:, layout.landmarks["pelvis"]] + [sign * 0.2, 0, 0]
        positions[:, shoulder] = positions[:, layout.landmarks["pelvis"]] + [sign * 0.1, 0.5, -sign * 0.1 * 3**0.5]
    turned_positions = canonical(changed(motion, positions), bone_lengths="recorded", height="recorded")
    left, right = (
        layout.landmark(turned_positions, f"{side}_hip") + layout.landmark(turned_positions, f"{side}_shoulder")
        for side in ("left", "right")
    )
    across = (left - right)[0]
    np.testing.assert_allclose(across[2], 0, atol=1e-6)
    assert across[0] > 0


def test_the_pelvis_starts_over_the_origin_and_travels_in_leg_lengths():
    layout = read_layout("emilya_28")
    motion = moving_body(layout, seconds=3, turning=0)
    found = layout.landmark(canonical(motion), "pelvis")
    assert np.abs(found[0, ::2]).max() == 0
    travel = layout.landmark(motion.positions, "pelvis")
    assert np.linalg.norm(found[-1, ::2]) == pytest.approx(np.linalg.norm((travel[-1] - travel[0])[::2]), rel=1e-6)
    tall = moving_body(layout, seconds=3, turning=0, lengths=1.2 * np.array(layout.bone_lengths))
    assert np.linalg.norm((layout.landmark(tall.positions, "pelvis")[-1] - travel[0])[::2]) > 1.1 * np.linalg.norm(found[-1, ::2])


@pytest.mark.parametrize("bones", ["layout", "recorded"])
def test_a_scenes_root_goes_with_the_pelvis_and_is_not_the_floor(bones):
    layout = read_layout("bandai_namco_27")
    motion = moving_body(layout)
    positions = motion.positions.copy()
    positions[:, 0] = (5, -2, 7)  # joint_Root, far away under the floor
    found = canonical(changed(motion, positions), bone_lengths=bones)
    np.testing.assert_array_equal(found, canonical(motion, bone_lengths=bones))
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    assert layout.at_pelvis == (1, 0)


def test_the_floor_is_where_the_body_is_lowest():
    lowest = canonical(moving_body(read_layout("kdae_72"), seconds=5))[..., 1].min(axis=1)
    assert -0.02 < lowest.min() <= 0 and np.percentile(lowest, 5) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("rate", [125.0, 120.0, 100.0, 60.0, 30.0, 25.0])
def test_tempo_is_true_whatever_the_rate(rate):
    layout = read_layout("bandai_namco_27")
    at_rate = canonicalise(moving_body(layout, seconds=4, rate=rate, hertz=1.5), SETTINGS)
    assert at_rate.frames_per_second == 30 and len(at_rate.positions) == 4 * 30 + 1 and at_rate.seconds == pytest.approx(4, abs=0.04)
    expected = canonical(moving_body(layout, seconds=4, rate=30.0, hertz=1.5))
    assert np.abs(at_rate.positions - expected).max() < 0.02
    wrist = (layout.landmark(at_rate.positions, "left_wrist") - layout.landmark(at_rate.positions, "left_shoulder"))[:120, 1]
    spectrum = np.abs(np.fft.rfft(wrist - wrist.mean()))
    assert np.argmax(spectrum) * 30 / 120 == 1.5  # hertz


def test_the_number_of_frames_follows_from_the_seconds():
    layout = read_layout("kinect_v2_25")
    for frames, rate, expected in ((1, 125, 1), (2, 125, 1), (126, 125, 31), (127, 125, 31), (31, 30.00003, 31), (2, 1.0, 31)):
        motion = Motion(layout, moving_body(layout, seconds=9).positions[:frames], rate) if frames < 200 else None
        assert len(canonical(motion)) == expected


def test_movement_too_fast_for_the_new_rate_is_damped_and_does_not_come_back_slow():
    layout = read_layout("kinect_v2_25")
    motion = moving_body(layout, seconds=4, rate=125.0, hertz=0.0, turning=0.0)
    shake = motion.positions.copy()
    shake[:, layout.landmarks["head"], 2] += 0.02 * np.sin(
        2 * np.pi * 28 * np.arange(len(shake)) / 125
    )  # 28 Hz: 2 Hz at 30 frames a second
    head = [
        layout.landmark(canonical(changed(motion, shake), bone_lengths="recorded", low_pass=low_pass), "head")[5:-5]
        for low_pass in (True, False)
    ]
    still = layout.landmark(canonical(motion, bone_lengths="recorded"), "head")[5:-5]
    damped, aliased = (np.abs(track - still).max() for track in head)
    assert damped < 0.005 and aliased > 0.012


def test_what_is_canonical_stays_as_it_is():
    motion = canonicalise(moving_body(read_layout("kdae_72"), rate=125.0), SETTINGS)
    np.testing.assert_allclose(canonicalise(motion, SETTINGS).positions, motion.positions, atol=1e-9)


def test_nothing_is_changed_where_nothing_is_asked_for():
    motion = moving_body(read_layout("kinect_v2_25"))
    recorded = dict.fromkeys(("bone_lengths", "heading", "height", "start"), "recorded")
    np.testing.assert_array_equal(canonical(motion, **recorded), motion.positions)


@pytest.mark.parametrize("name", LAYOUTS)
def test_bones_without_length_get_a_direction(name):
    layout = read_layout(name)
    motion = moving_body(layout)
    positions = motion.positions.copy()
    elbow, wrist, head = (layout.landmarks[word] for word in ("left_elbow", "left_wrist", "head"))
    positions[10:20, wrist] = positions[10:20, elbow]
    positions[:3, elbow] = positions[:3, layout.parents[elbow]]
    positions[:, head] = positions[:, layout.parents[head]]  # always
    found = canonical(changed(motion, positions))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(bone_lengths(found, layout), np.broadcast_to(layout.bone_lengths, found.shape[:2]), atol=1e-9)


def test_a_joint_that_is_always_at_the_pelvis_gets_its_place():
    layout = read_layout("kinect_v2_25")
    positions = moving_body(layout).positions.copy()
    for word in ("left_hip", "right_hip"):
        positions[:, layout.landmarks[word]] = positions[:, 0]
    found = canonical(Motion(layout, positions, 30.0))
    np.testing.assert_allclose(bone_lengths(found, layout), np.broadcast_to(layout.bone_lengths, found.shape[:2]), atol=1e-9)


def test_a_body_without_legs_is_refused():
    layout = read_layout("kinect_v2_25")
    with pytest.raises(UserError, match=r"clip\.csv: its legs are 0 m long; check its unit, and that its joints are those of"):
        canonicalise(Motion(layout, np.zeros((5, 25, 3)), 30.0), SETTINGS, place="clip.csv")


def test_a_body_that_lies_on_its_side_is_left_as_it_faces():
    layout = read_layout("kinect_v2_25")
    positions = moving_body(layout).positions.copy()
    for word in ("hip", "shoulder"):
        positions[:, layout.landmarks[f"left_{word}"]] = positions[:, layout.landmarks[f"right_{word}"]] + (0, 0.3, 0)
    motion = Motion(layout, positions, 30.0)
    np.testing.assert_array_equal(
        canonical(motion, bone_lengths="recorded"), canonical(motion, bone_lengths="recorded", heading="recorded")
    )


def test_short_gaps_are_filled_and_long_ones_are_named():
    layout = read_layout("kinect_v2_25")
    motion = moving_body(layout, seconds=3)
    hand = layout.joint_names.index("HandLeft")
    positions = motion.positions.copy()
    positions[40:50, hand] = np.nan
    positions[:4, 3, 1] = np.nan
    positions[-2:, 7] = np.inf
    filled = canonical(changed(motion, positions))
    assert np.isfinite(filled).all() and np.abs(filled - canonical(motion)).max() < 0.1
    positions[40:60, hand] = np.nan
    with pytest.raises(
        UserError, match=r"motion: joint 'HandLeft' is missing for 0\.67 s from frame 40 on; gaps up to 0\.5 s are filled: cut"
    ):
        canonical(changed(motion, positions))
    assert np.isfinite(canonical(changed(motion, positions), longest_gap_seconds=1.0)).all()
    positions[:, 5] = np.nan
    with pytest.raises(UserError, match=r"'ElbowLeft' is missing for 3\.03 s from frame 0 on"):
        canonical(changed(motion, positions), longest_gap_seconds=100.0)


def test_a_sensors_noise_changes_little():
    layout, rng = read_layout("kinect_v2_25"), np.random.default_rng(0)
    motion = moving_body(layout, seconds=4)
    noisy = canonical(changed(motion, motion.positions + 0.01 * rng.normal(size=motion.positions.shape)))
    difference = np.linalg.norm(noisy - canonical(motion), axis=2)
    assert np.isfinite(noisy).all() and np.median(difference) < 0.05
    np.testing.assert_allclose(bone_lengths(noisy, layout), np.broadcast_to(layout.bone_lengths, noisy.shape[:2]), atol=1e-9)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"bone_lengths": "mean"}, "canonical: field 'bone_lengths' is 'mean'; must be one of 'layout' or 'recorded'"),
        ({"heading": "north"}, "'heading' is 'north'; must be one of 'start' or 'recorded'"),
        ({"height": "sea"}, "'height' is 'sea'; must be one of 'ground' or 'recorded'"),
        ({"start": ""}, "'start' is ''; must be one of 'origin' or 'recorded'"),
        ({"frames_per_second": 0}, "'frames_per_second' is '0'; must be at least 1"),
        ({"frames_per_second": float("nan")}, "'frames_per_second' is 'nan'"),
        ({"frames_per_second": "30"}, "'frames_per_second' is '30'; must be a number"),
        ({"longest_gap_seconds": -1}, "'longest_gap_seconds' is '-1'; must be at least 0"),
        ({"heading_seconds": float("inf")}, "'heading_seconds' is 'inf'; must be at most 3600"),
        ({"lowpass": True}, "'lowpass' is not a known field; known fields: frames_per_second, low_pass"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(setting, message):
    with pytest.raises(UserError, match=message):
        validate_record(CanonicalSettings, setting, "canonical")


# from a recording to a layout


def recorded(names: tuple[str, ...] | None, positions: np.ndarray, rate: float | None = 30.0) -> RecordedMotion:
    return RecordedMotion(names, None, positions, rate)


def test_joints_are_found_by_name_alias_and_end_site_in_any_order():
    layout = read_layout("kdae_72")
    positions = moving_body(layout, seconds=0.1).positions
    respelt = {name: alias for alias, name in layout.aliases.items()}
    names = [respelt.get(name, name) for name in layout.joint_names]
    assert names != list(layout.joint_names)
    order = np.random.default_rng(0).permutation(72)
    motion = to_motion(recorded(tuple(names[joint] for joint in order), positions[:, order]), layout, 1.0, "y", None, "a.bvh")
    np.testing.assert_array_equal(motion.positions, positions)
    end = next(name for name in layout.joint_names if name.endswith("_end") and name.removesuffix("_end") in layout.joint_names)
    aliased = replace(layout, aliases={"Odd": end.removesuffix("_end")})
    odd = tuple(
        name.replace(end.removesuffix("_end"), "Odd") if name.startswith(end.removesuffix("_end")) else name for name in layout.joint_names
    )
    np.testing.assert_array_equal(to_motion(recorded(odd, positions), aliased, 1.0, "y", None, "a.bvh").positions, positions)


def test_joints_without_names_are_the_layouts_in_its_order():
    layout = read_layout("kinect_v2_25")
    positions = moving_body(layout, seconds=0.1).positions
    np.testing.assert_array_equal(to_motion(recorded(None, positions), layout, 1.0, "y", None, "a.csv").positions, positions)
    with pytest.raises(
        MotionFileError, match=r"a\.csv: has 25 joints without names where layout 'kdae_72' has 72; use the right layout, known are"
    ):
        to_motion(recorded(None, positions), read_layout("kdae_72"), 1.0, "y", None, "a.csv")


def test_joints_of_another_layout_are_refused_with_what_is_missing_and_what_is_known():
    kdae, emilya = read_layout("kdae_72"), read_layout("emilya_28")
    positions = np.zeros((1, 28, 3))
    with pytest.raises(MotionFileError) as refused:
        to_motion(recorded(emilya.joint_names, positions), kdae, 1.0, "y", None, "a.bvh")
    message = str(refused.value)
    assert (
        message.startswith("a.bvh: its 28 joints are not those of layout 'kdae_72': missing RightUpLeg, ")
        and " more, unexpected Chest, " in message
    )
    assert "they are those of layout 'emilya_28': use that" in message
    strange = ("Tail", *emilya.joint_names[1:])
    with pytest.raises(MotionFileError, match="missing Hips, unexpected Tail; known layouts are") as refused:
        to_motion(recorded(strange, positions), emilya, 1.0, "y", None, "a.bvh")
    assert all(name in str(refused.value) for name in known_layouts()) and "--infer-layout" in str(refused.value)


@pytest.mark.parametrize(("up", "axes"), [("y", (0, 1, 2)), ("z", (0, 2, 1)), ("x", (1, 0, 2))])
def test_units_and_axes_become_metres_and_y_up_without_mirroring(up, axes):
    layout = read_layout("kinect_v2_25")
    positions = np.random.default_rng(0).normal(size=(1, 25, 3))
    motion = to_motion(recorded(None, 100 * positions), layout, 0.01, up, None, "a.csv")
    np.testing.assert_allclose(motion.positions[..., 1], positions[..., "xyz".index(up)])
    np.testing.assert_allclose(np.abs(motion.positions), np.abs(positions[..., axes]))
    assert np.linalg.det(motion.positions[0, :3]) == pytest.approx(np.linalg.det(positions[0, :3]))


@pytest.mark.parametrize("up", ["-x", "-y", "-z"])
def test_the_axis_that_points_down_is_turned_without_mirroring(up):
    layout, positions = read_layout("kinect_v2_25"), np.random.default_rng(0).normal(size=(1, 25, 3))
    motion = to_motion(recorded(None, positions), layout, 1.0, up, None, "a.csv")
    np.testing.assert_allclose(motion.positions[..., 1], -positions[..., "xyz".index(up[1])])
    assert np.linalg.det(motion.positions[0, :3]) == pytest.approx(np.linalg.det(positions[0, :3]))


@pytest.mark.parametrize("up", ["y", "z", "-x"])
def test_left_handed_data_become_right_handed(up):
    """A body recorded with one axis reversed is the same body once its handedness is known, up to a turn about the vertical."""
    layout = read_layout("kinect_v2_25")
    positions = np.random.default_rng(0).normal(size=(1, 25, 3))
    motion = to_motion(recorded(None, positions), layout, 1.0, up, None, "a.csv", handedness="left")
    assert np.linalg.det(motion.positions[0, :3]) == pytest.approx(-np.linalg.det(positions[0, :3]))
    body = moving_body(layout)
    mirrored = to_motion(recorded(None, body.positions * (1, 1, -1)), layout, 1.0, "y", None, "a.csv", handedness="left")
    np.testing.assert_allclose(mirrored.positions, body.positions)


def test_joints_that_a_layout_ignores_are_dropped():
    layout = replace(read_layout("kinect_v2_25"), ignore=("Prop*", "Camera"))
    positions = moving_body(layout, seconds=0.1).positions
    names = ("Prop1", *layout.joint_names, "Prop_end", "Camera")
    extended = np.concatenate([positions[:, :1] + 9, positions, positions[:, :2]], axis=1)
    np.testing.assert_array_equal(to_motion(recorded(names, extended), layout, 1.0, "y", None, "a.csv").positions, positions)
    with pytest.raises(MotionFileError, match=r"unexpected Prop1, Prop_end, Camera \(the layout can ignore them\)"):
        to_motion(recorded(names, extended), read_layout("kinect_v2_25"), 1.0, "y", None, "a.csv")


def test_an_array_with_frames_and_joints_swapped_is_recognised():
    layout = read_layout("kinect_v2_25")
    with pytest.raises(
        MotionFileError, match=r"has 90 joints .* has 25; it has 25 frames: transpose the array to .frames, joints, 3., or use"
    ):
        to_motion(recorded(None, np.zeros((25, 90, 3))), layout, 1.0, "y", None, "a.npy")


def test_the_files_own_rate_goes_before_the_fallback():
    layout, positions = read_layout("kinect_v2_25"), np.zeros((1, 25, 3))
    assert to_motion(recorded(None, positions, 60.0), layout, 1.0, "y", 30.0, "a.csv").frames_per_second == 60
    assert to_motion(recorded(None, positions, None), layout, 1.0, "y", 30.0, "a.csv").frames_per_second == 30
    with pytest.raises(UserError, match=r"a\.csv: the file does not state its frame rate, and frames_per_second is None; set it"):
        to_motion(recorded(None, positions, None), layout, 1.0, "y", None, "a.csv")


@pytest.mark.parametrize(("unit", "up"), [(0, "y"), (float("nan"), "y"), (1.0, "up")])
def test_a_unit_or_axis_that_makes_no_sense_is_refused(unit, up):
    with pytest.raises(
        UserError,
        match=r"a\.csv: up .*, handedness .*, .* metres per unit; give one of x, y, z, -x, -y, -z, right or left, and a length such as 0\.01",
    ):
        to_motion(recorded(None, np.zeros((1, 25, 3))), read_layout("kinect_v2_25"), unit, up, 30.0, "a.csv")


def test_positions_out_of_this_world_are_missing():
    positions = np.ones((2, 25, 3))
    positions[1, 3, 0], positions[1, 4, 1] = 1e300, -1e9
    motion = to_motion(recorded(None, positions), read_layout("kinect_v2_25"), 1e10, "z", 30.0, "a.csv")
    assert np.isnan(motion.positions[1, [3, 4]]).any(axis=1).all() and np.isnan(motion.positions[0]).all()
