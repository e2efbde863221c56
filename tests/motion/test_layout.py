"""Layouts: data files that are validated in full."""

import json
from copy import deepcopy

import numpy as np
import pytest

from emotion_llm.motion.layout import PARTS, known_layouts, layout_from_dict, layout_to_dict, read_layout
from emotion_llm.runtime.errors import UserError


def test_the_three_corpora_and_the_real_archives_have_their_layouts():
    joints = {name: read_layout(name).joints for name in known_layouts()}
    assert joints.items() >= {"kdae_72": 72, "emilya_28": 28, "kinect_v2_25": 25, "bandai_namco_27": 27}.items()


@pytest.mark.parametrize("name", known_layouts())
def test_a_layout_that_ships_is_consistent_and_survives_its_json_form(name):
    layout = read_layout(name)
    assert layout.name == name
    assert layout_from_dict(json.loads(json.dumps(layout_to_dict(layout))), "again") == layout
    assert sorted(layout.parents_first) == list(range(layout.joints))
    places = {joint: place for place, joint in enumerate(layout.parents_first)}
    assert all(parent < 0 or places[parent] < places[joint] for joint, parent in enumerate(layout.parents))
    assert {part for part in layout.parts} == set(PARTS)
    assert 0.75 < sum(layout.bone_lengths[joint] for joint in layout.chain("left_hip", "left_ankle")) < 0.95  # metres


def test_a_chain_leads_from_a_landmark_to_one_below_it():
    layout = read_layout("kinect_v2_25")
    assert [layout.joint_names[joint] for joint in layout.chain("left_hip", "left_ankle")] == ["AnkleLeft", "KneeLeft"]
    with pytest.raises(ValueError, match="left_hip is not below left_ankle"):
        layout.chain("left_ankle", "left_hip")


def test_a_landmark_has_a_track():
    layout = read_layout("kinect_v2_25")
    positions = np.random.default_rng(0).normal(size=(2, 25, 3))
    np.testing.assert_array_equal(layout.landmark(positions, "head"), positions[:, 3])


