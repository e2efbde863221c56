"""A layout inferred from a recording, so that nobody has to write one from scratch.

RecordedMotion  ->  InferredLayout: a layout file, null where something is not known, with lists of what is open and what to check

Names, bones and their lengths are the file's. Body parts, mirror pairs and landmarks follow from the names (Left/Right or L/R, and the
usual English words for joints: BVH, Mixamo, Unreal, Biped, OptiTrack, Acclaim, Poser), else from geometry (motion/body_geometry.py), as
do the bones of tables and arrays.
"""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from emotion_llm.motion.body_geometry import Body, bone_tree, complete_frames, find_body, rerooted
from emotion_llm.motion.checks import HUMAN_LIMBS_METRES, fitting_units, unit_text
from emotion_llm.motion.layout import LANDMARKS, LIMBS, MAX_JOINTS, PLAIN_NAME, known_layouts, layout_from_dict, parents_first, read_layout
from emotion_llm.motion.motion import RecordedMotion
from emotion_llm.runtime.errors import UserError

SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
WORD = re.compile(r"(?<![A-Za-z])[LR](?=[A-Z][A-Z]?[a-z])|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""LeftUpLeg -> Left Up Leg; Shoulder_L -> Shoulder L; lThigh -> l Thigh; LUArm -> L U Arm."""
PART_WORDS = {
    "leg": ("leg", "thigh", "hip", "knee", "shin", "calf", "ankle", "foot", "toe", "toes", "heel", "ball", "femur", "tibia",
        "hipjoint", "upleg", "upperleg", "lowerleg",),
    "arm": (
        "arm", "forearm", "upperarm", "lowerarm", "shoulder", "shldr", "collar", "clavicle", "elbow", "wrist", "hand", "palm",
        "humerus", "radius", "thumb", "finger", "fingers", "index", "middle", "mid", "ring", "pinky", "little",
    ),
    "head": ("head", "neck", "lowerneck", "upperneck", "eye", "jaw", "face", "nose", "ear"),
    "trunk": ("hips", "hip", "pelvis", "spine", "chest", "torso", "abdomen", "waist", "back", "thorax", "root", "reference",
        "lowerback", "upperback", "ab",),
}  # fmt: skip
"""Kind of part -> words in the names of its joints; the first kind that fits, legs and arms only with a side."""
LANDMARK_WORDS = {
    "pelvis": ("hips", "pelvis", "spinebase", "hip", "root"),
    "neck": ("neck", "neck1", "neck01", "lowerneck"),
    "head": ("head",),
    "shoulder": ("arm", "upperarm", "uparm", "uarm", "shldr", "shoulder", "humerus"),
    "elbow": ("forearm", "lowerarm", "lowarm", "farm", "elbow", "radius"),
    "wrist": ("wrist", "hand"),
    "hip": ("upleg", "upperleg", "thigh", "hip", "femur"),
    "knee": ("leg", "lowerleg", "lowleg", "shin", "calf", "knee", "tibia"),
    "ankle": ("ankle", "foot"),
}
"""Landmark without its side -> names of its joint, the most specific first: where there is an 'arm', a 'shoulder' is the collar
bone."""


@dataclass(frozen=True)
class InferredLayout:
    """A layout file, as far as a recording tells it."""

    draft: dict  # The fields of `LayoutRecord`; null where something is not known
    open: tuple[str, ...]
    """What is not known or contradicts itself, in words; empty for a layout that can be used."""
    notes: tuple[str, ...]  # How the rest was found, and what to check


def infer_layout(recorded: RecordedMotion, name: str, metres_per_unit: float | None = None) -> InferredLayout:
    """The layout of that recording.

    Args:
        name: of the layout.
        metres_per_unit: of the file; None: the usual unit at which arms and legs are those of a human.

    Raises:
        UserError: no frame is complete, too many joints, or arms and legs that are not human in the given unit; suggests another.
    """
    joints = recorded.positions.shape[1]
    frames = complete_frames(recorded.positions)
    if not len(frames) or not 1 < joints <= MAX_JOINTS or np.abs(frames).max() > 1e9:
        raise UserError(
            f"layout {name}: {len(frames)} usable frames with values for all of its {joints} joints; use a recording without gaps"
        )
    spelt = recorded.joint_names or tuple(f"joint_{joint}" for joint in range(joints))
    names, aliases = _plain_names(spelt)
    words = _words(names)
    same = [known for known in known_layouts() if {*read_layout(known).joint_names} == {*names}]
    notes = [f"its joints are those of layout '{known}', which ships" for known in same]
    named_parts = [_part(joint) for joint in words]
    parents = recorded.parents or bone_tree(frames, named_parts)
    body = find_body(frames, parents, [joint for joint, end in enumerate(names) if end.endswith("_end")])
    landmarks, pairs = _landmarks(words), _mirror_pairs(words)
    if body is not None:
        votes = Counter((_side(words[joint]), part.partition("_")[0]) for part, members in body.members.items() for joint in members)
        agree = votes["left", "left"] + votes["right", "right"] - votes["left", "right"] - votes["right", "left"]
        body = body.mirrored() if agree < 0 else body
        filled = _fill_in(landmarks, pairs, body)
        if filled:
            notes.append(f"from geometry, check them: {', '.join(filled)}")
        if filled and not agree:
            known, guessed = "from the direction of the feet, for right-handed axes", "guessed: feet and knees do not tell the front"
            notes.append(f"left and right are {known if body.sides_known else guessed}")
    pelvis = landmarks["pelvis"]
    if recorded.parents is None:
        parents = rerooted(parents, pelvis or 0)
        notes.append(
            "bones connect the joints whose distance changes least, check the parents; a recording in which all limbs move is best"
        )
    geometric = {joint: part for part, members in body.members.items() for joint in members} if body else {}
    parts: list[str | None] = [None] * joints
    for joint in parents_first(parents):
        parts[joint] = named_parts[joint] or geometric.get(joint) or (parts[parents[joint]] if parents[joint] >= 0 else "trunk")
    lengths = _bone_lengths(frames, parents, pelvis, pairs)
    limbs = _limb_length(lengths, parents, landmarks)
    unit = _unit(limbs, metres_per_unit, name, notes)
    draft = {
        "name": name,
        "source": "inferred from a recording; bone lengths are that actor's, the mean of left and right",
        "joints": [
            {
                "name": names[joint],
                "parent": names[parent] if parent >= 0 else None,
                "part": parts[joint],
                "bone_length": round(float(lengths[joint] * (unit or 1)), 4),
            }
            for joint, parent in enumerate(parents)
        ],
        "mirror_pairs": [[names[left], names[right]] for left, right in pairs],
        "landmarks": {word: None if joint is None else names[joint] for word, joint in landmarks.items()},
        "aliases": aliases,
    }  # fmt: skip
    paired = {joint for pair in pairs for joint in pair}
    open_items = [f"landmark {word}" for word, joint in landmarks.items() if joint is None]
    open_items += [f"the mirror image of '{names[joint]}'" for joint in range(joints) if _side(words[joint]) and joint not in paired]
    if limbs and unit is None:
        open_items.append(f"the unit of length: arms and legs are {limbs:.3g} units long together, a human's {HUMAN_LIMBS_METRES:g} m")
    if not open_items:
        try:
            layout_from_dict(draft, f"layout {name}")
        except UserError as error:
            open_items.append(str(error))
    return InferredLayout(draft, tuple(open_items), tuple(notes))


def _fill_in(landmarks: dict[str, int | None], pairs: list[tuple[int, int]], body: Body) -> list[str]:
    """Adds the body's landmarks and pairs where names tell none; returns the names of what was added."""
    added = [word for word, joint in landmarks.items() if joint is None and word in body.landmarks]
    landmarks |= {word: body.landmarks[word] for word in added}
    paired = {joint for pair in pairs for joint in pair}
    new = [pair for pair in body.pairs if paired.isdisjoint(pair)]
    pairs += new
    return added + [f"{len(new)} mirror pairs"] * bool(new)


def _plain_names(names: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Names that a layout may use, all different, and the aliases of those that had to be changed."""
    plain: list[str] = []
    for name in names:
        allowed = name if PLAIN_NAME.fullmatch(name) else re.sub(r"[^A-Za-z0-9_ .:+-]", "_", f"j{name}")[:56]
        plain.append(next(unique for times in range(len(names)) if (unique := f"{allowed}_{times}" if times else allowed) not in plain))
    return plain, {name: allowed for name, allowed in zip(names, plain, strict=True) if name != allowed}


def _words(names: list[str]) -> list[list[str]]:
    """Each joint name's words in lower case, without a namespace ('mixamorig:LeftArm') or a first word that all share ('Bip01').

    'lfemur' is 'l femur' if there is also an 'rfemur'.
    """
    words = [[word.lower() for word in WORD.findall(name.rsplit(":", 1)[-1])] for name in names]
    while all(words) and len({first for first, *_ in words}) == 1 and len(words) > 1:
        words = [rest for _, *rest in words]
    firsts = {joint[0] for joint in words if joint}
    swapped = {"l": "r", "r": "l"}
    return [
        [joint[0][0], joint[0][1:], *joint[1:]]
        if joint and not _side(joint) and len(joint[0]) > 3 and swapped.get(joint[0][0], "") + joint[0][1:] in firsts - {joint[0]}
        else joint
        for joint in words
    ]


def _side(words: list[str]) -> str | None:
    return next((SIDES[word] for word in words if word in SIDES), None)


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
    plain = [("".join(word for word in joint if word not in SIDES), _side(joint)) for joint in words]
    landmarks = {}
    for landmark in LANDMARKS:
        side, _, word = landmark.rpartition("_")
        spellings = [(spelling, side or None) for spelling in LANDMARK_WORDS[word]]
        landmarks[landmark] = next((plain.index(spelling) for spelling in spellings if spelling in plain), None)
    return landmarks


def _bone_lengths(frames: np.ndarray, parents: tuple[int, ...], pelvis: int | None, pairs: list[tuple[int, int]]) -> np.ndarray:
    """(V,) in the file's unit: median over the frames, the mean of left and right, 0 from the root down to the pelvis."""
    above = [parent if parent >= 0 else joint for joint, parent in enumerate(parents)]
    lengths = np.median(np.linalg.norm(frames - frames[:, above], axis=2), axis=0)
    for pair in pairs:
        lengths[list(pair)] = lengths[list(pair)].mean()
    joint = -1 if pelvis is None else pelvis
    while joint >= 0:
        lengths[joint], joint = 0, parents[joint]
    return lengths


def _limb_length(lengths: np.ndarray, parents: tuple[int, ...], landmarks: dict[str, int | None]) -> float | None:
    """Length of arms and legs together in the file's unit; None if landmarks are missing or not below each other."""
    total = 0.0
    for side in ("left", "right"):
        for upper, lower in LIMBS:
            top, joint = landmarks[f"{side}_{upper}"], landmarks[f"{side}_{lower}"]
            while joint is not None and joint not in (top, -1):
                total, joint = total + float(lengths[joint]), parents[joint]
            if joint is None or joint != top:
                return None
    return total


def _unit(limbs: float | None, given: float | None, name: str, notes: list[str]) -> float | None:
    """Metres per unit: the given one, else the usual one that fits best; None if none does."""
    if not limbs:
        return given
    fitting = fitting_units(limbs)
    suggestion = " or ".join(map(unit_text, fitting)) or "none of the usual units"
    if given is None and fitting:
        notes.append(
            f"metres_per_unit is {unit_text(fitting[0])}, by the length of arms and legs" + (f"; {suggestion} fit" if fitting[1:] else "")
        )
        return fitting[0]
    if given is not None and not 0.5 < given * limbs / HUMAN_LIMBS_METRES < 2:
        raise UserError(
            f"layout {name}: with {given:g} metres per unit, arms and legs are {given * limbs:.3g} m long together, a human's about "
            f"{HUMAN_LIMBS_METRES:g} m; use metres_per_unit {suggestion}, or leave it out"
        )
    return given
