"""A synthetic body: an action determines what it does, movement qualities determine how.

movement qualities, action, build  ->  joint angles (T,) by name  ->  local rotations (T, V, 3, 3)  ->  positions (T, V, 3)

With identity rotations the body stands in a T-pose, faces +Z and has its left on +X; metres, Y up. All numbers are our choice: they
are plausible for a person, not measured.
"""

from dataclasses import astuple, dataclass
from typing import Self

import numpy as np

from emotion_llm.motion.layout import Layout

PITCH, YAW, ROLL = 0, 1, 2  # Axes of rotation X, Y and Z


@dataclass(frozen=True)
class Qualities:
    """How a person moves, whatever the action; the defaults are neutral."""

    head_pitch: float = 4.0  # Degrees that the head is bowed, relative to the trunk
    head_turn: float = 0.0  # Degrees that the head is averted, to the side of the weaker hand
    trunk_pitch: float = 3.0  # Degrees that the trunk leans forward
    shoulder_raise: float = 0.0  # Degrees that the collar bones are lifted
    arm_opening: float = 14.0  # Degrees between each upper arm and the trunk
    elbow_bend: float = 22.0  # Degrees of bending in both elbows; bent arms are held in front of the body
    knee_bend: float = 7.0  # Degrees that the thighs are bent: a crouch
    tempo: float = 1.0  # Speed of the action as a multiple of its usual one
    amplitude: float = 1.0  # Size of the action's swings as a multiple of the usual one
    abruptness: float = 0.25  # 0: sinusoids; 1: jumps between two poses
    tremor: float = 0.3  # Degrees of trembling at 5 to 8 Hz in arms and head
    startle: float = 0.0  # 1: the posture is taken up suddenly and the action then stops; 0: the action goes on evenly

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> Self:
        """The inverse of `vector`, clipped to LOWEST and HIGHEST."""
        return cls(*(float(value) for value in np.clip(vector, LOWEST, HIGHEST)))

    @property
    def vector(self) -> np.ndarray:
        return np.array(astuple(self))


LOWEST = np.array([-25, -45, -15, -10, 2, 5, 0, 0.4, 0.3, 0.0, 0.1, 0.0])
HIGHEST = np.array([45, 45, 35, 22, 55, 100, 32, 2.0, 1.8, 1.0, 4.0, 1.0])


@dataclass(frozen=True)
class Drive:
    """One joint angle of an action: mean + amplitude * swing * wave(harmonic * phase + shift)."""

    angle: str  # Name of a joint angle; 'near' stands for the side of the stronger hand, 'far' for the other
    mean: float  # Degrees
    swing: float = 0.0  # Degrees
    harmonic: int = 1
    shift: float = 0.0  # Share of a cycle


def _both(angle: str, mean: float, swing: float = 0.0, harmonic: int = 1, shift: float = 0.0) -> tuple[Drive, Drive]:
    """The same drive on the left and on the right."""
    return Drive(f"left {angle}", mean, swing, harmonic, shift), Drive(f"right {angle}", mean, swing, harmonic, shift)


BOTH = ("left", "right")
LEGS = (
    Drive("left hip", 4, 19),
    Drive("left knee", 20, 20, 1, 0.33),
    Drive("right hip", 4, 19, 1, 0.5),
    Drive("right knee", 20, 20, 1, 0.83),
)
ACTIONS: dict[str, tuple[float, tuple[Drive, ...]]] = {
    "walking": (0.85, (*LEGS, Drive("left swing", 0, 20, 1, 0.5), Drive("right swing", 0, 20), Drive("turn", 0, 6))),
    "carrying": (0.8, (*LEGS, *_both("swing", 18, 4, 2), *_both("elbow", 55, 5, 2))),
    "knocking": (0.55, (Drive("near swing", 48, 6, 3), Drive("near elbow", 62, 20, 3, 0.1), Drive("bend", 2, 3))),
    "waving": (0.55, (Drive("near open", 52, 5, 3), Drive("near twist", -75), Drive("near elbow", 58, 22, 3), Drive("turn", 0, 5))),
    "throwing": (0.5, (Drive("near swing", 45, 45), Drive("near elbow", 50, 24, 1, 0.3), Drive("turn", 0, 12), Drive("bend", 4, 6))),
    "lifting": (0.5, (Drive("bend", 28, 26), Drive("squat", 24, 22), *_both("swing", 42, 22, 1, 0.2))),
    "sitting down": (0.45, (Drive("bend", 16, 14), *_both("hip", 38, 36), *_both("knee", 42, 38))),
    "moving books": (0.5, (Drive("turn", 0, 26), *_both("swing", 38, 8, 2), *_both("elbow", 40, 10, 2))),
    "sitting": (0.7, (*_both("hip", 78), *_both("knee", 84), *_both("swing", 24, 12, 2), *_both("elbow", 38, 16, 2, 0.2))),
}
"""Action -> cycles per second at tempo 1, and the joint angles over a cycle."""


