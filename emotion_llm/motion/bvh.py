"""BVH files (Biovision hierarchy), including common deviations from the format.

bytes of a file  ->  RecordedMotion, End Sites included

A joint's position channels *replace* its OFFSET; its rotation channels apply in the order in which they are listed; it may have
any of the six channels, in any order, or none. An End Site is a joint named after its parent with `_end` appended.

Deviations and how they are handled:

    tabs, CRLF, lower-case keywords, byte order marks, no newline at the end    ignored
    joints of equal names                                                       the later ones get _2, _3, ... appended
    `Frames:` differs from the number of rows                                   all complete rows are kept; noted
    the last row is cut short                                                   dropped; noted
    another row has too few or too many numbers                                 refused; names the line
    `Frames: 0`, or no complete row                                             refused
    nan, inf, however spelt                                                     kept as NaN: a missing value
    all position channels below the root are 0, the OFFSETs are not             added to the OFFSETs; noted

Memory is allocated for the numbers in the file, not for those that the header announces.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from emotion_llm.motion.layout import MAX_JOINTS
from emotion_llm.motion.motion import FRAMES_PER_SECOND, MotionFileError, RecordedMotion
from emotion_llm.motion.text import NUMBER, plain_text, read_rows

MOTION_LINE = re.compile(rb"^[ \t]*MOTION\b", re.IGNORECASE | re.MULTILINE)
FRAMES = re.compile(rb"\s*Frames[ \t]*:[ \t]*(\S*)", re.IGNORECASE)
FRAME_TIME = re.compile(rb"\s*Frame[ \t]*Time[ \t]*:[ \t]*(\S*)", re.IGNORECASE)
FRAME_SECONDS = (1 / FRAMES_PER_SECOND[1], 1 / FRAMES_PER_SECOND[0])
"""Seconds; any other frame time is a rate, milliseconds or a mistake."""
MAX_NAME = 100  # Characters of a joint's name
JOINTS_PER_CHANNEL = 4
"""Limits joints without channels (End Sites, rigid joints), and so the memory that a short row can ask for."""
FRAMES_AT_ONCE = 512  # Frames computed together; the arrays fit the processor's cache
UNKNOWN_OFFSET = (math.nan, math.nan, math.nan)  # Of a joint whose OFFSET has not been read yet


@dataclass
class BvhJoint:
    """One joint of a BVH file's hierarchy."""

    name: str
    parent: int
    offset: tuple[float, float, float] = UNKNOWN_OFFSET
    positions: dict[int, int] = field(default_factory=dict)  # Axis (0, 1, 2) -> column of the motion table
    rotations: list[tuple[int, int]] = field(default_factory=list)
    """(axis, column), in the order in which they are listed."""


def parse_bvh(data: bytes, place: str) -> RecordedMotion:
    """The motion in a BVH file's bytes; `place` names the file in error messages. Raises MotionFileError."""
    text = plain_text(data, place)
    motion_line = MOTION_LINE.search(text)
    if not motion_line:
        raise MotionFileError(f"{place}: no MOTION line; not a BVH file, or its end is missing: export or copy it again")
    joints, channels = _read_hierarchy(text[: motion_line.start()], place)
    announced, frame_seconds, table_start = _read_motion_head(text, motion_line.end(), place)
    first_line = text.count(b"\n", 0, table_start) + 1
    values, notes = read_rows(text[table_start:], place, first_line, channels, f"the HIERARCHY has {channels} channels")
    if len(values) != announced:
        notes.append(f"{announced} frames announced, {len(values)} complete ones found and kept")

    placed = [column for joint in joints[1:] for column in joint.positions.values()]
    if placed and any(any(joint.offset) for joint in joints[1:]) and not any(values[:, column].any() for column in placed):
        notes.append("position channels below the root are all 0: added to the OFFSETs")
        for joint in joints[1:]:
            joint.positions.clear()

    positions = np.empty((len(values), len(joints), 3))
    with np.errstate(all="ignore"):  # nan in, nan out
        for first in range(0, len(values), FRAMES_AT_ONCE):
            frames = slice(first, first + FRAMES_AT_ONCE)
            positions[frames] = world_positions(joints, values[frames])
    positions[~np.isfinite(positions)] = np.nan
    return RecordedMotion(
        joint_names=tuple(joint.name for joint in joints),
        parents=tuple(joint.parent for joint in joints),
        positions=positions,
        frames_per_second=1 / frame_seconds,
        notes=tuple(notes),
    )


def _read_hierarchy(header: bytes, place: str) -> tuple[list[BvhJoint], int]:
    """The joints in the file's order (depth first), and their total number of channels."""
    words = iter(header.replace(b"{", b" { ").replace(b"}", b" } ").decode("utf-8", "replace").split())
    joints: list[BvhJoint] = []
    taken: set[str] = set()
    opened: list[int] = []  # joints whose braces are open, innermost last
    channels = 0
    for word in words:
        keyword = word.lower()
        if keyword in ("root", "joint", "end"):
            if bool(opened) != (keyword != "root") or (joints and not opened):
                raise MotionFileError(
                    f"{place}: {word} after {len(joints)} joints is at the wrong place; a file holds one ROOT with all JOINTs inside"
                )
            name = _joint_name(words, f"{joints[opened[-1]].name}_end" if keyword == "end" else None, taken, place)
            taken.add(name)
            joints.append(BvhJoint(name, opened[-1] if opened else -1))
            opened.append(len(joints) - 1)
            if len(joints) > MAX_JOINTS:
                raise MotionFileError(f"{place}: more than {MAX_JOINTS} joints; remove what is not part of the body and export again")
        elif keyword == "}" and opened:
            joint = joints[opened.pop()]
            if joint.offset is UNKNOWN_OFFSET:
                raise MotionFileError(f"{place}: joint '{joint.name}' has no OFFSET; export the file again")
        elif keyword == "offset" and opened:
            joints[opened[-1]].offset = _offset(words, joints[opened[-1]].name, place)
        elif keyword == "channels" and opened:
            channels = _add_channels(joints[opened[-1]], words, channels, place)
        elif keyword != "hierarchy" or joints:
            raise MotionFileError(
                f"{place}: did not expect {word[:40]!r} in the HIERARCHY after {len(joints)} joints; export the file again"
            )
    if opened or not joints:
        where = f"joint '{joints[opened[-1]].name}' is not closed by a brace" if opened else "there is no ROOT"
        raise MotionFileError(f"{place}: the HIERARCHY is not complete: {where}; export or copy the file again")
    if len(joints) > JOINTS_PER_CHANNEL * channels:
        raise MotionFileError(
            f"{place}: {len(joints)} joints have {channels} CHANNELS together, too few to move a body; export the file again"
        )
    return joints, channels