def _set(place: str, value: object):
    """A change to a layout's JSON form: 'joints/3/parent' etc."""

    def change(metadata: dict) -> None:
        *path, last = [int(step) if step.isdigit() else step for step in place.split("/")]
        for step in path:
            metadata = metadata[step]
        if value is KeyError:
            del metadata[last]
        else:
            metadata[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("name", KeyError), "mine.json: field 'name' is missing"),
        (_set("name", "../x"), "field 'name' is '../x'; use up to 64 letters"),
        (_set("name", True), "field 'name' is 'True'; must be text"),
        (_set("joints", {}), "field 'joints' is .*; must be a list"),
        (_set("joints", []), "field 'joints' is .*; needs at least 1"),
        (_set("joints/3", "Head"), "field 'joints.3' is 'Head'; must be an object"),
        (_set("joints/6/name", "Head\n"), r"field 'joints.6.name' is 'Head\\n'; use up to 64 letters"),
        (_set("joints/6/name", "Toes_L_end"), "joint 'Toes_L_end' is listed 2 times; joint names must differ"),
        (_set("joints/3/parent", None), r"2 joints have no parent \(joint_Root, Chest\); exactly one, the root, has no 'parent'"),
        (_set("joints/0/parent", "Hips"), "0 joints have no parent"),
        (_set("joints/1/parent", "Spine"), "the parents of '.*' form a cycle; every joint must be below the root"),
        (_set("joints/1/parent", "Pelvis"), "the parent of 'Hips' is 'Pelvis', not a joint of the layout; spell it as"),
        (_set("joints/3/part", "torso"), "field 'joints.3.part' is 'torso'; must be one of 'trunk', 'head', 'left_arm'"),
        (_set("joints/3/bone_length", "long"), "field 'joints.3.bone_length' is 'long'; give metres from 0 to 3"),
        (_set("joints/3/bone_length", -0.1), "field 'joints.3.bone_length' is '-0.1'; give metres from 0 to 3"),
        (_set("joints/3/bone_length", 16.4), "bone_length' is '16.4'; give metres"),
        (_set("joints/3/bone_length", float("nan")), "bone_length' is 'nan'; give metres"),
        (_set("joints/1/bone_length", 0.9), "joint 'Hips' has bone_length 0.9; it must be 0 from the root down to the pelvis"),
        (_set("mirror_pairs", {}), "field 'mirror_pairs' is .*; must be a list"),
        (_set("mirror_pairs/0", ["Shoulder_L"]), "field 'mirror_pairs.0.1' is missing"),
        (_set("mirror_pairs/0", ["Shoulder_L", "Shoulder"]), "a mirror pair is 'Shoulder', not a joint of the layout"),
        (_set("mirror_pairs/0", ["Head", "Head"]), "mirror pair .* repeats a joint; each joint is in one pair at most"),
        (_set("mirror_pairs/0", ["UpperArm_L", "UpperArm_R"]), "mirror pair .* repeats a joint"),
        (_set("mirror_pairs/0", ["Head", "Head_end"]), "the parents of mirror pair .*'Head', 'Head_end'.* are not a pair; pair the parents too"),
        (_set("mirror_pairs/0", ["Shoulder_R", "Shoulder_L"]), "has parts 'right_arm' and 'left_arm'; the left joint comes first"),
        (_set("landmarks/neck", KeyError), "landmarks neck are missing; name the joint of each of pelvis, neck"),
        (_set("landmarks/tail", "Hips"), "landmark 'tail' is not known"),
        (_set("landmarks/neck", "Nek"), "landmark 'neck' is 'Nek', not a joint"),
        (_set("landmarks/left_knee", "Toes_L"), "left_knee and right_knee are .'Toes_L', 'LowerLeg_R'., not a mirror pair; pair them"),
        (_set("landmarks/neck", None), "landmarks neck are missing"),
        (_set("ignore", "Prop*"), "field 'ignore' is 'Prop\\*'; must be a list"),
        (_set("bones", []), "field 'bones' is not a known field; known fields: name, source, joints"),
        (_set("aliases", []), "field 'aliases' is .*; must be an object"),
        (_set("aliases/Pelvis", "Hip"), "alias 'Pelvis' is 'Hip', not a joint"),
        (_set("aliases/Head", "Neck"), "alias 'Head' is itself a joint of the layout; remove the alias"),
    ],
)  # fmt: skip
def test_a_layout_that_contradicts_itself_is_refused_in_words(change, message):
    metadata = deepcopy(layout_to_dict(read_layout("bandai_namco_27")))
    change(metadata)
    with pytest.raises(UserError, match=message):
        layout_from_dict(metadata, "mine.json")


def test_landmarks_of_a_limb_must_hang_together_and_be_apart():
    metadata = layout_to_dict(read_layout("bandai_namco_27"))
    metadata["landmarks"] |= {"left_elbow": "UpperLeg_L", "right_elbow": "UpperLeg_R"}
    with pytest.raises(UserError, match="landmark left_elbow is not below left_shoulder; correct the landmarks or the parents"):
        layout_from_dict(metadata, "mine.json")
    metadata = layout_to_dict(read_layout("bandai_namco_27"))
    metadata["joints"][18]["bone_length"] = 0
    with pytest.raises(UserError, match="left_hip and left_knee coincide; give their bone_length in metres"):
        layout_from_dict(metadata, "mine.json")


def test_a_layout_is_found_by_name_or_by_file(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(layout_to_dict(read_layout("emilya_28")) | {"name": "mine"}))
    assert read_layout(tmp_path / "mine.json").joint_names == read_layout("emilya_28").joint_names
    with pytest.raises(UserError, match=r"no_such: no such layout; known are .*kdae_72.*, or give the path of a JSON file"):
        read_layout("no_such")
    text = (tmp_path / "mine.json").read_text()
    (tmp_path / "mark.json").write_text(text, encoding="utf-8-sig")
    assert read_layout(tmp_path / "mark.json") == read_layout(tmp_path / "mine.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match=r"broken\.json: not a JSON file"):
        read_layout(tmp_path / "broken.json")