def joint_angles(
    qualities: Qualities, action: str, right_handed: bool, frames: int, frames_per_second: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Degrees (T,) of every joint angle by name, for one performance of the action."""
    seconds = np.arange(frames) / frames_per_second
    cycles_per_second, drives = ACTIONS[action]
    pace = 1 + 0.05 * _noise(seconds, 0.2, 0.6, rng)  # people's timing varies
    phase = rng.uniform() + np.cumsum(cycles_per_second * qualities.tempo * pace) / frames_per_second
    onset = 0.25 + 0.35 * rng.uniform()
    posture = 1 - qualities.startle * (1 - _rise(seconds, onset, 0.2))  # (T,) weight of the posture against the neutral one
    action_weight = 1 - 0.85 * qualities.startle * _rise(seconds, onset + 0.4, 0.5)  # (T,)

    names = [f"{side} {part}" for side in BOTH for part in ("raise", "swing", "open", "twist", "elbow", "hip", "knee")]
    angles = {name: np.zeros(frames) for name in ("head pitch", "head turn", "bend", "turn", "squat", *names)}
    near, far = ("right", "left") if right_handed else ("left", "right")
    for drive in drives:
        name = drive.angle.replace("near", near).replace("far", far)
        steps = name.endswith(("hip", "knee"))  # legs that carry the body cannot move as abruptly as a hand
        sharpness = 0.3 + (0.5 if steps else 2.2) * qualities.abruptness / drive.harmonic**0.5
        wave = np.tanh(sharpness * np.sin(2 * np.pi * (drive.harmonic * phase + drive.shift))) / np.tanh(sharpness)
        angles[name] += drive.mean + drive.swing * qualities.amplitude * action_weight * wave

    rest = Qualities()
    held = {name: getattr(rest, name) + (getattr(qualities, name) - getattr(rest, name)) * posture for name in POSTURE}
    angles["head pitch"] += held["head_pitch"]
    angles["head turn"] += held["head_turn"] * (1 if far == "left" else -1)
    angles["bend"] += held["trunk_pitch"]
    angles["squat"] += held["knee_bend"]
    for side in BOTH:
        angles[f"{side} raise"] += held["shoulder_raise"]
        angles[f"{side} open"] += held["arm_opening"]
        angles[f"{side} elbow"] += held["elbow_bend"]
        angles[f"{side} swing"] += 0.25 * held["elbow_bend"] - 3
        angles[f"{side} twist"] += 0.45 * held["elbow_bend"]
    for name in angles:
        angles[name] += _noise(seconds, 0.3, 1.2, rng)
        if name.endswith(("swing", "elbow", "head pitch")):
            angles[name] += qualities.tremor * _noise(seconds, 5, 8, rng)
    for side in BOTH:
        angles[f"{side} elbow"] = _limited(angles[f"{side} elbow"], 3, 140)
        angles[f"{side} knee"] = _limited(angles[f"{side} knee"], 1, 130)
    return angles


POSTURE = ("head_pitch", "head_turn", "trunk_pitch", "shoulder_raise", "arm_opening", "elbow_bend", "knee_bend")


def _noise(seconds: np.ndarray, low_hertz: float, high_hertz: float, rng: np.random.Generator) -> np.ndarray:
    """(T,) smooth noise of unit variance in a band of frequencies."""
    frequency, shift = rng.uniform(low_hertz, high_hertz, (3, 1)), rng.uniform(0, 2 * np.pi, (3, 1))
    return np.sqrt(2 / 3) * np.sin(2 * np.pi * frequency * seconds + shift).sum(axis=0)


def _rise(seconds: np.ndarray, start: float, duration: float) -> np.ndarray:
    """A smooth step from 0 at `start` to 1 at `start + duration`."""
    x = np.clip((seconds - start) / duration, 0, 1)
    return x * x * (3 - 2 * x)


def _limited(degrees: np.ndarray, low: float, high: float) -> np.ndarray:
    """The angle with a soft lower and upper limit."""
    degrees = low + 5 * np.logaddexp(0, (degrees - low) / 5)
    return high - 5 * np.logaddexp(0, (high - degrees) / 5)


def rest_offsets(layout: Layout, build: tuple[float, float, float]) -> np.ndarray:
    """(V, 3) metres from each joint's parent to the joint in the T-pose, for the sizes of trunk, arms and legs (1: the layout's)."""
    offsets, (trunk, arms, legs) = np.zeros((layout.joints, 3)), build
    scale = {"trunk": trunk, "head": trunk, "left_arm": arms, "right_arm": arms}
    for joint, part in enumerate(layout.parts):
        direction = np.array(_rest_direction(layout, joint), dtype=float)
        direction *= (-1, 1, 1) if part.startswith("right") else (1, 1, 1)
        offsets[joint] = direction / np.linalg.norm(direction) * layout.bone_lengths[joint] * scale.get(part, legs)
    return offsets


FINGERS = {
    "Thumb1": (0.62, 0.05, 0.78), "Thumb2": (0.8, 0, 0.6), "Thumb3": (0.8, 0, 0.6), "Index": (0.85, 0.1, 0.5), "Index1": (0.98, 0, 0.18),
    "Middle": (0.97, 0.1, 0.2), "Middle1": (1, 0, 0.06), "Ring": (0.99, 0.1, -0.05), "Ring1": (0.99, 0, -0.1), "Pinky": (0.93, 0.1, -0.33),
    "Pinky1": (0.96, 0, -0.25),
}  # fmt: skip
"""Direction of a left hand's bones in the T-pose, where it is not (1, 0, 0)."""


