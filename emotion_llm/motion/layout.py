"""Layouts: which joints a skeleton has and how they hang together. A layout is a JSON file, not code.

layouts/<name>.json  ->  Layout
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from emotion_llm.runtime.errors import UserError

LAYOUT_FOLDER = Path(__file__).parent / "layouts"
LIMBS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
"""Landmarks of either side, the second of which hangs from the first."""
LANDMARKS = (
    "pelvis", "neck", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""Joints that every layout must point out: heading, checks and movement measures are written in these words."""
PARTS = ("trunk", "head", "left_arm", "right_arm", "left_leg", "right_leg")
"""Body parts: coarser than joints, so that layouts with different joints can be compared."""
MAX_JOINTS = 1000
"""More than any motion-capture skeleton has; keeps a broken file from asking for all memory."""
MAX_BONE_METRES = 3.0
"""No bone of a human body is longer: a longer one is a length in centimetres or inches."""
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .:+-]{0,63}")
"""What a joint or layout may be called: harmless in a file name, a terminal and a JSON file."""


@dataclass(frozen=True)
class Layout:
    """The joints of a skeleton, in the order of every (T, V, 3) array on it."""

    name: str
    source: str
    """Where the joint order comes from: a publication, an SDK, a file."""
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    """Index of each joint's parent, -1 for the one root. A parent may come after its child (the Kinect SDK's order does
    that): walk the tree along `parents_first`."""
    parts: tuple[str, ...]
    """Body part of each joint, a word of PARTS."""
    bone_lengths: tuple[float, ...]
    """Metres from each joint to its parent on a body of reference size; 0 for coinciding joints and from the root down to the
    pelvis: what lies between a scene's root and the pelvis is travel, not a bone."""
    mirror_pairs: tuple[tuple[int, int], ...]
    """(left, right) joints that change places when the body is mirrored."""
    landmarks: dict[str, int]
    """Joint index of every word of LANDMARKS."""
    aliases: dict[str, str]
    """Other spellings of joint names met in files -> the name used here."""

    @property
    def joints(self) -> int:
        return len(self.joint_names)

    @cached_property
    def parents_first(self) -> tuple[int, ...]:
        """Every joint, in an order that has each parent before its children."""
        children: dict[int, list[int]] = {}
        for joint, parent in enumerate(self.parents):
            children.setdefault(parent, []).append(joint)
        order = list(children.get(-1, ()))
        for joint in order:  # grows while it is read: breadth first
            order.extend(children.get(joint, ()))
        return tuple(order)

    @cached_property
    def at_pelvis(self) -> tuple[int, ...]:
        """The pelvis and the joints that it hangs from, which are a scene's root and no part of the body."""
        joints, joint = [], self.landmarks["pelvis"]
        while joint >= 0:
            joints.append(joint)
            joint = self.parents[joint]
        return tuple(joints)

    def chain(self, upper: str, lower: str) -> tuple[int, ...]:
        """The joints below one landmark down to another that hangs from it, the nearest to the latter first."""
        joints, joint = [], self.landmarks[lower]
        while joint != self.landmarks[upper]:
            joints.append(joint)
            joint = self.parents[joint]
            if joint < 0:
                raise ValueError(f"layout '{self.name}': {lower} does not hang from {upper}")
        return tuple(joints)

    def landmark(self, positions: np.ndarray, name: str) -> np.ndarray:
        """(T, V, 3) -> the landmark's track (T, 3)."""
        return positions[:, self.landmarks[name]]


def known_layouts() -> tuple[str, ...]:
    """Names of the layouts that ship."""
    return tuple(sorted(path.stem for path in LAYOUT_FOLDER.glob("*.json")))


def read_layout(name_or_path: str | Path) -> Layout:
    """The layout of that name, or of that JSON file.

    Raises:
        UserError: no such layout, or a file that does not describe one consistently.
    """
    path = Path(name_or_path) if str(name_or_path).endswith(".json") else LAYOUT_FOLDER / f"{name_or_path}.json"
    if not path.is_file():
        raise UserError(f"{name_or_path}: no such layout; known are {', '.join(known_layouts())}, or give the path of a JSON file")
    try:
        return layout_from_dict(json.loads(path.read_text(encoding="utf-8")), place=path.name)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a JSON file ({error}); write it anew, for example with launch/prepare.py --infer-layout") from None


