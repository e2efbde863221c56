"""Layouts inferred from recordings: by the names of joints, and by geometry where names tell nothing."""

from dataclasses import replace

import numpy as np
import pytest

from emotion_llm.motion.canonical import to_motion
from emotion_llm.motion.infer_layout import InferredLayout, infer_layout
from emotion_llm.motion.layout import LANDMARKS, Layout, layout_from_dict, read_layout
from emotion_llm.motion.motion import RecordedMotion
from emotion_llm.runtime.errors import UserError
from tests.helpers.motion_examples import moving_body

LAYOUTS = ("kdae_72", "emilya_28", "kinect_v2_25", "bandai_namco_27")


def recording(layout: Layout, unit: float = 0.01, **changes) -> RecordedMotion:
    """A moving body on that layout, in centimetres."""
    positions = moving_body(layout, seconds=4).positions / unit
    return replace(RecordedMotion(layout.joint_names, layout.parents, positions, 30.0), **changes)


def without_names(layout: Layout) -> tuple[str, ...]:
    """bone_0, bone_1, ...; End Sites keep their ending, as a BVH file names them."""
    return tuple(f"bone_{joint}" + "_end" * name.endswith("_end") for joint, name in enumerate(layout.joint_names))


def layout_of(inferred: InferredLayout) -> Layout:
    assert inferred.open == ()
    return layout_from_dict(inferred.draft, "inferred.json")


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layouts_that_ship_could_have_been_inferred_from_their_names(name):
    layout = read_layout(name)
    inferred = layout_of(infer_layout(recording(layout), name))
    assert (inferred.parts, inferred.landmarks, set(inferred.mirror_pairs)) == (layout.parts, layout.landmarks, set(layout.mirror_pairs))
    np.testing.assert_allclose(inferred.bone_lengths, layout.bone_lengths, atol=1e-4)


BODY = {  # one chain of names after another, each below a joint named before
    "mixamo": ["mixamorig:Hips mixamorig:Spine mixamorig:Neck mixamorig:Head mixamorig:Head_end"]
    + [
        f"mixamorig:Spine mixamorig:{s}Shoulder mixamorig:{s}Arm mixamorig:{s}ForeArm mixamorig:{s}Hand mixamorig:{s}HandThumb1"
        for s in ("Left", "Right")
    ]
    + [f"mixamorig:Hips mixamorig:{s}UpLeg mixamorig:{s}Leg mixamorig:{s}Foot mixamorig:{s}ToeBase" for s in ("Left", "Right")],
    "unreal": ["root pelvis spine_01 neck_01 head"]
    + [f"spine_01 clavicle_{s} upperarm_{s} lowerarm_{s} hand_{s} index_01_{s}" for s in "lr"]
    + [f"pelvis thigh_{s} calf_{s} foot_{s} ball_{s}" for s in "lr"],
    "biped": ["Bip01|Bip01 Pelvis|Bip01 Spine|Bip01 Spine1|Bip01 Neck|Bip01 Head|Bip01 HeadNub"]
    + [
        f"Bip01 Neck|Bip01 {s} Clavicle|Bip01 {s} UpperArm|Bip01 {s} Forearm|Bip01 {s} Hand|Bip01 {s} Finger0|Bip01 {s} Finger0Nub"
        for s in "LR"
    ]
    + [f"Bip01 Spine|Bip01 {s} Thigh|Bip01 {s} Calf|Bip01 {s} Foot|Bip01 {s} Toe0|Bip01 {s} Toe0Nub" for s in "LR"],
    "optitrack": ["Hip Ab Chest Neck Head"]
    + [f"Chest {s}Shoulder {s}UArm {s}FArm {s}Hand {s}Thumb1" for s in "LR"]
    + [f"Hip {s}Thigh {s}Shin {s}Foot {s}Toe" for s in "LR"],
    "acclaim": ["root lowerback upperback thorax lowerneck upperneck head"]
    + [f"thorax {s}clavicle {s}humerus {s}radius {s}wrist {s}hand {s}fingers" for s in "lr"]
    + [f"root {s}hipjoint {s}femur {s}tibia {s}foot {s}toes" for s in "lr"],
    "poser": ["hip abdomen chest neck head"]
    + [f"chest {s}Collar {s}Shldr {s}ForeArm {s}Hand" for s in "lr"]
    + [f"hip {s}Thigh {s}Shin {s}Foot" for s in "lr"],
}


