"""Motion made for the tests: BVH files with positions known by another road, and bodies that move by formula."""

import math
from dataclasses import dataclass

import numpy as np

from emotion_llm.motion.layout import Layout
from emotion_llm.motion.motion import Motion

CHANNELS = ("Xposition", "Yposition", "Zposition", "Xrotation", "Yrotation", "Zrotation")


@dataclass
class ExampleJoint:
    """A joint of a BVH file that is going to be written; without a name it is an End Site."""

    name: str | None
    parent: int
    offset: tuple[float, float, float]
    channels: tuple[str, ...] = ()


def random_skeleton(rng: np.random.Generator, joints: int) -> list[ExampleJoint]:
    """Any tree, in depth-first order, with any channels in any order; End Sites at its leaves."""
    skeleton = [ExampleJoint("Root", -1, tuple(rng.normal(size=3).round(4)), tuple(rng.permutation(CHANNELS)))]

    def grow(parent: int, left: int) -> None:
        while left > 0:
            size = int(rng.integers(1, left + 1))
            channels = tuple(rng.permutation(CHANNELS)[: rng.integers(0, 7)])
            skeleton.append(ExampleJoint(f"Joint{len(skeleton)}", parent, tuple(rng.normal(size=3).round(4)), channels))
            grow(len(skeleton) - 1, size - 1)
            left -= size
        if rng.random() < 0.3:
            skeleton.append(ExampleJoint(None, parent, tuple(rng.normal(size=3).round(4))))

    grow(0, joints - 1)
    return skeleton


def random_values(rng: np.random.Generator, skeleton: list[ExampleJoint], frames: int) -> np.ndarray:
    """(T, channels), as a file would hold them: angles in degrees."""
    return rng.uniform(-200, 200, size=(frames, sum(len(joint.channels) for joint in skeleton))).round(4)


def bvh_text(skeleton: list[ExampleJoint], values: np.ndarray, frame_time: float = 1 / 60) -> str:
    """The BVH file."""
    lines = ["HIERARCHY"]

    def write(joint: int, indent: str) -> None:
        example = skeleton[joint]
        kind = "ROOT" if example.parent < 0 else "JOINT"
        lines.append(f"{indent}End Site" if example.name is None else f"{indent}{kind} {example.name}")
        lines.append(indent + "{")
        lines.append(f"{indent}  OFFSET {' '.join(map(repr, map(float, example.offset)))}")
        if example.name is not None:
            lines.append(f"{indent}  CHANNELS {len(example.channels)} {' '.join(example.channels)}".rstrip())
        for child, other in enumerate(skeleton):
            if other.parent == joint:
                write(child, indent + "  ")
        lines.append(indent + "}")

    write(0, "")
    rows = "\n".join(" ".join(map(repr, map(float, row))) for row in values)
    return "\n".join([*lines, "MOTION", f"Frames: {len(values)}", f"Frame Time: {frame_time:.7f}", rows, ""])


def scalar_positions(skeleton: list[ExampleJoint], values: np.ndarray) -> np.ndarray:
    """Forward kinematics one number at a time, straight from the definition: (T, channels) -> (T, V, 3)."""
    positions = []
    for row in values.tolist():
        numbers = iter(row)
        placed, turned = [], []
        for joint in skeleton:
            local, rotation = list(joint.offset), [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
            for channel in joint.channels:
                axis, value = "XYZ".index(channel[0]), next(numbers)
                if channel.endswith("position"):
                    local[axis] = value
                else:
                    rotation = _product(rotation, _about(axis, math.radians(value)))
            if joint.parent < 0:
                placed.append(local)
                turned.append(rotation)
            else:
                above = turned[joint.parent]
                placed.append([placed[joint.parent][i] + sum(above[i][k] * local[k] for k in range(3)) for i in range(3)])
                turned.append(_product(above, rotation))
        positions.append(placed)
    return np.array(positions)


def _about(axis: int, angle: float) -> list[list[float]]:
    sine, cosine = math.sin(angle), math.cos(angle)
    if axis == 0:
        return [[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]
    if axis == 1:
        return [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]
    return [[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]


def _product(a: list[list[float]], b: list[list[float]]) -> list[list[float]]:
    return [[sum(a[i][k] * b[k][j] for k in range(3)) for j in range(3)] for i in range(3)]


def moving_body(
    layout: Layout, seconds: float = 2.0, rate: float = 30.0, lengths: np.ndarray | None = None, turning: float = 0.5, hertz: float = 0.8
) -> Motion:
    """A body that walks off, turns by `turning` radians a second and swings all its limbs `hertz` times a second.

    A formula in time, so that it can be had at any rate; with bones of any lengths (V,); it travels in leg lengths.
    """
    lengths = np.array(layout.bone_lengths) if lengths is None else lengths
    time = np.arange(math.floor(seconds * rate + 1e-6) + 1) / rate  # (T,)
    heading = turning * time + 0.3
    toes = {
        joint for joint, parent in enumerate(layout.parents) if parent in (layout.landmarks["left_ankle"], layout.landmarks["right_ankle"])
    }
    legs = sum(lengths[joint] for side in ("left", "right") for joint in layout.chain(f"{side}_hip", f"{side}_ankle")) / 2
    positions = np.zeros((len(time), layout.joints, 3))
    pelvis = layout.landmarks["pelvis"]
    walk = legs * np.stack([0.4 * time, 1.1 + 0.03 * np.sin(2 * np.pi * hertz * time), 0.2 * time**2], axis=1)
    for joint in layout.at_pelvis:
        positions[:, joint] = walk
    for joint in layout.parents_first:
        if joint in layout.at_pelvis:
            continue
        part, side = layout.parts[joint], 1 if layout.parts[joint].startswith("left") else -1
        rest = np.array({"trunk": (0, 1, 0), "head": (0, 1, 0)}.get(part, (side, 0, 0)), dtype=float)
        if part.endswith("leg"):
            rest = np.array((0, 0, 1.0) if joint in toes else (side, 0, 0) if layout.parents[joint] == pelvis else (0, -1, 0))
        swing = 0.25 * np.sin(2 * np.pi * hertz * time + 0.7 * joint)
        if joint in toes or layout.parents[joint] == pelvis:
            swing *= 0.1
        sine, cosine = np.sin(swing), np.cos(swing)
        x, y, z = rest[0] + 0 * sine, cosine * rest[1] - sine * rest[2], sine * rest[1] + cosine * rest[2]  # about X
        x, y = cosine * x - sine * y, sine * x + cosine * y  # about Z
        direction = np.stack([np.cos(heading) * x + np.sin(heading) * z, y, -np.sin(heading) * x + np.cos(heading) * z], axis=1)
        positions[:, joint] = positions[:, layout.parents[joint]] + lengths[joint] * direction
    return Motion(layout, positions, rate)


def turned(positions: np.ndarray, yaw: float) -> np.ndarray:
    """Positions turned about the vertical."""
    cosine, sine = math.cos(yaw), math.sin(yaw)
    return positions @ np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]).T