def layout_to_dict(layout: Layout) -> dict:
    """The JSON form of a layout, the inverse of `layout_from_dict`."""
    names = layout.joint_names
    return {
        "name": layout.name,
        "source": layout.source,
        "joints": [
            {"name": name, "parent": names[parent] if parent >= 0 else None, "part": part, "bone_length": length}
            for name, parent, part, length in zip(names, layout.parents, layout.parts, layout.bone_lengths, strict=True)
        ],
        "mirror_pairs": [[names[left], names[right]] for left, right in layout.mirror_pairs],
        "landmarks": {word: names[joint] for word, joint in layout.landmarks.items()},
        "aliases": layout.aliases,
    }


def layout_from_dict(metadata: dict, place: str) -> Layout:
    """The layout that a JSON object describes, checked in full.

    Args:
        about: what `layout_to_dict` makes: name, source, joints (name, parent, part, bone_length), mirror_pairs, landmarks, aliases.
        place: where it was found, for the error messages.

    Raises:
        UserError: something is missing or contradicts itself; the message names the place, the value and the remedy.
    """
    layout = _typed(metadata, place)
    for check in (_check_names, _check_tree, _check_parts_and_lengths, _check_mirror, _check_landmarks):
        fault = check(layout)
        if fault:
            raise UserError(f"{place}: {fault}")
    return layout


