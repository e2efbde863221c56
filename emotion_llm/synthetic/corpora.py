"""Three synthetic corpora in the file formats of the real ones.

seed, clips per emotion  ->  kdae/ (72-node BVH), emilya/ (28-node BVH), egbm/ (25-joint Kinect tables)

Formats, rates, units, folders, file names and emotions follow the real corpora (corpus/definitions); the movements are generated
(body.py) from movement qualities that depend on emotion, actor and chance (emotions.py). They are for the demo and the tests: they
show that the code works, and say nothing about accuracy on people.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotion_llm.motion.layout import Layout, read_layout
from emotion_llm.synthetic.body import joint_angles, local_rotations, posed, rest_offsets, walked_root
from emotion_llm.synthetic.emotions import Actor, invited_actors, performance


@dataclass(frozen=True)
class Plan:
    """What is recorded for one corpus."""

    number: int  # Part of the random seed: corpora differ
    layout: str
    emotions: dict[str, str]  # The corpus's own code or spelling -> the canonical word
    actors: tuple[str, ...]
    actions: dict[str, str]  # The corpus's own code -> a key of body.ACTIONS
    frames_per_second: float
    seconds: tuple[float, float]  # Shortest and longest clip
    facing: tuple[float, float] = (-180.0, 180.0)  # Range of the yaw, degrees: 0 faces +Z, positive is to the left


KDAE = Plan(
    1,
    "kdae_72",
    {"A": "anger", "D": "disgust", "F": "fear", "H": "happiness", "N": "neutral", "SA": "sadness", "SU": "surprise"},
    ("F01", "F02", "F03", "M01", "M02", "M03"),
    {"0": "walking", "1": "knocking", "2": "waving", "3": "throwing", "4": "moving books"},
    125.0,
    (1.9, 2.5),
)
EMILYA = Plan(
    2,
    "emilya_28",
    {"Ag": "anger", "Ax": "anxiety", "Jy": "joy", "Nt": "neutral", "PF": "panic fear", "Pr": "pride", "Sd": "sadness", "Sh": "shame"},
    ("Actor1", "Actor2", "Actor3", "Actor4", "Actor5", "Actor6"),
    {
        "BS": "sitting", "Lf": "lifting", "SW": "walking", "Th": "throwing",
        "KD": "knocking", "MB": "moving books", "SD": "sitting down", "WH": "carrying",
    },
    120.0,
    (2.0, 2.8),
)  # fmt: skip
EGBM = Plan(
    3,
    "kinect_v2_25",
    {
        "Anger": "anger", "Disgust": "disgust", "Fear": "fear", "Happy": "happiness",
        "Neutral": "neutral", "Sad": "sadness", "Surprise": "surprise",
    },
    ("Actor1", "Actor2", "Actor3", "Actor4", "Actor5"),
    {"1": "waving", "2": "knocking", "3": "throwing", "4": "walking"},
    30.0,
    (2.4, 3.6),
    facing=(160.0, 200.0),  # towards the sensor
)  # fmt: skip


@dataclass(frozen=True)
class Take:
    """One recording: what was performed, and how."""

    emotion_code: str
    actor: Actor
    action_code: str
    number: int  # Counts the takes of one emotion from 0
    angles: dict[str, np.ndarray]  # Joint angle -> degrees (T,)
    yaw: float  # Degrees: 0 faces +Z, positive is to the left
    start: np.ndarray  # (2,) metres, X and Z of the first frame
    finger_curl: float  # Degrees
    noise_seed: int  # Of the simulated sensor's noise


def write_synthetic_corpora(folder: Path, clips_per_emotion: int, seed: int) -> None:
    """Writes folder/kdae, folder/emilya and folder/egbm: the same files for the same seed.

    KDAE gets two thirds of the clips: its files are four to eight times as large as the others'.
    """
    write_kdae(folder / "kdae", max(1, clips_per_emotion * 2 // 3), seed)
    write_emilya(folder / "emilya", clips_per_emotion, seed)
    write_egbm(folder / "egbm", clips_per_emotion, seed)


def takes(plan: Plan, clips_per_emotion: int, seed: int) -> Iterator[Take]:
    """The recordings of one corpus; emotions, actors and actions are crossed, so that none predicts another."""
    actors = invited_actors(plan.actors, np.random.default_rng([seed, plan.number]))
    for emotion_number, (code, emotion) in enumerate(plan.emotions.items()):
        action_codes = np.random.default_rng([seed, plan.number, emotion_number]).permutation(list(plan.actions))
        for number in range(clips_per_emotion):
            rng = np.random.default_rng([seed, plan.number, emotion_number, number])
            actor = actors[number % len(actors)]
            action_code = str(action_codes[(number + number // len(actors)) % len(action_codes)])
            qualities = performance(emotion, actor, rng)
            frames = int(rng.uniform(*plan.seconds) * plan.frames_per_second)
            angles = joint_angles(qualities, plan.actions[action_code], actor.right_handed, frames, plan.frames_per_second, rng)
            yaw, start, finger_curl = rng.uniform(*plan.facing), rng.uniform(-1, 1, 2), rng.uniform(8, 40)
            noise_seed = int(rng.integers(2**32))
            yield Take(code, actor, action_code, number, angles, yaw, start, finger_curl, noise_seed)


def write_kdae(folder: Path, clips_per_emotion: int, seed: int) -> None:
    """BVH/<actor>/<actor><emotion><scenario>V<version>.bvh with position channels on every joint, and file-info.csv."""
    layout, table = read_layout(KDAE.layout), "filename,actor_ID,emotion\n"
    for take in takes(KDAE, clips_per_emotion, seed):
        name = f"{take.actor.name}{take.emotion_code}{take.action_code}V{take.number // len(KDAE.actors) + 1}"
        file = f"BVH/{take.actor.name}/{name}.bvh"
        _write(folder / file, bvh_text(layout, take, KDAE.frames_per_second, "YXZ", position_channels=True))
        table += f"{name},{take.actor.name},{KDAE.emotions[take.emotion_code].capitalize()}\n"
    _write(folder / "file-info.csv", table)


def write_emilya(folder: Path, clips_per_emotion: int, seed: int) -> None:
    """All_BvH_Files/<action>/<Emotion>/Actor<n>/<segment>.bvh, and two takes a second time with rotations in the order ZYX."""
    layout = read_layout(EMILYA.layout)
    for index, take in enumerate(takes(EMILYA, clips_per_emotion, seed)):
        emotion, actor = EMILYA.emotions[take.emotion_code].title(), take.actor.name
        segment = f"{take.emotion_code}1{take.action_code}{take.number // len(EMILYA.actors) + 1}_{actor}"
        file = f"All_BvH_Files/{take.action_code}/{emotion}/{actor}/{segment}.bvh"
        _write(folder / file, bvh_text(layout, take, EMILYA.frames_per_second, "YXZ", position_channels=False))
        if index < 2:
            twin = file.replace(".bvh", "zyx.bvh")
            _write(folder / twin, bvh_text(layout, take, EMILYA.frames_per_second, "ZYX", position_channels=False))


def write_egbm(folder: Path, clips_per_emotion: int, seed: int) -> None:
    """<actor>_<Emotion>_<take>.csv, one row per frame and three columns per joint, as a Kinect v2 sees it."""
    header = ",".join(f"{joint}_{axis}" for joint in read_layout(EGBM.layout).joint_names for axis in "xyz")
    for take in takes(EGBM, clips_per_emotion, seed):
        file = f"{take.actor.name}_{take.emotion_code}_{take.number + 1:02d}.csv"
        seen = kinect_positions(take)
        _write(folder / file, f"{header}\n{_rows(seen.reshape(len(seen), -1), ',')}")


def body_positions(layout: Layout, take: Take) -> np.ndarray:
    """(T, V, 3) metres: the joint positions that the BVH file describes."""
    offsets, rotations, root = _body(layout, take)
    return posed(layout, offsets, rotations, root)


def _body(layout: Layout, take: Take) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets (V, 3), local rotations (T, V, 3, 3) and root track (T, 3)."""
    offsets = rest_offsets(layout, take.actor.build).round(4)
    rotations = local_rotations(layout, take.angles, take.yaw, take.finger_curl)
    return offsets, rotations, walked_root(layout, offsets, rotations, take.start)


