"""A layout drawn from a recording, so that nobody has to write one from nothing.

RecordedMotion of a format that tells parents (BVH)  ->  Layout, or a draft of it and what a person has to fill in

Names, parents and bone lengths are the file's. Body parts, mirror pairs and landmarks are guessed from the names: Left/Right or
L/R, in front, behind or between, and the usual English words for joints.
"""

from __future__ import annotations

import re

import numpy as np

from emotion_llm.motion.layout import LANDMARKS, Layout, layout_from_dict
from emotion_llm.motion.motion import RecordedMotion
from emotion_llm.runtime.errors import UserError

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
    words = _words(names)
    landmarks, pairs = _landmarks(words), _mirror_pairs(words)
    lengths = _bone_lengths(recorded, landmarks["pelvis"], pairs, unit_metres)
    parts: list[str] = []
    for joint, parent in enumerate(parents):
        parts.append(_part(words[joint]) or (parts[parent] if parent >= 0 else "trunk"))
    paired = {joint for pair in pairs for joint in pair}
    unknown = [f"landmark {word}" for word, joint in landmarks.items() if joint is None]
    unknown += [f"the mirror image of '{name}'" for joint, name in enumerate(names) if _side(words[joint]) and joint not in paired]
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


def _words(names: tuple[str, ...]) -> list[list[str]]:
    """Each joint name's words in lower case, without a namespace in front ('mixamorig:LeftArm') or a word that all begin with ('Bip01')."""
    words = [[word.lower() for word in WORD.findall(name.rsplit(":", 1)[-1])] for name in names]
    while all(words) and len({first for first, *_ in words}) == 1 and len(words) > 1:
        words = [rest for _, *rest in words]
    return words


def _side(words: list[str]) -> str | None:
    return next((SIDES[word] for word in words if word in SIDES), None)


def _without_side(words: list[str]) -> list[str]:
    return [word for word in words if word not in SIDES]


def _part(words: list[str]) -> str | None:
    side = _side(words)
    for kind in ("leg", "arm") if side else ("head", "trunk"):
        if set(words) & set(PART_WORDS[kind]):
            return f"{side}_{kind}" if side else kind
    return None


def _mirror_pairs(words: list[list[str]]) -> list[tuple[int, int]]:
    """(left, right) joints whose names differ by the side alone."""
    plain = [tuple(SIDES.get(word, word) for word in joint) for joint in words]
    right = {name: joint for joint, name in enumerate(plain) if "right" in name}
    images = [tuple("right" if word == "left" else word for word in name) for name in plain]
    return [(joint, right[images[joint]]) for joint, name in enumerate(plain) if "left" in name and images[joint] in right]


def _landmarks(words: list[list[str]]) -> dict[str, int | None]:
    """Landmark -> joint; None where no name fits."""
    plain = [("".join(_without_side(joint)), _side(joint)) for joint in words]
    landmarks = {}
    for landmark in LANDMARKS:
        side, _, word = landmark.rpartition("_")
        spellings = [(spelling, side or None) for spelling in LANDMARK_WORDS[word]]
        landmarks[landmark] = next((plain.index(spelling) for spelling in spellings if spelling in plain), None)
    return landmarks


def _bone_lengths(recorded: RecordedMotion, pelvis: int | None, pairs: list[tuple[int, int]], unit_metres: float) -> list[float]:
    """Metres, the median over the frames; the mean of left and right; 0 from the root down to the pelvis."""
    assert recorded.parents is not None
    parents = [parent if parent >= 0 else joint for joint, parent in enumerate(recorded.parents)]
    with np.errstate(over="ignore"):
        bones = np.linalg.norm(recorded.positions - recorded.positions[:, parents], axis=2) * unit_metres  # (T, V)
    bones[:, np.isnan(bones).all(axis=0)] = 0
    lengths = np.nanmedian(bones, axis=0)
    for pair in pairs:
        lengths[list(pair)] = lengths[list(pair)].mean()
    joint = -1 if pelvis is None else pelvis
    while joint >= 0:
        lengths[joint] = 0
        joint = recorded.parents[joint]
    return [round(float(length), 4) for length in lengths]
