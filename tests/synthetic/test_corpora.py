"""The synthetic corpora: right files, people who look like people, and a task that can be learnt but is not trivial."""

import csv
import itertools
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emotion_llm.corpus.definition import read_definition
from emotion_llm.corpus.importing import check_corpus
from emotion_llm.motion.canonical import CanonicalSettings
from emotion_llm.motion.layout import read_layout
from emotion_llm.motion.reading import read_motion_file
from emotion_llm.synthetic.body import ACTIONS, Qualities, joint_angles
from emotion_llm.synthetic.corpora import (
    EGBM,
    EMILYA,
    KDAE,
    Plan,
    body_positions,
    euler_degrees,
    kinect_positions,
    takes,
    write_egbm,
    write_emilya,
    write_kdae,
    write_synthetic_corpora,
)
from emotion_llm.synthetic.emotions import EMOTIONS, imagined_movement

PLANS = (KDAE, EMILYA, EGBM)
each_plan = pytest.mark.parametrize("plan", PLANS, ids=[plan.layout for plan in PLANS])
each_bvh_plan = pytest.mark.parametrize("plan", (KDAE, EMILYA), ids=(KDAE.layout, EMILYA.layout))
PRINTED = 3e-5
"""Metres: four decimals of a degree, added up over the joints from the pelvis to a finger."""


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_synthetic_corpora(folder, clips_per_emotion=3, seed=5)
    return folder


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path):
    for name, seed in (("once", 1), ("again", 1), ("other", 2)):
        write_egbm(tmp_path / name, clips_per_emotion=1, seed=seed)
    once, again, other = (_tree(tmp_path / name) for name in ("once", "again", "other"))
    assert once == again
    assert once.keys() == other.keys()
    assert all(once[file] != other[file] for file in once if file.startswith("Actor"))


def test_more_clips_leave_the_first_ones_as_they_were(tmp_path):
    write_egbm(tmp_path / "few", clips_per_emotion=1, seed=1)
    write_egbm(tmp_path / "many", clips_per_emotion=2, seed=1)
    few, many = _tree(tmp_path / "few"), _tree(tmp_path / "many")
    assert all(many[file] == few[file] for file in few if file.startswith("Actor"))