def _rest_direction(layout: Layout, joint: int) -> tuple[float, float, float]:
    """Direction of the bone that ends in the joint in the T-pose, on the left half of the body."""
    marks, part = layout.landmarks, layout.parts[joint]
    if part.endswith("arm"):
        is_collar = joint in (layout.parents[marks["left_shoulder"]], layout.parents[marks["right_shoulder"]])
        return (0.45, 0.89, 0) if is_collar else FINGERS.get(layout.joint_names[joint].rpartition("Hand")[2], (1, 0, 0))
    if part.endswith("leg"):
        is_hip, bones = joint in (marks["left_hip"], marks["right_hip"]), _bones_below_ankle(layout, joint)
        return (1, -0.15, 0) if is_hip else (0, (-0.4, -0.1)[bones - 1], 0.92) if bones else (0, -1, 0)
    return (0, 1, 0)


def _bones_below_ankle(layout: Layout, joint: int) -> int:
    """Number of bones between the joint and the ankle above it, on either side; 0 if it does not lie below."""
    for bones in range(1, 4):
        joint = layout.parents[joint]
        if joint in (layout.landmarks["left_ankle"], layout.landmarks["right_ankle"]):
            return bones
    return 0


def local_rotations(layout: Layout, angles: dict[str, np.ndarray], yaw: float, finger_curl: float) -> np.ndarray:
    """(T, V, 3, 3) rotation of every joint in its parent's frame; the root is turned by `yaw` degrees."""
    marks, frames = layout.landmarks, len(angles["bend"])
    rotations = np.broadcast_to(np.eye(3), (frames, layout.joints, 3, 3)).copy()
    pelvis, spine = marks["pelvis"], layout.chain("pelvis", "neck")[1:]
    pelvis_pitch = 0.35 * angles["bend"]
    rotations[:, pelvis] = _about(YAW, np.full(frames, yaw)) @ _about(PITCH, pelvis_pitch)
    for joint in spine:
        rotations[:, joint] = _about(YAW, angles["turn"] / len(spine)) @ _about(PITCH, 0.65 * angles["bend"] / len(spine))
    for joint, share in ((marks["neck"], 0.7), (marks["head"], 0.3)):
        rotations[:, joint] = _about(YAW, share * angles["head turn"]) @ _about(PITCH, share * angles["head pitch"])
    for side, sign in (("left", 1), ("right", -1)):  # mirroring changes the sign of rotations about Y and Z
        swing, opening, twist, elbow, hip, knee = (angles[f"{side} {part}"] for part in ("swing", "open", "twist", "elbow", "hip", "knee"))
        shoulder, squat = marks[f"{side}_shoulder"], angles["squat"]
        rotations[:, layout.parents[shoulder]] = _about(ROLL, sign * angles[f"{side} raise"])
        rotations[:, shoulder] = _about(PITCH, -swing) @ _about(ROLL, sign * (opening - 90)) @ _about(PITCH, twist)
        rotations[:, marks[f"{side}_elbow"]] = _about(YAW, -sign * elbow)
        rotations[:, marks[f"{side}_hip"]] = _about(PITCH, -(hip + squat) - pelvis_pitch)
        rotations[:, marks[f"{side}_knee"]] = _about(PITCH, knee + 2 * squat)
        rotations[:, marks[f"{side}_ankle"]] = _about(PITCH, hip - knee - squat)  # keeps the foot level
        for joint, name in enumerate(layout.joint_names):
            if name.lower().startswith(f"{side}hand") and name[-1] in "123" and "Thumb" not in name:
                rotations[:, joint] = _about(ROLL, np.full(frames, -sign * finger_curl))
    return rotations