@pytest.mark.parametrize("style", BODY)
def test_the_usual_ways_of_naming_joints_are_understood(style):
    names, parents = [], []
    for chain in BODY[style]:
        words = chain.split("|") if "|" in chain else chain.split()
        for above, name in zip([None, *words], words):
            if name not in names:
                names.append(name)
                parents.append(names.index(above) if above else -1)
    positions = np.random.default_rng(0).normal(size=(5, len(names), 3)) * 20  # geometry tells nothing
    inferred = infer_layout(RecordedMotion(tuple(names), tuple(parents), positions, 30.0), style)
    assert not any("geometry" in note for note in inferred.notes)
    layout = layout_of(inferred)
    assert len(layout.mirror_pairs) == sum(part.startswith(("left", "right")) for part in layout.parts) // 2
    plain = {word: layout.joint_names[joint].lower() for word, joint in layout.landmarks.items()}
    assert set(plain) == set(LANDMARKS) and "head" in plain["head"] and "neck" in plain["neck"] and "foot" in plain["left_ankle"]
    assert any(word in plain["left_elbow"] for word in ("forearm", "lowerarm", "farm", "radius"))
    assert any(word in plain["right_knee"] for word in ("leg", "calf", "shin", "tibia"))
    assert any(word in plain["left_wrist"] for word in ("hand", "wrist"))
    assert all(layout.bone_lengths[left] == layout.bone_lengths[right] for left, right in layout.mirror_pairs)


