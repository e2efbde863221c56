"""A layout drawn from a recording, so that nobody has to write one from nothing.

RecordedMotion of a format that tells parents (BVH)  ->  Layout, or a draft of it and what a person has to fill in

Names, parents and bone lengths are the file's. Body parts, mirror pairs and landmarks are guessed from the names: Left/Right or
L/R, in front, behind or between, and the usual English words for joints.
"""

from __future__ import annotations

import re

import numpy as np

from emotion_llm.errors import UserError
from emotion_llm.motion.layout import LANDMARKS, Layout, layout_from_dict
from emotion_llm.motion.motion import RecordedMotion

SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""LeftUpLeg -> Left Up Leg; Shoulder_L -> Shoulder L; lThigh -> l Thigh; LThigh -> L Thigh."""
PART_WORDS = {
    "leg": ("leg", "thigh", "hip", "knee", "shin", "calf", "ankle", "foot", "toe", "toes", "heel", "ball", "femur", "tibia"),
    "arm": (
        "arm", "forearm", "upperarm", "lowerarm", "shoulder", "shldr", "collar", "clavicle", "elbow", "wrist", "hand", "palm",
        "humerus", "radius", "thumb", "finger", "index", "middle", "mid", "ring", "pinky", "little",
    ),
    "head": ("head", "neck", "eye", "jaw", "face"),
    "trunk": ("hips", "hip", "pelvis", "spine", "chest", "torso", "abdomen", "waist", "back", "thorax", "root", "reference"),
}  # fmt: skip
"""Words of a joint's name -> the kind of part that it belongs to; the first kind that fits, legs and arms only with a side."""
LANDMARK_WORDS = {
    "pelvis": ("hips", "pelvis", "spinebase", "hip", "root"),
    "neck": ("neck", "neck1"),
    "head": ("head",),
    "shoulder": ("arm", "upperarm", "uparm", "shldr", "shoulder", "humerus"),
    "elbow": ("forearm", "lowerarm", "lowarm", "elbow", "radius"),
    "wrist": ("wrist", "hand"),
    "hip": ("upleg", "upperleg", "thigh", "hip", "femur"),
    "knee": ("leg", "lowerleg", "lowleg", "shin", "calf", "knee", "tibia"),
    "ankle": ("ankle", "foot"),
}
"""Landmark without its side -> what joints there are called, the surest name first: where there is an 'arm', a 'shoulder' is the
collar bone."""


def draw_layout(recorded: RecordedMotion, name: str, unit_metres: float) -> Layout:
    """The layout of that recording.

    Args:
        name: what to call it.
        unit_metres: metres in one unit of length of the file.

    Raises:
        UserError: something cannot be guessed from the joints' names; says what, and how to go on by hand.
    """
    draft, unknown = draft_layout(recorded, name, unit_metres)
    if unknown:
        raise UserError(
            f"layout {name}: cannot be drawn from the joints' names alone, for want of {'; '.join(unknown)}; "
            "write the draft to a file, fill in what is null after the model of the layouts that ship, and name that file as the layout"
        )
    return layout_from_dict(draft, place=f"layout {name}")


def draft_layout(recorded: RecordedMotion, name: str, unit_metres: float) -> tuple[dict, list[str]]:
    """The JSON form of the layout, null where something could not be guessed, and what that is, in words.

    Raises:
        UserError: the format of the recording does not tell how its joints hang together.
    """
    if recorded.parents is None or recorded.joint_names is None:
        raise UserError(f"layout {name}: a table does not tell how joints hang together; draw it from a BVH file, or write it by hand")
    names, parents = recorded.joint_names, recorded.parents
    landmarks = _landmarks(names, parents)
    pairs = _mirror_pairs(names)
    lengths = _bone_lengths(recorded, landmarks["pelvis"], pairs, unit_metres)
    parts: list[str | None] = []
    for joint, parent in enumerate(parents):
        parts.append(_part(names[joint]) or (parts[parent] if parent >= 0 else "trunk"))
    unknown = [f"landmark {word}" for word, joint in landmarks.items() if joint is None]
    paired = {joint for pair in pairs for joint in pair}
    unknown += [f"the mirror image of '{names[joint]}'" for joint in range(len(names)) if _side(names[joint]) and joint not in paired]
    draft = {
        "name": name,
        "source": "drawn from a BVH file, in its depth-first order; bone lengths are that actor's, the mean of left and right",
        "joints": [
            {"name": names[joint], "parent": names[parent] if parent >= 0 else None, "part": parts[joint], "bone_length": lengths[joint]}
            for joint, parent in enumerate(parents)
        ],
        "mirror_pairs": [[names[left], names[right]] for left, right in pairs],
        "landmarks": {word: None if joint is None else names[joint] for word, joint in landmarks.items()},
        "aliases": {},
    }
    return draft, unknown


def _words(name: str) -> list[str]:
    """A joint name's words in lower case, without a namespace in front ('mixamorig:LeftArm')."""
    return [word.lower() for word in WORD.findall(name.rsplit(":", 1)[-1])]


def _side(name: str) -> str | None:
    return next((SIDES[word] for word in _words(name) if word in SIDES), None)


def _without_side(name: str) -> list[str]:
    return [word for word in _words(name) if word not in SIDES]


def _part(name: str) -> str | None:
    side, words = _side(name), _without_side(name)
    for kind in ("leg", "arm") if side else ("head", "trunk"):
        if any(word in PART_WORDS[kind] for word in words):
            return f"{side}_{kind}" if side else kind
    return None


def _mirror_pairs(names: tuple[str, ...]) -> list[tuple[int, int]]:
    """(left, right) joints whose names differ by the side alone."""
    right = {tuple(SIDES.get(word, word) for word in _words(name)): joint for joint, name in enumerate(names) if _side(name) == "right"}
    pairs = []
    for joint, name in enumerate(names):
        image = tuple("right" if SIDES.get(word) else word for word in _words(name))
        if _side(name) == "left" and image in right:
            pairs.append((joint, right[image]))
    return pairs


def _landmarks(names: tuple[str, ...], parents: tuple[int, ...]) -> dict[str, int | None]:
    """Landmark -> joint; None where no name fits."""
    plain = [("".join(_without_side(name)), _side(name)) for name in names]
    landmarks = {}
    for landmark in LANDMARKS:
        side, _, word = landmark.rpartition("_")
        fitting = (plain.index((spelling, side or None)) for spelling in LANDMARK_WORDS[word] if (spelling, side or None) in plain)
        landmarks[landmark] = next(fitting, None)
    return landmarks


def _bone_lengths(recorded: RecordedMotion, pelvis: int | None, pairs: list[tuple[int, int]], unit_metres: float) -> list[float]:
    """Metres, the median over the frames; the mean of left and right; 0 from the root down to the pelvis."""
    parents = [parent if parent >= 0 else joint for joint, parent in enumerate(recorded.parents)]
    bones = np.linalg.norm(recorded.positions - recorded.positions[:, parents], axis=2)  # (T, V)
    lengths = np.nan_to_num(np.nanmedian(bones, axis=0)) * unit_metres
    for pair in pairs:
        lengths[list(pair)] = lengths[list(pair)].mean()
    joint = -1 if pelvis is None else pelvis
    while joint >= 0:
        lengths[joint] = 0
        joint = recorded.parents[joint]
    return [round(float(length), 4) for length in lengths]