@pytest.mark.parametrize(("corpus", "plan", "clips"), [("kdae", KDAE, 14), ("emilya", EMILYA, 24), ("egbm", EGBM, 21)])
def test_the_importer_finds_every_clip_its_labels_and_nothing_suspicious(raw, corpus, plan, clips):
    report = check_corpus(read_definition(corpus), raw / corpus, CanonicalSettings(), workers=1)
    assert report.all.clips == clips and report.faults == 0
    assert {group.word: group.clips for group in report.emotions} == dict.fromkeys(plan.emotions.values(), clips // len(plan.emotions))
    assert {group.word for group in report.actors} <= set(plan.actors)
    assert report.duplicates == report.suspicious == ()


def test_kdae_files_have_its_names_and_its_table(raw):
    files = sorted(path.relative_to(raw / "kdae").as_posix() for path in (raw / "kdae").rglob("*.bvh"))
    matches = [re.fullmatch(r"BVH/([FM]\d\d)/(\1(SA|SU|A|D|F|H|N)\dV\d+)\.bvh", file) for file in files]
    assert all(matches) and len(files) == 7 * 2
    table = _rows(raw / "kdae" / "file-info.csv")
    assert sorted(row["filename"] for row in table) == sorted(match[2] for match in matches)
    assert all(row["filename"].startswith(row["actor_ID"]) for row in table)
    assert {row["emotion"] for row in table} == {"Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"}


def test_emilya_files_have_its_tree_and_zyx_twins(raw):
    files = sorted(path.relative_to(raw / "emilya").as_posix() for path in (raw / "emilya").rglob("*.bvh"))
    tree = r"All_BvH_Files/(BS|Lf|SW|Th|KD|MB|SD|WH)/([A-Z][a-z]+(?: Fear)?)/(Actor\d+)/(Ag|Ax|Jy|Nt|PF|Pr|Sd|Sh)1\1\d+_\3(zyx)?\.bvh"
    matches = [re.fullmatch(tree, file) for file in files]
    assert all(matches)
    assert sum(match[5] is None for match in matches) == 8 * 3
    twins = [match[0] for match in matches if match[5]]
    assert len(twins) == 2
    for twin in twins:  # the same movement, said in another rotation order
        one, other = (read_motion_file(raw / "emilya" / file) for file in (twin, twin.replace("zyx", "")))
        assert np.abs(one.positions - other.positions).max() < 100 * PRINTED


def test_egbm_tables_have_one_row_per_frame_and_75_named_columns(raw):
    files = [path for path in (raw / "egbm").glob("*.csv") if path.name != "descriptions.csv"]
    assert len(files) == 7 * 3
    assert all(re.fullmatch(r"Actor\d_[A-Z][a-z]+_\d\d\.csv", path.name) for path in files)
    header, *lines = files[0].read_text().splitlines()
    assert header.startswith("SpineBase_x,SpineBase_y,SpineBase_z,SpineMid_x") and header.endswith("ThumbRight_z")
    table = np.array([line.split(",") for line in lines], dtype=float)
    assert table.shape[1] == 75 and 2.3 * 30 < len(table) < 3.7 * 30


@each_bvh_plan
def test_a_bvh_file_read_back_stands_where_the_body_stood(plan, tmp_path):
    layout = read_layout(plan.layout)
    (write_kdae if plan is KDAE else write_emilya)(tmp_path, clips_per_emotion=1, seed=3)
    for take in takes(plan, clips_per_emotion=1, seed=3):
        stem = f"{take.actor.name}{take.emotion_code}*" if plan is KDAE else f"{take.emotion_code}1*_{take.actor.name}"
        (path,) = tmp_path.rglob(f"{stem}.bvh")
        motion = read_motion_file(path)
        assert motion.joint_names == layout.joint_names
        assert motion.parents == layout.parents
        assert motion.frames_per_second == pytest.approx(plan.frames_per_second, rel=1e-4)
        assert np.abs(motion.positions / 100 - body_positions(layout, take)).max() < PRINTED


def test_kdae_position_channels_of_every_joint_repeat_its_offset(raw):
    text = next((raw / "kdae").rglob("*.bvh")).read_text()
    head, motion = text.split("MOTION\n")
    nodes = re.findall(r"(ROOT|JOINT|End) (\w+)\s*{\s*OFFSET (.+)\n(?:\s*CHANNELS (.+)\n)?", head)
    assert len(nodes) == 72 and sum(kind == "End" for kind, *_ in nodes) == 13
    channels = [channels for *_, channels in nodes if channels]
    assert set(channels) == {"6 Xposition Yposition Zposition Yrotation Xrotation Zrotation"}
    first = np.array(motion.splitlines()[2].split(), dtype=float).reshape(59, 6)
    offsets = np.array([offset.split() for _, _, offset, channels in nodes if channels], dtype=float)
    assert np.array_equal(first[1:, :3], offsets[1:])


@pytest.mark.parametrize("order", ["".join(axes) for axes in itertools.permutations("XYZ")])
def test_angles_of_any_rotation_order_give_the_rotation_back(order):
    rng = np.random.default_rng(0)
    rotations, _ = np.linalg.qr(rng.normal(size=(50, 3, 3)))
    rotations *= np.linalg.det(rotations)[:, None, None]
    degrees = np.radians(euler_degrees(rotations, order))
    again = np.broadcast_to(np.eye(3), (50, 3, 3))
    for axis, angle in zip(order, degrees.T, strict=True):
        i = "XYZ".index(axis)
        j, k = (i + 1) % 3, (i + 2) % 3
        turn = np.zeros((50, 3, 3))
        turn[:, i, i], turn[:, j, j], turn[:, k, k] = 1, np.cos(angle), np.cos(angle)
        turn[:, k, j], turn[:, j, k] = np.sin(angle), -np.sin(angle)
        again = again @ turn
    assert np.allclose(again, rotations, atol=1e-12)


@each_bvh_plan
def test_bodies_are_people_of_constant_bones_who_stand_on_the_ground(plan):
    layout = read_layout(plan.layout)
    for take in takes(plan, clips_per_emotion=2, seed=4):
        positions = body_positions(layout, take)
        bones = np.linalg.norm(positions - positions[:, list(layout.parents)], axis=-1)[:, 1:]
        assert np.ptp(bones, axis=0).max() < 1e-9
        lowest = positions[..., 1].min(axis=1)
        assert lowest.min() > -0.03 and lowest.max() < 0.05
        head, pelvis = positions[:, layout.joint_names.index("Head_end"), 1], layout.landmark(positions, "pelvis")[:, 1]
        assert pelvis.min() > 0.35 and (head - pelvis).min() > 0.3 and head.max() < 2.05
        steps = np.linalg.norm(np.diff(positions, axis=0), axis=-1) * plan.frames_per_second
        assert steps.max() < 10  # metres per second: nothing jumps


def test_nobody_slides_on_the_foot_that_stands():
    layout, feet = read_layout("emilya_28"), []
    for take in takes(EMILYA, clips_per_emotion=4, seed=4):
        if EMILYA.actions[take.action_code] != "walking":
            continue
        positions = body_positions(layout, take)
        both = positions[:, [layout.joint_names.index(f"{side}Toe") for side in ("Left", "Right")]]
        speed = np.linalg.norm(np.diff(both, axis=0), axis=-1) * EMILYA.frames_per_second  # (T - 1, 2)
        standing = both[1:, :, 1].argmin(axis=1)
        feet.append((np.median(np.take_along_axis(speed, standing[:, None], axis=1)), np.median(speed.max(axis=1))))
    standing, swinging = np.median(feet, axis=0)
    assert standing < 0.1 < 0.5 < swinging


def test_the_left_side_is_on_the_left_and_a_kinect_sees_the_front():
    for plan in PLANS:
        layout, take = read_layout(plan.layout), next(takes(plan, clips_per_emotion=1, seed=6))
        positions = kinect_positions(take) if plan is EGBM else body_positions(layout, take)
        across = layout.landmark(positions, "left_hip")[0] - layout.landmark(positions, "right_hip")[0]
        facing = np.cross(across, (0, 1, 0))  # left x up
        yaw = np.radians(take.yaw)
        assert facing @ (np.sin(yaw), 0, np.cos(yaw)) > 0.95 * np.linalg.norm(across)
        if plan is EGBM:
            assert facing[2] < 0 and positions[..., 2].min() > 0.5  # towards the sensor, in front of it


@each_plan
def test_actors_and_actions_give_no_emotion_away(plan):
    performed = defaultdict(set)
    for take in takes(plan, clips_per_emotion=24, seed=7):
        performed[take.emotion_code].add(take.actor.name)
        performed[take.emotion_code].add(take.action_code)
    assert all(names == {*plan.actors, *plan.actions} for names in performed.values())


def test_every_emotion_of_the_three_corpora_moves_by_the_same_table():
    words = {word for plan in PLANS for word in plan.emotions.values()}
    assert words == set(EMOTIONS)
    assert all(set(plan.actions.values()) <= set(ACTIONS) for plan in PLANS)


def test_tempo_amplitude_abruptness_and_tremor_are_in_the_movement():
    def speed(**changes: float) -> np.ndarray:
        qualities = replace(Qualities(), **changes)
        angles = joint_angles(qualities, "knocking", True, 360, 120.0, np.random.default_rng(0))
        return np.diff(angles["right elbow"]) * 120  # degrees per second

    def busy(values: np.ndarray) -> float:
        return float(np.abs(values).mean())

    assert busy(speed(tempo=1.5)) > 1.3 * busy(speed()) > 1.3 * 1.3 * busy(speed(tempo=0.6))
    assert busy(speed(amplitude=1.5)) > 1.2 * busy(speed()) > 1.2 * busy(speed(amplitude=0.5))
    assert np.abs(speed(abruptness=0.9)).max() > 1.3 * np.abs(speed(abruptness=0.0)).max()
    assert busy(np.diff(speed(tremor=2.0))) > 1.3 * busy(np.diff(speed()))
    stopping = speed(startle=1.0)
    assert busy(stopping[240:]) < 0.5 * busy(stopping[:60])


def test_imagined_movements_tell_nothing_of_an_emotion_by_its_name():
    movements = [imagined_movement(rng) for rng in [np.random.default_rng(1)] for _ in range(800)]
    again = imagined_movement(np.random.default_rng(1))
    assert again == movements[0] != imagined_movement(np.random.default_rng(2))
    fast = {
        word: np.mean([one.where["speed", "throughout"] > 80 for one in movements if one.emotion == word]) for word in ("sadness", "anger")
    }
    assert all(0.08 < share < 0.35 for share in fast.values())
    assert all(one.emotion in one.text for one in movements)
    assert len({word for one in movements for word in one.text.split()}) < 200  # a small LLM can learn them


def _mean_poses(plan: Plan, clips_per_emotion: int) -> tuple[np.ndarray, np.ndarray]:
    """(clips, 15 landmarks * 3) mean pose of every clip, pelvis-centred and facing +Z, and its emotion."""
    layout, poses, emotions = read_layout(plan.layout), [], []
    marks = list(layout.landmarks.values())
    for take in takes(replace(plan, frames_per_second=30.0), clips_per_emotion, seed=10):
        positions = kinect_positions(take) if plan is EGBM else body_positions(layout, take)
        centred = positions[:, marks] - positions[:, marks[:1]]
        cosine, sine = np.cos(np.radians(take.yaw)), np.sin(np.radians(take.yaw))
        poses.append((centred @ [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]).mean(axis=0).ravel())
        emotions.append(take.emotion_code)
    return np.stack(poses), np.array(emotions)


@pytest.mark.parametrize("plan", [EMILYA, EGBM], ids=[EMILYA.layout, EGBM.layout])
def test_the_mean_pose_alone_tells_emotions_better_than_chance_but_far_from_perfectly(plan):
    poses, emotions = _mean_poses(plan, clips_per_emotion=20)
    words, accuracies = sorted(set(emotions)), []
    for seed in range(5):
        held_out = np.random.default_rng(seed).permutation(len(poses)) % 3 == 0
        centroids = np.stack([poses[~held_out & (emotions == word)].mean(axis=0) for word in words])
        nearest = np.linalg.norm(poses[held_out, None] - centroids, axis=-1).argmin(axis=1)
        accuracies.append(np.mean(np.array(words)[nearest] == emotions[held_out]))
    assert 1.7 / len(words) < np.mean(accuracies) < 0.75