def bvh_text(layout: Layout, take: Take, frames_per_second: float, order: str, position_channels: bool) -> str:
    """A BVH file in centimetres. `order`: axes of the rotation channels; `position_channels`: on every joint, not only on the root."""
    offsets, rotations, root = _body(layout, take)
    offsets, root = 100 * offsets, 100 * root
    degrees = euler_degrees(rotations, order)  # (T, V, 3)
    lines, columns = ["HIERARCHY"], []

    def write_joint(joint: int, indent: str) -> None:
        name, is_root = layout.joint_names[joint], layout.parents[joint] < 0
        children = [child for child in range(layout.joints) if layout.parents[child] == joint]
        lines.append(f"{indent}{'ROOT' if is_root else 'JOINT'} {name}" if children else f"{indent}End Site")
        lines.append(f"{indent}{{")
        lines.append(f"{indent}  OFFSET {' '.join(_shortest(value) for value in offsets[joint])}")
        if children:
            moves = is_root or position_channels
            channels = [f"{axis}position" for axis in "XYZ" if moves] + [f"{axis}rotation" for axis in order]
            lines.append(f"{indent}  CHANNELS {len(channels)} {' '.join(channels)}")
            if moves:  # a position channel replaces the offset: it repeats it wherever the bone keeps its length
                columns.append(root if is_root else np.broadcast_to(offsets[joint], root.shape))
            columns.append(degrees[:, joint])
        for child in children:
            write_joint(child, indent + "  ")
        lines.append(f"{indent}}}")

    write_joint(layout.parents.index(-1), "")
    rows = _rows(np.concatenate(columns, axis=1), " ")
    return "\n".join([*lines, "MOTION", f"Frames: {len(root)}", f"Frame Time: {1 / frames_per_second:.6f}", rows])