def _joint_name(words: Iterator[str], end_site: str | None, taken: set[str], place: str) -> str:
    """The words up to the brace, or the name of an End Site; made different from the names before."""
    spelt = " ".join(takewhile(lambda word: word != "{", words))
    name = end_site or spelt
    if not (0 < len(name) <= MAX_NAME and name.isprintable()):
        raise MotionFileError(f"{place}: {name[:40]!r} is not a joint name; use 1 to {MAX_NAME} printable characters")
    unique, times = name, 1
    while unique in taken:
        times += 1
        unique = f"{name}_{times}"
    return unique


def _offset(words: Iterator[str], joint_name: str, place: str) -> tuple[float, float, float]:
    spelt = [next(words, "") for _ in range(3)]
    if not all(NUMBER.fullmatch(word.encode()) for word in spelt):
        raise MotionFileError(f"{place}: OFFSET of joint '{joint_name}' is {' '.join(spelt)[:60]!r}; it needs three numbers")
    x, y, z = (float(word) for word in spelt)
    return x, y, z


def _add_channels(joint: BvhJoint, words: Iterator[str], channels: int, place: str) -> int:
    """Assigns columns of the motion table to the joint, from `channels` on; returns the number of channels so far."""
    count = next(words, "")
    spelt = [next(words, "") for _ in range(int(count))] if count in set("0123456") else [count]
    for word in spelt:
        axis, kind = "xyz".find(word[:1].lower()), word[1:].lower()
        known = {"position": joint.positions, "rotation": dict(joint.rotations)}.get(kind)
        if axis < 0 or not word or known is None or axis in known:
            raise MotionFileError(
                f"{place}: CHANNELS of joint '{joint.name}' say {word[:40]!r}; they are a count from 0 to 6 "
                "and so many different ones of Xposition Yposition Zposition Xrotation Yrotation Zrotation"
            )
        if kind == "position":
            joint.positions[axis] = channels
        else:
            joint.rotations.append((axis, channels))
        channels += 1
    return channels


def _read_motion_head(text: bytes, start: int, place: str) -> tuple[int, float, int]:
    """Announced frames, seconds per frame, and the offset of the table."""
    frames = FRAMES.match(text, start)
    if not frames or not re.fullmatch(rb"[0-9]{1,12}", frames[1]):
        raise MotionFileError(f"{place}: MOTION is not followed by 'Frames:' and a count; write the number of rows there")
    if int(frames[1]) == 0:
        raise MotionFileError(f"{place}: 'Frames: 0', the file holds no motion; export it again, or leave it out")
    frame_time = FRAME_TIME.match(text, frames.end())
    spelt = frame_time[1] if frame_time else b""
    seconds = float(spelt) if NUMBER.fullmatch(spelt) else 0.0
    if frame_time is None or not FRAME_SECONDS[0] <= seconds <= FRAME_SECONDS[1]:
        raise MotionFileError(
            f"{place}: 'Frame Time:' says {spelt[:40].decode('utf-8', 'replace')!r}; it needs seconds per frame from {FRAME_SECONDS[0]:g} "
            f"to {FRAME_SECONDS[1]:g}, for example 0.0083333 for 120 frames per second"
        )
    return int(frames[1]), seconds, frame_time.end()


def world_positions(joints: list[BvhJoint], values: np.ndarray) -> np.ndarray:
    """Forward kinematics: (T, channels) -> (T, V, 3).

    A joint's orientation is three arrays (3, T): its x, y and z axes in the world. A rotation about one of them mixes the other two.
    """
    table = np.ascontiguousarray(values.T)  # (channels, T)
    turning = [column for joint in joints for _, column in joint.rotations]
    angles = np.radians(table[turning])  # (turning channels, T)
    sines, cosines = dict(zip(turning, np.sin(angles))), dict(zip(turning, np.cos(angles)))
    world_axes = np.broadcast_to(np.eye(3)[:, :, None], (3, 3, len(values)))  # axis, coordinate, T
    axes_of: list[list[np.ndarray]] = []
    positions = np.zeros((len(joints), 3, len(values)))
    for index, joint in enumerate(joints):
        axes = list(world_axes) if joint.parent < 0 else list(axes_of[joint.parent])
        if joint.parent >= 0:
            positions[index] = positions[joint.parent]
        for axis in range(3):
            column = joint.positions.get(axis)
            positions[index] += axes[axis] * (joint.offset[axis] if column is None else table[column])
        for axis, column in joint.rotations:
            first, second, sine, cosine = (axis + 1) % 3, (axis + 2) % 3, sines[column], cosines[column]
            axes[first], axes[second] = cosine * axes[first] + sine * axes[second], cosine * axes[second] - sine * axes[first]
        axes_of.append(axes)
    return positions.transpose(2, 0, 1)  # (T, V, 3)
