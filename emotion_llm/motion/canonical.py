"""Canonical form: recordings made comparable, independent of camera, studio and body size.

RecordedMotion, Layout  ->  Motion (metres, Y up)  ->  canonical Motion

Removed: start position, start heading, floor height, bone lengths, frame rate. Kept: posture, tempo, turning, and travel and height
above the floor in leg lengths. Every choice is a field of `CanonicalSettings`.
"""

import math
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass

from emotion_llm.motion.layout import Layout, known_layouts, read_layout
from emotion_llm.motion.motion import FRAMES_PER_SECOND, Motion, MotionFileError, RecordedMotion
from emotion_llm.motion.resampling import averaged, between_frames
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import STRICT, remedy

UP_AXES = {
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
}
"""The file's axis that points up -> the rotation (rows) that turns it to Y."""
Up = Literal["x", "y", "z", "-x", "-y", "-z"]
"""The file's axis that points up; with a minus sign, the axis that points down."""
Handedness = Literal["right", "left"]  # Of the file's axes; those of Unity and Unreal are left-handed
MetresPerUnit = Annotated[
    float,
    Field(ge=1e-6, le=10),
    remedy(
        "give metres per unit of the files: 1 for metres, 0.01 for centimetres, 0.001 for millimetres, 0.0254 for inches, 0.0564 for the "
        "Acclaim files of CMU"
    ),
]
FARTHEST_METRES = 1e5  # Positions farther away count as missing
SAME_RATE = 0.001
"""Rates that differ by a smaller fraction are equal: 0.0333333 seconds per frame mean 30 per second."""
SHORTEST_BONE = 1e-3  # Metres; the direction of a shorter bone is undefined
GROUND_PERCENTILE = 5
"""Of the height of the lowest joint over the frames: close to the minimum, but robust against outliers."""
Seconds = Annotated[float, Field(strict=True, ge=0, le=3600)]


@validated_dataclass(frozen=True, config=STRICT)
class CanonicalSettings:
    """How recordings are made comparable. Our choices: the paper does not specify them."""

    frames_per_second: Annotated[float, Field(strict=True, ge=FRAMES_PER_SECOND[0], le=FRAMES_PER_SECOND[1])] = 30.0
    """Recordings are resampled to this rate by linear interpolation, never to a fixed number of frames: tempo is preserved."""
    low_pass: bool = True
    """When the rate decreases, each new frame is the mean over its interval: avoids aliasing."""
    longest_gap_seconds: Seconds = 0.5
    """Missing values are interpolated over gaps up to this long; a longer one is an error."""
    bone_lengths: Literal["layout", "recorded"] = "layout"
    """'layout': every bone keeps its direction and gets the layout's length, travel is scaled by the ratio of the leg lengths: body size
    does not identify the actor. 'recorded': the actor's own lengths."""
    heading: Literal["start", "recorded"] = "start"
    """'start': the recording is rotated about the vertical so that the body faces +Z at the start; later turns are kept. 'recorded': as in
    the file."""
    heading_seconds: Seconds = 0.25  # Length of the start for `heading`: the mean direction over it counts
    height: Literal["ground", "recorded"] = "ground"
    """'ground': height 0 is where the body's lowest joint is when it is lowest. 'recorded': as in the file."""
    start: Literal["origin", "recorded"] = "origin"
    """'origin': the pelvis starts above the origin, and a scene's root above the pelvis moves to the pelvis. 'recorded': as in the file."""


def to_motion(
    recorded: RecordedMotion,
    layout: Layout,
    metres_per_unit: float,
    up: str,
    frames_per_second: float | None,
    place: str,
    handedness: str = "right",
) -> Motion:
    """The recording on that layout: its joints found and ordered, in metres, Y up, right-handed.

    Args:
        metres_per_unit: of the file, 0.01 for centimetres.
        up: one of `Up`.
        frames_per_second: used if the file does not state its rate.
        place: the file, for error messages.
        handedness: one of `Handedness`.

    Raises:
        UserError: another layout's joints, no frame rate, or an invalid unit or axis.
    """
    if up not in get_args(Up) or handedness not in get_args(Handedness) or not 0 < metres_per_unit < math.inf:
        raise UserError(
            f"{place}: up {up!r}, handedness {handedness!r}, {metres_per_unit} metres per unit; give one of {', '.join(get_args(Up))}, "
            "right or left, and a length such as 0.01"
        )
    rate = recorded.frames_per_second or frames_per_second
    if rate is None or not FRAMES_PER_SECOND[0] <= rate <= FRAMES_PER_SECOND[1]:
        raise UserError(
            f"{place}: the file does not state its frame rate, and frames_per_second is {rate}; set it to a number from 1 to 100000, or "
            "name the time column of a table in columns.time"
        )
    positions = recorded.positions[:, _joint_order(recorded, layout, place)]  # (T, V, 3)
    rotation = np.array(UP_AXES[up[-1]], dtype=float)
    if up.startswith("-"):
        rotation = np.diag([1, -1, -1]) @ rotation
    if handedness == "left":
        rotation = np.diag([1, 1, -1]) @ rotation
    if not np.array_equal(rotation, np.eye(3)):
        positions = positions @ rotation.T
    with np.errstate(over="ignore", invalid="ignore"):
        positions = positions * metres_per_unit
        positions[~(np.abs(positions) < FARTHEST_METRES)] = np.nan
    return Motion(layout, positions, float(rate), metres_per_unit)


