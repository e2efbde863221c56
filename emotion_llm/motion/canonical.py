"""What a model may see of a recording, and what it may not.

RecordedMotion, Layout  ->  Motion (metres, Y up)  ->  canonical Motion: the camera, the studio and the actor's size are gone

Gone: where and in what direction the recording started, how high the floor lay, how long the actor's bones are, how many
frames per second the camera took. Kept: tempo, turning, travel and height over the floor (both in leg lengths), posture.
Every choice is a field of `CanonicalSettings`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from emotion_llm.motion.layout import Layout, known_layouts, read_layout
from emotion_llm.motion.motion import FRAMES_PER_SECOND, Motion, MotionFileError, RecordedMotion
from emotion_llm.motion.resampling import averaged, between_frames
from emotion_llm.runtime.errors import UserError

UP_AXES = {
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
}
"""The file's axis that points up -> the rotation (rows) that turns it to Y; the file's axes are taken to be right-handed."""
FARTHEST_METRES = 1e5
"""A position farther away is no position: missing."""
SAME_RATE = 0.001
"""Rates that differ by a smaller share are one rate: 0.0333333 seconds per frame is meant to be 30 per second."""
SHORTEST_BONE = 1e-3
"""Metres; a shorter bone points nowhere."""
GROUND_PERCENTILE = 5
"""Of the height of the body's lowest joint over the frames: robust against a sensor's outliers, and nearly the lowest of all."""


@dataclass(frozen=True)
class CanonicalSettings:
    """How recordings are made comparable. All of it is our choice: the paper does not say."""

    frames_per_second: float = 30.0
    """Every recording is resampled in time to this rate by linear interpolation, never to a fixed number of frames: tempo is true."""
    low_pass: bool = True
    """On the way down to that rate, each new frame is the mean over its interval: movement too fast for the new rate is damped
    and does not turn into slower movement."""
    longest_gap_seconds: float = 0.5
    """Missing values are interpolated over gaps up to this long; a longer one is an error."""
    bone_lengths: str = "layout"
    """'layout': every bone keeps its direction and gets the length that the layout gives it, travel is scaled by the ratio of the leg
    lengths; so size cannot name the actor. 'recorded': the actor's own lengths."""
    heading: str = "start"
    """'start': the whole recording is turned about the vertical once, so that the body faces +Z at the start; turning within it is kept.
    'recorded': as in the file."""
    heading_seconds: float = 0.25
    """How long the start is for that: the mean direction over it."""
    height: str = "ground"
    """'ground': the floor, which is where the body's lowest joint is when it is lowest, comes to height 0. 'recorded': as in the file."""
    start: str = "origin"
    """'origin': the pelvis starts above the origin, and a scene's root above the pelvis comes to where the pelvis is. 'recorded': as in
    the file."""

    def __post_init__(self) -> None:
        for name, choice in {"bone_lengths": "layout", "heading": "start", "height": "ground", "start": "origin"}.items():
            if getattr(self, name) not in (choice, "recorded"):
                raise UserError(f"canonical {name} is {getattr(self, name)!r}; choose {choice} or recorded")
        ranges = {"frames_per_second": FRAMES_PER_SECOND, "longest_gap_seconds": (0, 3600), "heading_seconds": (0, 3600)}
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if not (isinstance(value, int | float) and least <= value <= most):
                raise UserError(f"canonical {name} is {value!r}; give a number from {least:g} to {most:g}")


def to_motion(
    recorded: RecordedMotion, layout: Layout, unit_metres: float, up_axis: str, frames_per_second_fallback: float | None, place: str
) -> Motion:
    """The recording on that layout: its joints found and ordered, in metres, Y up.

    Args:
        unit_metres: metres in one unit of length of the file.
        up_axis: the file's axis that points up, 'x', 'y' or 'z'.
        frames_per_second_fallback: for files that do not tell.
        place: the file, for the error messages.

    Raises:
        UserError: another layout's joints, or no frame rate.
    """
    if up_axis not in UP_AXES or not 0 < unit_metres < math.inf:
        raise UserError(f"{place}: up axis {up_axis!r}, {unit_metres} metres per unit; give x, y or z, and a length such as 0.01")
    rate = recorded.frames_per_second or frames_per_second_fallback
    if rate is None or not FRAMES_PER_SECOND[0] <= rate <= FRAMES_PER_SECOND[1]:
        raise UserError(
            f"{place}: the file does not tell its frame rate, and {rate} frames per second are given for it; give a number from 1 to 100000"
        )
    positions = recorded.positions[:, _joint_order(recorded, layout, place)]  # (T, V, 3)
    if up_axis != "y":
        positions = positions @ np.array(UP_AXES[up_axis], dtype=float).T
    with np.errstate(over="ignore", invalid="ignore"):
        positions = positions * unit_metres
        positions[~(np.abs(positions) < FARTHEST_METRES)] = np.nan
    return Motion(layout, positions, float(rate))