def _about(axis: int, degrees: np.ndarray) -> np.ndarray:
    """Right-handed rotations about one axis: (T,) -> (T, 3, 3)."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turns = np.zeros((len(degrees), 3, 3))
    turns[:, axis, axis] = 1
    turns[:, first, first] = turns[:, second, second] = cosine
    turns[:, first, second], turns[:, second, first] = -sine, sine
    return turns


def posed(layout: Layout, offsets: np.ndarray, rotations: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Forward kinematics: offsets (V, 3), local rotations (T, V, 3, 3), root track (T, 3) -> positions (T, V, 3)."""
    positions, turned = np.empty((*rotations.shape[:2], 3)), np.empty_like(rotations)
    for joint in layout.parents_first:
        parent = layout.parents[joint]
        if parent < 0:
            positions[:, joint], turned[:, joint] = root, rotations[:, joint]
        else:
            positions[:, joint] = positions[:, parent] + turned[:, parent] @ offsets[joint]
            turned[:, joint] = turned[:, parent] @ rotations[:, joint]
    return positions


def walked_root(layout: Layout, offsets: np.ndarray, rotations: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(T, 3) track of the root for which the lower foot stays on the ground and does not slide; start (2,): X and Z of the first frame."""
    frames = len(rotations)
    positions = posed(layout, offsets, rotations, np.zeros((frames, 3)))
    feet = [[j for j in range(layout.joints) if layout.parts[j] == f"{side}_leg" and _bones_below_ankle(layout, j)] for side in BOTH]
    tracks = np.stack([positions[:, foot].mean(axis=1) for foot in feet], axis=1)  # (T, 2 feet, 3)
    heights = np.stack([positions[:, foot, 1].min(axis=1) for foot in feet], axis=1)  # (T, 2 feet)
    weights = np.exp(-(heights - heights.min(axis=1, keepdims=True)) / 0.015)  # about 1 for the supporting foot
    weights /= weights.sum(axis=1, keepdims=True)
    steps = -(weights[1:, :, None] * np.diff(tracks, axis=0)).sum(axis=1)  # (T - 1, 3): the body passes over the foot
    root = np.zeros((frames, 3))
    root[1:] = np.cumsum(steps, axis=0)
    root[:, [0, 2]] += start
    root[:, 1] = 0.01 - (weights * heights).sum(axis=1)
    return root