def canonicalise(motion: Motion, settings: CanonicalSettings, place: str = "motion") -> Motion:
    """The canonical form of a motion. Raises UserError: a joint is missing for too long, or the legs have no length; names the place."""
    motion = _gaps_filled(motion, settings.longest_gap_seconds, place)
    motion = _resampled(motion, settings.frames_per_second, settings.low_pass)
    if settings.bone_lengths == "layout":
        motion = _with_layout_bones(motion, place)
    if settings.heading == "start":
        motion = _facing_front(motion, settings.heading_seconds)
    positions, pelvis = motion.positions.copy(), motion.layout.landmarks["pelvis"]
    if settings.start == "origin":
        positions[..., ::2] -= positions[0, pelvis, ::2]
        positions[:, motion.layout.at_pelvis] = positions[:, [pelvis]]
    if settings.height == "ground":
        body = [pelvis, *set(range(motion.layout.joints)).difference(motion.layout.at_pelvis)]
        positions[..., 1] -= np.percentile(positions[:, body, 1].min(axis=1), GROUND_PERCENTILE)
    return replace(motion, positions=positions)


def _joint_order(recorded: RecordedMotion, layout: Layout, place: str) -> list[int]:
    """Index in the recording of each of the layout's joints."""
    if recorded.joint_names is None:
        swapped = len(recorded.positions) == layout.joints
        if recorded.positions.shape[1] != layout.joints:
            raise MotionFileError(
                f"{place}: has {recorded.positions.shape[1]} joints without names where layout '{layout.name}' has {layout.joints}; "
                + (f"it has {layout.joints} frames: transpose the array to (frames, joints, 3), or " if swapped else "")
                + f"use the right layout, known are {', '.join(known_layouts())}, or name the joints in columns.joints"
            )
        return list(range(layout.joints))
    kept = {index: name for index, name in enumerate(recorded.joint_names) if not any(fnmatchcase(name, glob) for glob in layout.ignore)}
    found = {_layout_name(name, layout): index for index, name in kept.items()}
    missing = [name for name in layout.joint_names if name not in found]
    unexpected = [name for name in found if name not in layout.joint_names]
    if missing or unexpected or len(found) != len(kept):
        fitting = [name for name in known_layouts() if set(read_layout(name).joint_names) == set(recorded.joint_names)]
        raise MotionFileError(
            f"{place}: its {len(recorded.joint_names)} joints are not those of layout '{layout.name}': missing {_listed(missing)}, "
            f"unexpected {_listed(unexpected)}{' (the layout can ignore them)' if unexpected and not missing else ''}; "
            + (f"they are those of layout '{fitting[0]}': use that" if fitting else f"known layouts are {', '.join(known_layouts())}")
            + ", or infer a layout from this file with launch/prepare.py --infer-layout"
        )
    return [found[name] for name in layout.joint_names]


def _layout_name(name: str, layout: Layout) -> str:
    """The layout's name of a joint in a file; an End Site follows its parent."""
    parent = name.removesuffix("_end")
    return layout.aliases.get(name) or (f"{layout.aliases[parent]}_end" if name != parent and parent in layout.aliases else name)


def _listed(names: list[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:8]) or "none"
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown


