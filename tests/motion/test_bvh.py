"""The BVH reader: the convention, the oddities, and its exactness on real files."""

import re
import tracemalloc

import numpy as np
import pytest

from emotion_llm.motion.bvh import parse_bvh
from emotion_llm.motion.motion import MotionFileError
from emotion_llm.motion.reading import read_motion_file
from tests.helpers.motion_examples import ExampleJoint, bvh_text, random_skeleton, random_values, scalar_positions

ARM = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Arm
  {
    OFFSET 0 10 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 5 0
    }
  }
}
MOTION
Frames: 3
Frame Time: 0.0083333
0 90 0 0 0 0 0 0 0
1 90 0 90 0 0 0 0 0
2 90 0 0 0 0 90 0 0
"""


def parse(text: str | bytes):
    return parse_bvh(text if isinstance(text, bytes) else text.encode(), "arm.bvh")


def test_positions_follow_the_convention():
    motion = parse(ARM)
    assert motion.joint_names == ("Hips", "Arm", "Arm_end") and motion.parents == (-1, 0, 1)
    assert motion.frames_per_second == pytest.approx(120, abs=0.01) and motion.notes == ()
    np.testing.assert_allclose(motion.positions[0], [[0, 90, 0], [0, 100, 0], [0, 105, 0]], atol=1e-12)
    np.testing.assert_allclose(motion.positions[1], [[1, 90, 0], [-9, 90, 0], [-14, 90, 0]], atol=1e-12)  # the whole body about Z
    np.testing.assert_allclose(motion.positions[2], [[2, 90, 0], [2, 100, 0], [-3, 100, 0]], atol=1e-12)  # the arm alone


@pytest.mark.parametrize("seed", range(12))
def test_kinematics_equal_a_loop_over_single_numbers_whatever_channels_joints_have(seed):
    rng = np.random.default_rng(seed)
    skeleton = random_skeleton(rng, joints=int(rng.integers(1, 15)))
    values = random_values(rng, skeleton, frames=4)
    motion = parse(bvh_text(skeleton, values))
    assert len(motion.joint_names) == len(skeleton) and motion.parents == tuple(joint.parent for joint in skeleton)
    np.testing.assert_allclose(motion.positions, scalar_positions(skeleton, values), atol=1e-9)


def test_a_position_channel_replaces_the_offset_on_its_own_axis_only():
    skeleton = [ExampleJoint("Root", -1, (0, 0, 0), ("Xposition",)), ExampleJoint("Hand", 0, (1, 2, 3), ("Yposition",))]
    np.testing.assert_allclose(parse(bvh_text(skeleton, np.array([[5.0, 7.0]]))).positions[0], [[5, 0, 0], [6, 7, 3]])


def test_long_recordings_are_computed_in_pieces_that_fit_together():
    rng = np.random.default_rng(1)
    skeleton = random_skeleton(rng, joints=3)
    values = random_values(rng, skeleton, frames=1300)
    motion = parse(bvh_text(skeleton, values))
    np.testing.assert_allclose(motion.positions[510:515], scalar_positions(skeleton, values[510:515]), atol=1e-9)
    assert len(motion.positions) == 1300


@pytest.mark.parametrize(
    "odd",
    [
        ARM.replace("  ", "\t"),
        ARM.replace("\n", "\r\n"),
        ARM.replace("\n", "\r"),
        ARM.lower().replace("hips", "Hips").replace("arm", "Arm"),
        "\ufeff" + ARM,
        ARM.encode("utf-16"),
        ARM.rstrip("\n"),
        ARM + "\n\n  \n",
        ARM.replace("\n{", " {").replace("Frames: 3", "Frames:\t3").replace("Frame Time: ", "Frame Time:"),
        ARM.replace("\n0 90", "\n\n 0   90").replace("1 90", "1e0 +90.000").replace("2 90", "2. 9E+1"),
        re.sub(r"\n\s*}", " }", ARM),
    ],
    ids=[
        "tabs",
        "CRLF",
        "CR",
        "lower case",
        "byte order mark",
        "UTF-16",
        "no last newline",
        "blank lines",
        "braces",
        "numbers",
        "closing braces",
    ],
)
def test_oddities_of_writing_change_nothing(odd):
    motion, plain = parse(odd), parse(ARM)
    assert motion.joint_names == plain.joint_names and motion.notes == ()
    np.testing.assert_array_equal(motion.positions, plain.positions)


def test_joints_of_one_name_are_told_apart():
    hips = ExampleJoint("Hips", -1, (0, 0, 0), ("Xposition", "Yposition"))
    skeleton = [hips, *[ExampleJoint(name, 0, (0, 1, 0)) for name in ("Hand", "Hand", None, None)]]
    assert parse(bvh_text(skeleton, np.ones((1, 2)))).joint_names == ("Hips", "Hand", "Hand_2", "Hips_end", "Hips_end_2")


def test_joint_names_may_hold_blanks():
    assert parse(ARM.replace("JOINT Arm", "JOINT Left  Arm")).joint_names[1:] == ("Left Arm", "Left Arm_end")


@pytest.mark.parametrize("announced", [2, 7, 999_999_999_999])
def test_all_complete_rows_are_kept_whatever_the_header_announces(announced):
    motion = parse(ARM.replace("Frames: 3", f"Frames: {announced}"))
    np.testing.assert_array_equal(motion.positions, parse(ARM).positions)
    assert motion.notes == (f"{announced} frames announced, 3 complete ones found and kept",)


def test_a_last_row_that_is_cut_short_is_dropped_and_noted():
    motion = parse(ARM.rstrip("\n")[:-6])
    assert len(motion.positions) == 2
    assert motion.notes == ("the last row is cut short after 6 of 9 numbers: dropped", "3 frames announced, 2 complete ones found and kept")


@pytest.mark.parametrize("missing", ["NaN", "-nan(ind)", "1.#QNAN", "-1.#IND", "inf", "1e999"])
def test_a_missing_number_makes_the_joints_that_it_moves_missing(missing):
    motion = parse(ARM.replace("2 90 0 0 0 0 90", f"2 90 0 0 0 0 {missing}"))
    assert np.isfinite(motion.positions[:2]).all() and np.isfinite(motion.positions[2, :2]).all()
    assert np.isnan(motion.positions[2, 2]).all()


def test_position_channels_that_are_all_zero_add_to_the_offsets():
    skeleton = [
        ExampleJoint("Hips", -1, (0, 0, 0), ("Yposition",)),
        ExampleJoint("Head", 0, (0, 10, 1), ("Xposition", "Yposition", "Zposition")),
    ]
    motion = parse(bvh_text(skeleton, np.array([[90.0, 0, 0, 0]] * 2)))
    np.testing.assert_array_equal(motion.positions[0], [[0, 90, 0], [0, 100, 1]])
    assert motion.notes == ("position channels below the root are all 0: added to the OFFSETs",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "arm.bvh: the file is empty"),
        ("hello", "no MOTION line"),
        (ARM[: ARM.index("MOTION")], "no MOTION line"),
        (b"\0\1\2" * 9, "not a text file"),
        (ARM.replace("HIERARCHY", "HIERARCH"), "did not expect 'HIERARCH'"),
        (ARM[ARM.index("MOTION") :], "there is no ROOT"),
        (ARM.replace("}\nMOTION", "MOTION"), "joint 'Hips' is not closed"),
        (ARM.replace("MOTION", "}\nMOTION"), "did not expect '}'"),
        (ARM.replace("MOTION", "ROOT Second\n{\nOFFSET 0 0 0\n}\nMOTION"), "one ROOT"),
        (ARM.replace("OFFSET 0 10 0", ""), "joint 'Arm' has no OFFSET"),
        (ARM.replace("OFFSET 0 10 0", "OFFSET 0 10"), "OFFSET of joint 'Arm' is '0 10 CHANNELS'; it needs three numbers"),
        (ARM.replace("CHANNELS 3", "CHANNELS 7"), "CHANNELS of joint 'Arm' say '7'"),
        (ARM.replace("CHANNELS 3 Zrotation", "CHANNELS 3 Xrotation"), "CHANNELS of joint 'Arm' say 'Xrotation'"),
        (ARM.replace("CHANNELS 3 Zrotation", "CHANNELS 3 Zscale"), "say 'Zscale'"),
        (ARM.replace("JOINT Arm", "JOINT"), "'' is not a joint name"),
        (ARM.replace("JOINT Arm", "JOINT A\x1b[2J"), "is not a joint name"),
        (ARM.replace("Frames: 3", "Frames: three"), "not followed by 'Frames:' and a count"),
        (ARM.replace("Frames: 3", "Frames: 0"), "'Frames: 0', the file holds no motion"),
        (ARM.replace("0.0083333", "0"), "'Frame Time:' says '0'"),
        (ARM.replace("0.0083333", "120"), "for example 0.0083333 for 120 frames per second"),
        (ARM.replace("0.0083333", "0,0083"), "'Frame Time:' says '0,0083'"),
        (ARM[: ARM.index("\n0 90")], "no complete row of numbers where the HIERARCHY has 9 channels"),
        (ARM.replace("1 90 0 90", "1 90 90"), "line 20 holds 8 numbers where the HIERARCHY has 9 channels"),
        (ARM.replace("1 90 0 90", "1 90 0 0 90"), "line 20 holds 10 numbers"),
        (ARM.replace("1 90 0 90", "1 90 0 9o"), "line 20: '9o' is not a number"),
        (ARM.replace("1 90 0 90", "1 90 0 9,5"), "line 20: '9,5' is not a number; write decimals with a point"),
        (ARM.replace("1 90 0 90", "1 90 0 1_0"), "'1_0' is not a number"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_words(text, message):
    with pytest.raises(MotionFileError, match=message):
        parse(text)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MotionFileError, match=r"gone\.bvh: cannot be read \(No such file"):
        read_motion_file(tmp_path / "gone.bvh")
    (tmp_path / "folder.bvh").mkdir()
    with pytest.raises(MotionFileError, match="cannot be read"):
        read_motion_file(tmp_path / "folder.bvh")


def test_deep_nesting_and_endless_hierarchies_end_in_a_message():
    deep = "HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 1 Xposition " + "JOINT b { OFFSET 0 0 0 CHANNELS 1 Xposition " * 100_000
    with pytest.raises(MotionFileError, match="more than 1000 joints"):
        parse(deep + "\nMOTION\nFrames: 1\nFrame Time: 0.1\n0")
    nested = "HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 1 Xposition " + "JOINT b { OFFSET 0 1 0 CHANNELS 1 Xrotation " * 900 + "}" * 901
    assert parse(nested + "\nMOTION\nFrames: 1\nFrame Time: 0.1\n" + "0 " * 901).positions[0, -1, 1] == 900


def test_a_small_file_never_asks_for_much_memory():
    joints = "".join(f"JOINT b{index} {{ OFFSET 0 0 0 }} " for index in range(999))
    rigid = "HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 1 Xposition " + joints + "}"
    text = rigid + "\nMOTION\nFrames: 999999999\nFrame Time: 0.1\n" + "0\n" * 10_000
    tracemalloc.start()
    with pytest.raises(MotionFileError, match="too few to move a body"):
        parse(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.real
def test_real_files_agree_with_an_independent_reader(real_clips):
    """bvhsdk, in float64, a joint and a frame at a time: a few frames of many files."""
    bvhsdk = pytest.importorskip("bvhsdk")
    for path in real_clips[::6]:
        ours, theirs = read_motion_file(path), bvhsdk.ReadFile(str(path))
        for frame in (0, len(ours.positions) // 2, len(ours.positions) - 1):
            for joint in theirs.getlistofjoints():
                expected = joint.getPosition(frame)
                found = ours.positions[frame, ours.joint_names.index(joint.name)]
                np.testing.assert_allclose(found / 100, expected / 100, rtol=0, atol=1e-9)  # metres