def canonicalise(motion: Motion, settings: CanonicalSettings, place: str = "motion") -> Motion:
    """The motion as a model may see it.

    Raises:
        UserError: a joint is missing for too long, or the body has no size; names the place.
    """
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
    """Where in the recording each of the layout's joints is."""
    if recorded.joint_names is None:
        if recorded.positions.shape[1] != layout.joints:
            raise MotionFileError(
                f"{place}: has {recorded.positions.shape[1]} joints without names where layout '{layout.name}' has {layout.joints}; "
                f"name the right layout, known are {', '.join(known_layouts())}, or name the columns"
            )
        return list(range(layout.joints))
    found = {_layout_name(name, layout): index for index, name in enumerate(recorded.joint_names)}
    missing = [name for name in layout.joint_names if name not in found]
    unexpected = [name for name in found if name not in layout.joint_names]
    if missing or unexpected or len(found) != len(recorded.joint_names):
        fitting = [name for name in known_layouts() if set(read_layout(name).joint_names) == set(recorded.joint_names)]
        raise MotionFileError(
            f"{place}: its {len(recorded.joint_names)} joints are not those of layout '{layout.name}': missing {_listed(missing)}, "
            f"unexpected {_listed(unexpected)}; "
            + (f"they are those of layout '{fitting[0]}': name that" if fitting else f"known layouts are {', '.join(known_layouts())}")
            + ", or draw a layout from this file with launch/prepare.py --infer-layout"
        )
    return [found[name] for name in layout.joint_names]


def _layout_name(name: str, layout: Layout) -> str:
    """A file's spelling of a joint -> the layout's; an End Site follows its parent's spelling."""
    parent = name.removesuffix("_end")
    return layout.aliases.get(name) or (f"{layout.aliases[parent]}_end" if name != parent and parent in layout.aliases else name)


def _listed(names: list[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:8]) or "none"
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown


def _gaps_filled(motion: Motion, longest_seconds: float, place: str) -> Motion:
    """Missing positions interpolated between the frames before and after; at the ends, the nearest one is held."""
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
    at = np.arange(math.floor((len(motion.positions) - 1) / ratio + SAME_RATE) + 1) * ratio
    at = np.minimum(at, len(motion.positions) - 1)
    resample = averaged(motion.positions, at, ratio) if low_pass and ratio > 1 else between_frames(motion.positions, at)
    return replace(motion, positions=resample, frames_per_second=frames_per_second)


def _with_layout_bones(motion: Motion, place: str) -> Motion:
    """Every bone in its recorded direction with the layout's length, hung from a pelvis that travels in reference leg lengths."""
    layout, pelvis = motion.layout, motion.layout.landmarks["pelvis"]
    hangs_from = _body_parents(layout)
    directions = _bone_directions(motion, hangs_from)  # (T, V, 3)
    positions = np.empty_like(motion.positions)
    positions[:, pelvis] = motion.positions[:, pelvis] * (_reference_leg_length(layout) / _leg_length(motion, place))
    for joint in layout.parents_first:
        if joint != pelvis:
            positions[:, joint] = positions[:, hangs_from[joint]] + directions[:, joint] * layout.bone_lengths[joint]
    return replace(motion, positions=positions)


def _body_parents(layout: Layout) -> list[int]:
    """What each joint hangs from when the pelvis is the root."""
    pelvis = layout.landmarks["pelvis"]
    return [pelvis if parent < 0 or parent in layout.at_pelvis else parent for parent in layout.parents]


def _bone_directions(motion: Motion, hangs_from: list[int]) -> np.ndarray:
    """Unit vectors (T, V, 3) from what each joint hangs from to the joint.

    Where a bone is too short to point anywhere, its last direction is held; if that is so throughout the recording, it goes on
    in the direction of the bone before it, or, hanging from the pelvis, straight up (in a leg, down).
    """
    vectors = motion.positions - motion.positions[:, hangs_from]
    lengths = np.linalg.norm(vectors, axis=2)  # (T, V)
    points = lengths > SHORTEST_BONE
    directions = vectors / np.where(points, lengths, 1)[..., None]
    pelvis, frames = motion.layout.landmarks["pelvis"], np.arange(len(points))
    for joint in motion.layout.parents_first:
        if points[:, joint].any():
            held = np.maximum.accumulate(np.where(points[:, joint], frames, np.argmax(points[:, joint])))
            directions[:, joint] = directions[held, joint]
        elif hangs_from[joint] == pelvis:
            directions[:, joint] = (0, -1 if motion.layout.parts[joint].endswith("leg") else 1, 0)
        else:
            directions[:, joint] = directions[:, hangs_from[joint]]
    return directions


def _reference_leg_length(layout: Layout) -> float:
    return sum(layout.bone_lengths[joint] for side in ("left", "right") for joint in layout.chain(f"{side}_hip", f"{side}_ankle"))


def _leg_length(motion: Motion, place: str) -> float:
    """Metres from hip to ankle along the bones, both legs together."""
    joints = [joint for side in ("left", "right") for joint in motion.layout.chain(f"{side}_hip", f"{side}_ankle")]
    bones = motion.positions[:, joints] - motion.positions[:, [motion.layout.parents[joint] for joint in joints]]
    length = float(np.median(np.linalg.norm(bones, axis=2), axis=0).sum())
    if length < SHORTEST_BONE:
        raise UserError(f"{place}: its legs are {length:g} m long; check its unit, and that its joints are those of '{motion.layout.name}'")
    return length


def _facing_front(motion: Motion, seconds: float) -> Motion:
    """The recording turned about the vertical so that the body faces +Z at the start; one that lies on its side faces nowhere and is
    left as it is."""
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