def _gaps_filled(motion: Motion, longest_seconds: float, place: str) -> Motion:
    """Missing positions interpolated linearly; at the ends, the nearest one is held."""
    missing = ~np.isfinite(motion.positions).all(axis=2)  # (T, V)
    if not missing.any():
        return motion
    positions, frames = motion.positions.copy(), np.arange(len(missing))
    for joint in np.flatnonzero(missing.any(axis=0)):
        edges = np.flatnonzero(np.diff(missing[:, joint], prepend=False, append=False))  # first frame of a gap, first after it, ...
        starts, lengths = edges[::2], edges[1::2] - edges[::2]
        longest = int(np.argmax(lengths))
        seconds = lengths[longest] / motion.frames_per_second
        if seconds > longest_seconds or lengths[longest] == len(missing):
            raise UserError(
                f"{place}: joint '{motion.layout.joint_names[joint]}' is missing for {seconds:.2f} s from frame {starts[longest]} on; "
                f"gaps up to {longest_seconds:g} s are filled: cut the recording, fill the gap, or allow longer ones (longest_gap_seconds)"
            )
        there = ~missing[:, joint]
        for axis in range(3):
            positions[:, joint, axis] = np.interp(frames, frames[there], positions[there, joint, axis])
    return replace(motion, positions=positions)


def _resampled(motion: Motion, frames_per_second: float, low_pass: bool) -> Motion:
    ratio = motion.frames_per_second / frames_per_second  # recorded frames per new frame
    if abs(ratio - 1) < SAME_RATE:
        return replace(motion, frames_per_second=frames_per_second)
    last = len(motion.positions) - 1
    at = np.minimum(np.arange(math.floor(last / ratio + SAME_RATE) + 1) * ratio, last)
    resampled = averaged(motion.positions, at, ratio) if low_pass and ratio > 1 else between_frames(motion.positions, at)
    return replace(motion, positions=resampled, frames_per_second=frames_per_second)


def _with_layout_bones(motion: Motion, place: str) -> Motion:
    """Every bone in its recorded direction with the layout's length; the pelvis's travel is scaled to the reference leg length."""
    layout, pelvis = motion.layout, motion.layout.landmarks["pelvis"]
    legs = layout.limbs(("hip", "ankle"))
    reference, length = sum(layout.bone_lengths[joint] for joint in legs), float(np.median(motion.bone_lengths(legs), axis=0).sum())
    if length < SHORTEST_BONE:
        raise UserError(f"{place}: its legs are {length:g} m long; check its unit, and that its joints are those of '{layout.name}'")
    # The parent of each joint when the pelvis is the root.
    body_parents = [pelvis if parent < 0 or parent in layout.at_pelvis else parent for parent in layout.parents]
    directions = _bone_directions(motion, body_parents)  # (T, V, 3)
    positions = np.empty_like(motion.positions)
    positions[:, pelvis] = motion.positions[:, pelvis] * (reference / length)
    for joint in layout.parents_first:
        if joint != pelvis:
            positions[:, joint] = positions[:, body_parents[joint]] + directions[:, joint] * layout.bone_lengths[joint]
    return replace(motion, positions=positions)


def _bone_directions(motion: Motion, body_parents: list[int]) -> np.ndarray:
    """Unit vectors (T, V, 3) to each joint from its parent (V,).

    While a bone is too short to have a direction, its last one is held. If it always is, it continues the bone above it; below the pelvis
    it points up, in a leg down.
    """
    vectors = motion.positions - motion.positions[:, body_parents]
    lengths = np.linalg.norm(vectors, axis=2)  # (T, V)
    points = lengths > SHORTEST_BONE
    directions = vectors / np.where(points, lengths, 1)[..., None]
    pelvis, frames = motion.layout.landmarks["pelvis"], np.arange(len(points))
    for joint in motion.layout.parents_first:
        if points[:, joint].any():
            held = np.maximum.accumulate(np.where(points[:, joint], frames, np.argmax(points[:, joint])))
            directions[:, joint] = directions[held, joint]
        elif body_parents[joint] == pelvis:
            directions[:, joint] = (0, -1 if motion.layout.parts[joint].endswith("leg") else 1, 0)
        else:
            directions[:, joint] = directions[:, body_parents[joint]]
    return directions


def _facing_front(motion: Motion, seconds: float) -> Motion:
    """The recording rotated about the vertical so that the body faces +Z at the start; unchanged if the body lies on its side."""
    start = motion.positions[: max(1, round(seconds * motion.frames_per_second))].mean(axis=0, keepdims=True)  # (1, V, 3)
    left, right = (
        motion.layout.landmark(start, f"{side}_hip") + motion.layout.landmark(start, f"{side}_shoulder") for side in ("left", "right")
    )
    x, _, z = (left - right)[0]
    length = math.hypot(x, z)
    if length < SHORTEST_BONE:
        return motion
    cosine, sine = x / length, z / length
    turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])  # rows: what comes to +X, +Y, +Z
    return replace(motion, positions=motion.positions @ turn.T)