def _typed(metadata: dict[str, Any], place: str) -> Layout:
    """The fields with their types checked, joint names turned into indices; what they mean is not checked yet."""

    def field(holder: object, name: str, kind: Any, where: str) -> Any:
        value = holder.get(name) if isinstance(holder, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = {str: "text", list: "a list", dict: "an object"}.get(kind, "a number")
            raise UserError(f"{place}: {where} needs '{name}', {wanted}, found {str(value)[:60]!r}; see the layouts that ship for the form")
        return value

    joints = field(metadata, "joints", list, "a layout")
    if not 0 < len(joints) <= MAX_JOINTS:
        raise UserError(f"{place}: a layout has 1 to {MAX_JOINTS} joints, found {len(joints)}; list the body's joints only")
    names = tuple(field(joint, "name", str, f"joint {index}") for index, joint in enumerate(joints))
    index_of = {name: index for index, name in enumerate(names)}

    def joint_index(name: object, where: str) -> int:
        if not isinstance(name, str) or name not in index_of:
            raise UserError(f"{place}: {where} names {str(name)[:60]!r}, which is no joint of the layout; spell it as in 'joints'")
        return index_of[name]

    parents = [joint.get("parent") for joint in joints]
    pairs = field(metadata, "mirror_pairs", list, "a layout")
    if any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise UserError(f"{place}: a mirror pair is a list of two joint names, [left, right]; found {pairs!r:.100}")
    landmarks = field(metadata, "landmarks", dict, "a layout")
    aliases = field(metadata, "aliases", dict, "a layout")
    for spelling, name in aliases.items():
        joint_index(name, f"alias {spelling!r}")
        if spelling in index_of:
            raise UserError(f"{place}: alias {spelling!r} is itself a joint of the layout; remove the alias")
    return Layout(
        name=field(metadata, "name", str, "a layout"),
        source=field(metadata, "source", str, "a layout"),
        joint_names=names,
        parents=tuple(
            -1 if parent is None else joint_index(parent, f"the parent of '{name}'") for name, parent in zip(names, parents, strict=True)
        ),
        parts=tuple(field(joint, "part", str, f"joint '{name}'") for name, joint in zip(names, joints, strict=True)),
        bone_lengths=tuple(
            float(field(joint, "bone_length", (int, float), f"joint '{name}'")) for name, joint in zip(names, joints, strict=True)
        ),
        mirror_pairs=tuple((joint_index(left, "a mirror pair"), joint_index(right, "a mirror pair")) for left, right in pairs),
        landmarks={word: joint_index(name, f"landmark '{word}'") for word, name in landmarks.items()},
        aliases=dict(aliases),
    )


def _check_names(layout: Layout) -> str | None:
    for name in (layout.name, *layout.joint_names):
        if not PLAIN_NAME.fullmatch(name):
            return f"{name[:80]!r} is no plain name; use up to 64 letters, digits, spaces and _ . : + -"
    repeated = [name for name, times in Counter(layout.joint_names).items() if times > 1]
    return f"joint '{repeated[0]}' is listed twice; joint names must differ" if repeated else None


def _check_tree(layout: Layout) -> str | None:
    roots = [name for name, parent in zip(layout.joint_names, layout.parents, strict=True) if parent < 0]
    if len(roots) != 1:
        return f"{len(roots)} joints have no parent ({', '.join(roots[:5])}); exactly one, the root, has no 'parent'"
    unreached = set(layout.joint_names) - {layout.joint_names[joint] for joint in layout.parents_first}
    return f"the parents of '{min(unreached)}' run in a circle; every joint must hang from the root" if unreached else None


def _check_parts_and_lengths(layout: Layout) -> str | None:
    for name, part, length in zip(layout.joint_names, layout.parts, layout.bone_lengths, strict=True):
        if part not in PARTS:
            return f"joint '{name}' has part {part[:60]!r}; the parts are {', '.join(PARTS)}"
        if not (math.isfinite(length) and 0 <= length <= MAX_BONE_METRES):
            return f"joint '{name}' has bone_length {length}; give metres from 0 to {MAX_BONE_METRES:g}"
    return None


def _check_mirror(layout: Layout) -> str | None:
    """Mirroring must turn the skeleton into itself: paired joints hang from paired (or the same) parents."""
    mirrored = [*range(layout.joints), -1]  # of each joint; the last stands for the root's parent, -1
    for left, right in layout.mirror_pairs:
        if left == right or mirrored[left] != left or mirrored[right] != right:
            return f"mirror pair {[layout.joint_names[left], layout.joint_names[right]]} repeats a joint; each joint is in one pair at most"
        mirrored[left], mirrored[right] = right, left
    for left, right in layout.mirror_pairs:
        left_parent, right_parent = layout.parents[left], layout.parents[right]
        if mirrored[left_parent] != right_parent:
            return (
                f"mirror pair {[layout.joint_names[left], layout.joint_names[right]]} hangs from parents that are no pair; "
                "pair the parents too, or remove this pair"
            )
        if layout.parts[right] != layout.parts[left].replace("left", "right"):
            return (
                f"mirror pair {[layout.joint_names[left], layout.joint_names[right]]} has parts '{layout.parts[left]}' and "
                f"'{layout.parts[right]}'; the left joint comes first, and both belong to the same kind of part"
            )
    return None


def _check_landmarks(layout: Layout) -> str | None:
    missing, unknown = sorted(set(LANDMARKS) - set(layout.landmarks)), sorted(set(layout.landmarks) - set(LANDMARKS))
    if missing or unknown:
        what = f"landmarks {', '.join(missing)} are missing" if missing else f"landmark {unknown[0][:60]!r} is not known"
        return f"{what}; name the joint of each of {', '.join(LANDMARKS)}"
    for word in LANDMARKS:
        if word.startswith("left_"):
            left, right = layout.landmarks[word], layout.landmarks[word.replace("left", "right")]
            if (left, right) not in layout.mirror_pairs:
                names = [layout.joint_names[left], layout.joint_names[right]]
                return f"landmarks {word} and {word.replace('left', 'right')} are {names}, no mirror pair; pair them"
    for upper, lower in LIMBS:  # of the left side; the right mirrors it
        joint, above = layout.landmarks[f"left_{lower}"], layout.landmarks[f"left_{upper}"]
        while joint not in (above, -1):
            joint = layout.parents[joint]
        if joint < 0 or layout.landmarks[f"left_{lower}"] == above:
            return f"landmark left_{lower} does not hang from left_{upper}; correct the landmarks or the parents"
        if sum(layout.bone_lengths[joint] for joint in layout.chain(f"left_{upper}", f"left_{lower}")) == 0:
            return f"left_{upper} and left_{lower} coincide; give their bone_length in metres"
    for joint in layout.at_pelvis:
        if layout.bone_lengths[joint] != 0:
            return (
                f"joint '{layout.joint_names[joint]}' has bone_length {layout.bone_lengths[joint]}; it must be 0 from the root down to "
                "the pelvis, because what lies between is travel, not a bone"
            )
    return None