def euler_degrees(rotations: np.ndarray, order: str) -> np.ndarray:
    """Rotations (..., 3, 3) as turns about three different axes, the first of `order` outermost -> degrees (..., 3)."""
    i, j, k = ("XYZ".index(axis) for axis in order)
    sign = 1 if (j - i) % 3 == 1 else -1
    second = np.arcsin(np.clip(sign * rotations[..., i, k], -1, 1))
    first = np.arctan2(-sign * rotations[..., j, k], rotations[..., k, k])
    third = np.arctan2(-sign * rotations[..., i, j], rotations[..., i, i])
    return np.degrees(np.stack([first, second, third], axis=-1))


SENSOR_HEIGHT, SENSOR_DISTANCE = 0.9, 2.6  # Metres above the floor, and from the sensor to where the actor starts
KINECT_FROM_BODY = {
    "SpineBase": "Hips", "SpineMid": "Spine2", "SpineShoulder": "LeftShoulder RightShoulder", "Neck": "Neck", "Head": "Head Head_end",
    "Shoulder": "Arm", "Elbow": "ForeArm", "Wrist": "Hand", "Hand": "InHandMiddle", "HandTip": "HandMiddle3_end", "Thumb": "HandThumb3",
    "Hip": "UpLeg", "Knee": "Leg", "Ankle": "Foot", "Foot": "Foot_end",
}  # fmt: skip
"""Kinect joint, without its side -> the joints of the 72-node body whose mean it is."""


def kinect_positions(take: Take) -> np.ndarray:
    """(T, 25, 3) metres in the sensor's frame: X to its left, Y up, Z away from it; noisy, as the sensor is."""
    body, kinect = read_layout(KDAE.layout), read_layout(EGBM.layout)
    positions = body_positions(body, take)
    seen = np.empty((len(positions), kinect.joints, 3))
    for joint, name in enumerate(kinect.joint_names):
        side = "Left" if name.endswith("Left") else "Right" if name.endswith("Right") else ""
        sources = KINECT_FROM_BODY[name.removesuffix(side)].split()
        seen[:, joint] = positions[:, [body.joint_names.index(side + source) for source in sources]].mean(axis=1)
    seen += (0, -SENSOR_HEIGHT, SENSOR_DISTANCE)
    rng = np.random.default_rng(take.noise_seed)
    wander = rng.normal(size=(len(seen) + 9, kinect.joints, 3))
    slow = np.stack([wander[shift : shift + len(seen)] for shift in range(10)]).mean(axis=0)  # (T, 25, 3) correlated over 10 frames
    return seen + 0.015 * slow + 0.003 * rng.normal(size=seen.shape)


def _rows(values: np.ndarray, separator: str) -> str:
    """(T, columns) -> text, one row per line; columns that never change are formatted once, and as short as they can be."""
    values = values.round(4)
    still = np.ptp(values, axis=0) == 0
    row = separator.join(_shortest(value) if same else "%.4f" for value, same in zip(values[0], still, strict=True))
    return "".join(row % tuple(moving) + "\n" for moving in values[:, ~still].tolist())


def _shortest(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
