"""Layouts: the joints of a skeleton and how they are connected. A layout is a JSON file, not code; layouts/README.md describes it.

layouts/<name>.json  ->  Layout
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import numpy as np
from pydantic import AfterValidator, Field, model_validator
from pydantic.dataclasses import dataclass as validated_dataclass

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import STRICT, read_json_object, remedy, validate_record

LAYOUT_FOLDER = Path(__file__).parent / "layouts"
LIMBS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
"""Pairs of landmarks of either side, the second of which is below the first in the tree."""
LANDMARKS = (
    "pelvis", "neck", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""Joints that every layout names: heading, checks and descriptors are defined by them."""
Part = Literal["trunk", "head", "left_arm", "right_arm", "left_leg", "right_leg"]
PARTS: tuple[str, ...] = get_args(Part)
"""Body parts: coarser than joints, so that layouts with different joints can be compared."""
MAX_JOINTS = 1000
"""More than any motion-capture skeleton has; limits the memory that a damaged file can ask for."""
MAX_BONE_METRES = 3.0  # No bone of a human body is longer: a longer one is in centimetres or inches
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .:+-]{0,63}")
"""Names of joints and layouts: safe in file names, terminals and JSON."""


@dataclass(frozen=True)
class Layout:
    """The joints of a skeleton, in the order of every (T, V, 3) array on it."""

    name: str
    source: str  # Origin of the joint order: a publication, an SDK, a file
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    """Index of each joint's parent, -1 for the root. A parent may come after its child, as in the Kinect SDK's order: traverse the
    tree with `parents_first`."""
    parts: tuple[str, ...]  # Body part of each joint, one of PARTS
    bone_lengths: tuple[float, ...]
    """Metres from each joint to its parent on a body of reference size; 0 for coinciding joints and from the root down to the
    pelvis: the distance between a scene's root and the pelvis is travel, not a bone."""
    mirror_pairs: tuple[tuple[int, int], ...]  # (left, right) joints that are swapped when the body is mirrored
    landmarks: dict[str, int]  # Joint index of each of LANDMARKS
    aliases: dict[str, str]  # Other spellings of joint names in files -> the name used here
    ignore: tuple[str, ...] = ()
    """Joints of files that the layout does not use, such as "Prop*"; `*` and `?` are wildcards."""

    @property
    def joints(self) -> int:
        return len(self.joint_names)

    @cached_property
    def parents_first(self) -> tuple[int, ...]:
        """All joints, each parent before its children."""
        return parents_first(self.parents)

    @cached_property
    def at_pelvis(self) -> tuple[int, ...]:
        """The pelvis and its ancestors, which are a scene's root and not part of the body."""
        joints, joint = [], self.landmarks["pelvis"]
        while joint >= 0:
            joints.append(joint)
            joint = self.parents[joint]
        return tuple(joints)

    def chain(self, upper: str, lower: str) -> tuple[int, ...]:
        """The joints from the landmark `lower` up to, but without, its ancestor `upper`."""
        joints, joint = [], self.landmarks[lower]
        while joint != self.landmarks[upper]:
            joints.append(joint)
            joint = self.parents[joint]
            if joint < 0:
                raise ValueError(f"layout '{self.name}': {lower} is not below {upper}")
        return tuple(joints)

    def limbs(self, *kinds: tuple[str, str]) -> tuple[int, ...]:
        """The chains of both sides between such landmarks: ("hip", "ankle") are the legs."""
        return tuple(
            joint for side in ("left", "right") for upper, lower in kinds for joint in self.chain(f"{side}_{upper}", f"{side}_{lower}")
        )

    def landmark(self, positions: np.ndarray, name: str) -> np.ndarray:
        """Positions (T, V, 3) of all joints -> those of the landmark (T, 3)."""
        return positions[:, self.landmarks[name]]