@pytest.mark.parametrize("axes", [np.eye(3), np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])], ids=["Y up", "Z up"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_skeleton_without_telling_names_is_understood_by_its_geometry(name, axes):
    layout = read_layout(name)
    recorded = recording(layout, joint_names=without_names(layout))
    inferred = infer_layout(replace(recorded, positions=recorded.positions @ axes.T), "mine")
    found = layout_of(inferred)
    assert found.landmarks == layout.landmarks
    assert found.parts == layout.parts
    arms_and_legs = {pair for pair in layout.mirror_pairs if layout.parts[pair[0]].endswith(("arm", "leg"))}
    assert {part: joint for joint, part in enumerate(found.parts)} == {part: joint for joint, part in enumerate(layout.parts)}
    assert len(set(found.mirror_pairs) & arms_and_legs) >= 10
    assert any(note.startswith("from geometry, check them: pelvis, neck, head") for note in inferred.notes)
    assert "left and right are from the direction of the feet, for right-handed axes" in inferred.notes


@pytest.mark.parametrize("name", ["emilya_28", "kinect_v2_25"])
def test_an_array_without_names_and_bones_is_understood_by_its_geometry(name):
    layout = read_layout(name)
    inferred = infer_layout(recording(layout, joint_names=None, parents=None), "mine")
    found = layout_of(inferred)
    assert found.joint_names[:2] == ("joint_0", "joint_1") and found.parents == layout.parents
    assert (
        found.landmarks["left_knee"] == layout.landmarks["left_knee"] and found.landmarks["right_wrist"] == layout.landmarks["right_wrist"]
    )
    assert any("check the parents" in note for note in inferred.notes)


def test_a_table_whose_layout_ships_is_said_to_be_on_it_and_bones_do_not_connect_two_limbs():
    layout = read_layout("kinect_v2_25")
    inferred = infer_layout(recording(layout, parents=None), "mine")
    assert inferred.notes[0] == "its joints are those of layout 'kinect_v2_25', which ships"
    assert layout_of(inferred).parents == layout.parents
    still = recording(layout, parents=None)
    still = replace(still, positions=np.repeat(still.positions[:1], 5, axis=0))
    draft = infer_layout(still, "mine").draft
    parts = {joint["name"]: joint["part"] for joint in draft["joints"]}
    crossing = [(joint["part"], parts.get(joint["parent"], "trunk")) for joint in draft["joints"]]
    assert all(part == above or above == "trunk" or part == "trunk" for part, above in crossing)


def test_names_decide_about_sides_and_geometry_fills_the_gaps():
    layout = read_layout("emilya_28")
    names = tuple({"Neck": "Bone7", "LeftKnee": "LeftBone8", "RightKnee": "RightBone8"}.get(name, name) for name in layout.joint_names)
    mirrored = recording(layout, joint_names=names)
    mirrored = replace(mirrored, positions=mirrored.positions * (-1, 1, 1))  # left-handed axes
    inferred = infer_layout(mirrored, "mine")
    assert layout_of(inferred).landmarks == layout.landmarks
    assert "from geometry, check them: neck, left_knee, right_knee" in inferred.notes
    assert not any(note.startswith("left and right") for note in inferred.notes)


def test_sides_are_marked_as_a_guess_where_neither_names_nor_feet_tell():
    layout = read_layout("kinect_v2_25")
    recorded = recording(layout, joint_names=without_names(layout))
    positions = recorded.positions.copy()
    for side in ("left", "right"):
        hip, knee, ankle = (layout.landmarks[f"{side}_{word}"] for word in ("hip", "knee", "ankle"))
        toe = layout.parents.index(ankle)
        positions[:, knee] = positions[:, hip] + (0, -42, 0)
        positions[:, ankle] = positions[:, hip] + (0, -83, 0)
        positions[:, toe] = positions[:, hip] + (0, -96, 0)
    notes = infer_layout(replace(recorded, positions=positions), "mine").notes
    assert "left and right are guessed: feet and knees do not tell the front" in notes


def test_what_is_not_known_is_listed_and_null_in_the_draft():
    layout = read_layout("emilya_28")
    names = tuple(name.replace("Neck", "Bone7").replace("LeftToe", "LeftTip") for name in layout.joint_names)
    lopsided = np.array(layout.bone_lengths) * [3 if part == "left_arm" else 1 for part in layout.parts]  # geometry finds no body
    positions = moving_body(layout, lengths=lopsided).positions
    inferred = infer_layout(RecordedMotion(names, layout.parents, positions, 30.0), "mine")
    draft = inferred.draft
    assert draft["landmarks"]["neck"] is None
    assert set(inferred.open) >= {"landmark neck", "the mirror image of 'RightToe'", "the mirror image of 'LeftTip'"}
    with pytest.raises(UserError, match="landmarks neck are missing"):
        layout_from_dict(draft, "mine.json")
    draft["landmarks"]["neck"] = "Bone7"
    draft["mirror_pairs"] += [["LeftTip", "RightToe"], ["LeftTip_end", "RightToe_end"]]
    draft["joints"][names.index("LeftTip")]["part"] = draft["joints"][names.index("LeftTip_end")]["part"] = "left_leg"
    assert layout_from_dict(draft, "mine.json").name == "mine"


@pytest.mark.parametrize("unit", [1.0, 0.01, 0.001, 0.0254, 0.3048, 0.0564])
def test_the_unit_is_the_one_that_makes_the_body_human(unit):
    layout = read_layout("emilya_28")
    inferred = infer_layout(recording(layout, unit), "mine")
    assert any(note.startswith(f"metres_per_unit is {unit:g} (") for note in inferred.notes)
    np.testing.assert_allclose(layout_of(inferred).bone_lengths, layout.bone_lengths, atol=1e-4)


def test_a_unit_that_makes_no_human_body_is_refused_with_one_that_does():
    recorded = recording(read_layout("emilya_28"), 0.01)
    with pytest.raises(
        UserError, match=r"with 1 metres per unit, arms and legs are 274 m long .* use metres_per_unit 0.01 \(centimetres\)"
    ):
        infer_layout(recorded, "mine", 1.0)
    inferred = infer_layout(replace(recorded, positions=recorded.positions * 1000), "mine")
    assert inferred.open[0].startswith("the unit of length: arms and legs are 2.74e+05 units long")


def test_names_that_a_layout_cannot_have_get_an_alias():
    layout = read_layout("kinect_v2_25")
    names = tuple(f"{name} \N{DEGREE SIGN}" for name in layout.joint_names)
    recorded = recording(layout, joint_names=names)
    found = layout_of(infer_layout(recorded, "mine"))
    motion = to_motion(recorded, found, 0.01, "y", None, "a.bvh")
    np.testing.assert_allclose(motion.positions, recorded.positions / 100)


def test_a_recording_with_gaps_in_all_frames_is_refused():
    recorded = recording(read_layout("kinect_v2_25"))
    recorded.positions[:, 3] = np.nan
    with pytest.raises(UserError, match="layout mine: 0 usable frames with values for all of its 25 joints; use a recording without gaps"):
        infer_layout(recorded, "mine")


@pytest.mark.real
def test_real_skeletons_without_names_are_understood_by_their_geometry(real_clips):
    from emotion_llm.motion.reading import read_motion_file

    layout = read_layout("bandai_namco_27")
    for path in real_clips[::10]:
        recorded = read_motion_file(path)
        assert layout_of(infer_layout(replace(recorded, joint_names=without_names(layout)), "mine")).landmarks == layout.landmarks