def _plain_name(name: str) -> str:
    if not PLAIN_NAME.fullmatch(name):
        raise ValueError("use up to 64 letters, digits, spaces and _ . : + -")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]


@validated_dataclass(frozen=True, config=STRICT)
class JointRecord:
    """One joint in a layout file."""

    name: Name
    part: Part
    bone_length: Annotated[float, Field(strict=True, ge=0, le=MAX_BONE_METRES), remedy(f"give metres from 0 to {MAX_BONE_METRES:g}")]
    """Metres to the parent."""
    parent: str | None = None  # None for the root


@validated_dataclass(frozen=True, config=STRICT)
class LayoutRecord:
    """A layout file; joints are referred to by name. The fields are those of `Layout`."""

    name: Name
    source: str
    joints: Annotated[tuple[JointRecord, ...], Field(min_length=1, max_length=MAX_JOINTS)]
    mirror_pairs: tuple[tuple[str, str], ...]
    landmarks: dict[str, str | None]  # None, in a draft of launch/prepare.py --infer-layout, counts as missing
    aliases: dict[str, str] = Field(default_factory=dict)
    ignore: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _refers_to_its_joints(self) -> Self:
        names = {None, *(joint.name for joint in self.joints)}
        used = [(f"the parent of '{joint.name}'", joint.parent) for joint in self.joints]
        used += [("a mirror pair", name) for pair in self.mirror_pairs for name in pair]
        used += [(f"landmark '{word}'", name) for word, name in self.landmarks.items()]
        used += [(f"alias {spelling!r:.60}", name) for spelling, name in self.aliases.items()]
        faults = [
            f"{where} is {name!r:.60}, not a joint of the layout; spell it as in 'joints'" for where, name in used if name not in names
        ]
        faults += [
            f"alias {spelling!r} is itself a joint of the layout; remove the alias" for spelling in self.aliases if spelling in names
        ]
        if faults:
            raise ValueError("; ".join(faults[:5]))
        return self


def parents_first(parents: tuple[int, ...]) -> tuple[int, ...]:
    """The joints of a tree, each parent before its children; without those of a cycle."""
    children: dict[int, list[int]] = {}
    for joint, parent in enumerate(parents):
        children.setdefault(parent, []).append(joint)
    order = list(children.get(-1, ()))
    for joint in order:  # grows during the loop: breadth first
        order.extend(children.get(joint, ()))
    return tuple(order)


def known_layouts() -> tuple[str, ...]:
    """Names of the layouts that ship."""
    return tuple(sorted(path.stem for path in LAYOUT_FOLDER.glob("*.json")))


def read_layout(name_or_path: str | Path) -> Layout:
    """The layout of that name, or of that JSON file. Raises UserError: no such layout, or an invalid one."""
    path = Path(name_or_path) if str(name_or_path).endswith(".json") else LAYOUT_FOLDER / f"{name_or_path}.json"
    if not path.is_file():
        raise UserError(f"{name_or_path}: no such layout; known are {', '.join(known_layouts())}, or give the path of a JSON file")
    return layout_from_dict(read_json_object(path, "see the layouts that ship for the format"), place=path.name)


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
        **({"ignore": list(layout.ignore)} if layout.ignore else {}),
    }


def layout_from_dict(metadata: dict, place: str) -> Layout:
    """The layout that a JSON object with the fields of `LayoutRecord` describes; `place` is where it was found.

    Raises:
        UserError: fields that are missing, unknown, wrong or inconsistent; names the place, the value and the remedy.
    """
    record = validate_record(LayoutRecord, metadata, place)
    index = {joint.name: number for number, joint in enumerate(record.joints)}
    layout = Layout(
        name=record.name,
        source=record.source,
        joint_names=tuple(joint.name for joint in record.joints),
        parents=tuple(-1 if joint.parent is None else index[joint.parent] for joint in record.joints),
        parts=tuple(joint.part for joint in record.joints),
        bone_lengths=tuple(joint.bone_length for joint in record.joints),
        mirror_pairs=tuple((index[left], index[right]) for left, right in record.mirror_pairs),
        landmarks={word: index[name] for word, name in record.landmarks.items() if name is not None},
        aliases=record.aliases,
        ignore=record.ignore,
    )
    for fault in _inconsistencies(layout):
        raise UserError(f"{place}: {fault}")
    return layout


def _inconsistencies(layout: Layout) -> Iterator[str]:
    """What contradicts itself, in words. Later checks rely on earlier ones: use the first only."""
    names, parents = layout.joint_names, layout.parents
    for name, times in Counter(names).items():
        if times > 1:
            yield f"joint '{name}' is listed {times} times; joint names must differ"
    roots = [name for name, parent in zip(names, parents, strict=True) if parent < 0]
    if len(roots) != 1:
        yield f"{len(roots)} joints have no parent ({', '.join(roots[:5])}); exactly one, the root, has no 'parent'"
    if unreached := set(range(layout.joints)).difference(layout.parents_first):
        yield f"the parents of '{min(names[joint] for joint in unreached)}' form a cycle; every joint must be below the root"
    yield from _mirror_faults(layout)
    missing = [word for word in LANDMARKS if word not in layout.landmarks]
    unknown = [word for word in layout.landmarks if word not in LANDMARKS]
    if missing or unknown:
        found = f"landmark '{unknown[0][:60]}' is not known" if unknown else f"landmarks {', '.join(missing)} are missing"
        yield f"{found}; name the joint of each of {', '.join(LANDMARKS)}"
    for upper, lower in LIMBS:  # of the left side; the right mirrors it
        try:
            chain = layout.chain(f"left_{upper}", f"left_{lower}")
        except ValueError:
            chain = ()
        if not chain:
            yield f"landmark left_{lower} is not below left_{upper}; correct the landmarks or the parents"
        if not any(layout.bone_lengths[joint] for joint in chain):
            yield f"left_{upper} and left_{lower} coincide; give their bone_length in metres"
    for joint in layout.at_pelvis:
        if layout.bone_lengths[joint] != 0:
            yield (
                f"joint '{names[joint]}' has bone_length {layout.bone_lengths[joint]}; it must be 0 from the root down to the pelvis, because "
                "what lies between is travel, not a bone"
            )


def _mirror_faults(layout: Layout) -> Iterator[str]:
    """A mirrored skeleton must be itself: paired joints have paired (or the same) parents, and left and right landmarks are pairs."""
    mirrored = [*range(layout.joints), -1]  # of each joint; the last is the root's parent, -1
    for pair in layout.mirror_pairs:
        left, right = pair
        if left == right or mirrored[left] != left or mirrored[right] != right:
            yield f"mirror pair {_names(layout, pair)} repeats a joint; each joint is in one pair at most"
        mirrored[left], mirrored[right] = right, left
    for pair in layout.mirror_pairs:
        left_parent, right_parent = (layout.parents[joint] for joint in pair)
        left_part, right_part = (layout.parts[joint] for joint in pair)
        if mirrored[left_parent] != right_parent:
            yield f"the parents of mirror pair {_names(layout, pair)} are not a pair; pair the parents too, or remove this pair"
        if right_part != left_part.replace("left", "right"):
            yield (
                f"mirror pair {_names(layout, pair)} has parts '{left_part}' and '{right_part}'; the left joint comes first, and both belong "
                "to the same kind of part"
            )
    for word, left in layout.landmarks.items():
        image = word.replace("left", "right")
        if image != word and image in layout.landmarks and mirrored[left] != layout.landmarks[image]:
            yield f"landmarks {word} and {image} are {_names(layout, (left, layout.landmarks[image]))}, not a mirror pair; pair them"


def _names(layout: Layout, joints: tuple[int, int]) -> list[str]:
    return [layout.joint_names[joint] for joint in joints]
