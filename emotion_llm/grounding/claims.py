"""What can be said of a movement and measured: claims, and the table of qualities with their words.

QUALITIES: quality -> body part, kinematic descriptor, words of both poles;  Claim <-> JSON

Reader of texts (grammar), writer of texts (narrator), judge and report all take their words from here. The choice of descriptors and
words is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

Part = Literal["body", "head", "trunk", "shoulders", "arms", "hands", "elbows", "hips", "legs", "knees", "feet", "steps", "path"]
Side = Literal["left", "right"]
Moment = Literal["throughout", "beginning", "middle", "end", "first half", "second half", "increasing", "decreasing"]
Extent = Literal["slight", "clear", "strong"]
SIDES = get_args(Side)
CHANGES = ("increasing", "decreasing")
MOMENTS: dict[str, tuple[float, float]] = {
    "throughout": (0.0, 1.0), "beginning": (0.0, 1 / 3), "middle": (1 / 3, 2 / 3), "end": (2 / 3, 1.0),
    "first half": (0.0, 0.5), "second half": (0.5, 1.0),
}  # fmt: skip
"""Moment -> from and to which share of the clip it lasts. A change goes from the first half to the second."""

PARTS = {part: tuple(nouns.split(", ")) for part, nouns in {
    "body": "body, whole body, movement, motion, person, figure, walk, gait, performer, walker, mover, actor, subject, posture, stance",
    "head": "head, chin, gaze, neck",
    "trunk": "trunk, torso, upper body, back, spine, chest",
    "shoulders": "shoulder",
    "arms": "arm, upper arm",
    "hands": "hand, wrist, gesture",
    "elbows": "elbow, forearm",
    "hips": "hip, pelvis",
    "legs": "leg",
    "knees": "knee",
    "feet": "foot, feet, ankle",
    "steps": "step, stride, footstep",
    "path": "path, route, course, way, trajectory",
}.items()}  # fmt: skip
"""Part -> the nouns that name it, in the singular; the first is the usual one."""


@dataclass(frozen=True)
class Pole:
    """One end of a quality in words; the first of each group are the usual ones."""

    adjectives: tuple[str, ...] = ()
    """What stands after "is" or "are"; one word also before the noun."""
    verbs: tuple[str, ...] = ()
    """Predicates with their verb first, in the infinitive."""


def pole(adjectives: str = "", verbs: str = "") -> Pole:
    return Pole(_words(adjectives), _words(verbs))


def _words(phrases: str) -> tuple[str, ...]:
    return tuple(phrases.split(", ")) if phrases else ()


@dataclass(frozen=True)
class Quality:
    """A measurable quality of a part's movement or posture."""

    parts: tuple[Part, ...]
    """The part that a claim of this quality is about, then other parts that are said to have it: "the arms are bent" means the elbows."""
    descriptor: str
    """Key of kinematics.DESCRIPTORS; high values are the high pole."""
    low: Pole
    high: Pole
    family: str = ""
    """Qualities of different parts that could be mistaken for one another: the right thing said of the wrong part."""
    nouns: tuple[str, ...] = ()
    """Names of the measure itself, which is high or low, grows or falls: "the stride length is small"."""
    mirrored: bool = False
    """The high pole is the low one of its family: a raised head is a small pitch, raised hands are a great height."""

    @property
    def part(self) -> Part:
        return self.parts[0]

    def pole(self, direction: int) -> Pole:
        return self.high if direction > 0 else self.low


QUALITIES: dict[str, Quality] = {
    "speed": Quality(
        ("body",), "speed_mean", family="speed", nouns=_words("speed, tempo, pace, velocity"),
        low=pole("slow, unhurried, sluggish, leisurely, ponderous, lethargic", "move slowly, walk slowly"),
        high=pole("fast, quick, rapid, swift, hurried, brisk, speedy", "move fast, move quickly, walk fast, walk quickly, hurry, rush"),
    ),
    "head speed": Quality(
        ("head",), "head_speed_mean", family="speed",
        low=pole("almost motionless, steady, slow, still, motionless", "hardly move, move slowly, move little, stay still, keep still"),
        high=pole("fast, quick, restless", "move fast, move quickly, move a lot, jerk, shake"),
    ),
    "hand speed": Quality(
        ("hands", "arms", "elbows"), "hand_speed_mean", family="speed",
        low=pole("slow, almost motionless, still, motionless, calm, quiet, passive",
                 "hardly move, move slowly, move little, stay still, keep still"),
        high=pole("fast, quick, busy, rapid, active, restless", "move fast, move quickly, move a lot"),
    ),
    "foot speed": Quality(
        ("feet", "legs", "knees"), "foot_speed_mean", family="speed",
        low=pole("slow, almost motionless, still, motionless", "hardly move, move slowly, move little, stay still, keep still"),
        high=pole("fast, quick, rapid, active, restless", "move fast, move quickly, move a lot"),
    ),
    "evenness": Quality(
        ("body",), "speed_std",
        low=pole("even, uniform, regular", "keep an even tempo, keep a constant speed, go on evenly"),
        high=pole("uneven, irregular, changeable", "change speed a lot, speed up and slow down"),
    ),
    "suddenness": Quality(
        ("body", "hands", "arms"), "laban_time",
        low=pole("sustained, gradual, gentle"),
        high=pole("sudden, abrupt, explosive, sharp"),
    ),
    "jerkiness": Quality(
        ("body",), "dimensionless_jerk", nouns=_words("jerkiness"),
        low=pole("smooth, fluid, flowing, fluent", "move smoothly, flow"),
        high=pole("jerky, choppy, shaky, halting, jittery", "move jerkily, tremble, shake"),
    ),
    "force": Quality(
        ("body",), "laban_weight", nouns=_words("energy, force, power"),
        low=pole("light, weak, delicate, powerless, feeble", "lack force, lack energy"),
        high=pole("forceful, powerful, energetic, vigorous, strong, dynamic", "move forcefully, move with force, move with energy"),
    ),
    "stillness": Quality(
        ("body",), "stillness",
        low=pole("in constant motion, restless, never still", "never rest"),
        high=pole("still, motionless, often still, at rest", "often stand still, hardly move, pause often, rest, stand still"),
    ),
    "size": Quality(
        ("body",), "range_of_motion_mean", nouns=_words("amplitude, range of motion, size of the movement"),
        low=pole("small, narrow, restrained, limited, reserved, minimal, restricted"),
        high=pole("large, wide, sweeping, big, broad, exaggerated, ample"),
    ),
    "expansion": Quality(
        ("body",), "convex_hull_volume_mean",
        low=pole("contracted, drawn together, closed, compact, hunched up, curled up", "take up little space, shrink, occupy little space"),
        high=pole("expansive, open, spread out, expanded", "take up a lot of space, take up much space, fill the space"),
    ),
    "head pitch": Quality(
        ("head",), "head_pitch_mean", family="height", mirrored=True,
        low=pole("raised, lifted, held high, up, high, tilted back, upright, erect", "look up, tilt back, rise, face up"),
        high=pole("bowed, lowered, bent down, sunken, down, low, tilted forward, bent forward, dropped, drooping, bent, directed "
                  "downward, inclined",
                  "hang down, look down, drop, droop, sink, hang, tilt forward, face down, bow, lean forward, point down, tilt down, tilt "
                  "downward, look downward"),
    ),
    "head nodding": Quality(
        ("head",), "head_pitch_std",
        low=pole("level", "stay level, keep its angle"),
        high=pole("nodding", "nod, move up and down, bob"),
    ),
    "trunk lean": Quality(
        ("trunk", "body"), "trunk_lean_mean", family="lean",
        low=pole("upright, leaning back, erect, drawn back, tilted back, vertical, straight",
                 "lean back, stand upright, straighten up, arch back, stay upright, straighten"),
        high=pole("leaning forward, bent forward, stooped, inclined forward, hunched, bent over, slumped, tilted forward, bowed, bent, "
                  "slouched, rounded, hunched over",
                  "lean forward, stoop, bend forward, slump, bend over, tilt forward, slouch, hunch"),
    ),
    "trunk sway": Quality(
        ("trunk",), "trunk_lean_std",
        low=pole("steady, still, stable, quiet, calm", "stay steady, hardly sway"),
        high=pole("swaying, rocking", "sway, rock, rock back and forth, sway back and forth"),
    ),
    "elbow bend": Quality(
        ("elbows", "arms"), "elbow_flexion_mean", family="bend", nouns=_words("elbow flexion"),
        low=pole("straight, stretched, extended, outstretched", "hang straight, straighten, hang straight down"),
        high=pole("bent, flexed, folded, bent in front of the body, angled", "bend, flex"),
    ),
    "arm opening": Quality(
        ("arms", "elbows"), "arm_opening_mean",
        low=pole("close to the body, held close to the body, pressed to the body, held in, tucked in, drawn in, near the body, closed, "
                 "close to the trunk, at the sides, against the body",
                 "hang close to the body, hang at the sides, stay close to the body"),
        high=pole("open, spread wide, held away from the body, spread, wide open, opened, away from the body, spread out, far from the "
                  "body, out to the sides, apart",
                  "open wide, spread, open, reach out, open up, spread out"),
    ),
    "arm swing": Quality(
        ("arms",), "arm_opening_std",
        low=pole("small, narrow", "hardly swing, swing little"),
        high=pole("swinging wide, swinging, sweeping, large, big", "swing wide, swing widely, swing a lot, swing"),
    ),
    "hand height": Quality(
        ("hands", "arms", "elbows"), "hand_height_mean", family="height", nouns=_words("hand height"),
        low=pole("low, lowered, down, held low, dropped, hanging, limp", "hang low, hang down, drop, sink, hang, dangle, stay low"),
        high=pole("raised, high, held high, lifted, up, held up", "rise, stay high, lift, go up"),
    ),
    "shoulder height": Quality(
        ("shoulders",), "shoulder_height_mean", family="height",
        low=pole("dropped, low, lowered, down, sunken, drooping, relaxed, hanging, slumped",
                 "hang low, drop, droop, sink, hang, hang down, fall"),
        high=pole("raised, pulled up, lifted, high, up, shrugged, hunched, hunched up, tense", "rise, shrug, lift, go up"),
    ),
    "knee bend": Quality(
        ("knees", "legs"), "knee_flexion_mean", family="bend", nouns=_words("knee flexion"),
        low=pole("straight, stretched, extended, stiff", "straighten, stay straight"),
        high=pole("bent, flexed, soft", "bend, flex, give way"),
    ),
    "crouch": Quality(
        ("hips", "body"), "pelvis_height_mean",
        low=pole("crouched, low, crouching, squatting, lowered", "crouch, squat, sink, drop, stay low, hang low"),
        high=pole("high, tall", "stand tall, stay high, rise"),
    ),
    "bounce": Quality(
        ("hips", "body", "steps"), "pelvis_height_std",
        low=pole("", "stay level, stay at one height, glide"),
        high=pole("bouncy, springy, bouncing", "bounce, move up and down, bob, jump, hop"),
    ),
    "asymmetry": Quality(
        ("body",), "posture_asymmetry_mean",
        low=pole("symmetric, symmetrical, balanced"),
        high=pole("asymmetric, asymmetrical, lopsided, one-sided"),
    ),
    "hand asymmetry": Quality(
        ("hands", "arms"), "hand_asymmetry",
        low=pole("equally active", "move equally, move alike, move together"),
        high=pole("unequally active", "move unequally"),
    ),
    "travel": Quality(
        ("body",), "travel_speed",
        low=pole("on the spot, in place", "stay on the spot, stay in place, hardly travel, stand on the spot, cover little ground"),
        high=pole("", "travel fast, cover a lot of ground, travel quickly, cover much ground"),
    ),
    "directness": Quality(
        ("path",), "path_straightness",
        low=pole("wandering, winding, curved, indirect, meandering", "wander, curve, meander, wind"),
        high=pole("straight, direct"),
    ),
    "turning": Quality(
        ("body",), "turning_speed",
        low=pole("", "keep one heading, hardly turn, face one way, keep facing one way, barely turn"),
        high=pole("turning", "turn a lot, turn around, turn, turn often, twist, rotate"),
    ),
    "cadence": Quality(
        ("steps",), "cadence", nouns=_words("cadence, step rate, step frequency"),
        low=pole("slow, infrequent, unhurried"),
        high=pole("quick, fast, frequent, rapid, hurried, brisk", "follow each other quickly"),
    ),
    "stride": Quality(
        ("steps",), "stride_length", nouns=_words("stride length, step length"),
        low=pole("short, small, little, tiny", "stay short"),
        high=pole("long, large, wide, big"),
    ),
}  # fmt: skip
"""Quality -> how it is measured and told."""


@dataclass(frozen=True)
class Claim:
    """One statement about a movement that can be measured.

    Raises:
        ValueError: no such quality, or a change in the other direction than it says.
    """

    quality: str
    """Key of QUALITIES."""
    direction: int
    """+1 for the high pole, -1 for the low one; of a change, where it goes to."""
    side: Side | None = None
    moment: Moment = "throughout"
    extent: Extent = "clear"
    negated: bool = False
    """Says that it is not so."""
    span: tuple[int, int] | None = None
    """First character in its text, and the one after the last."""
    part: Part = field(init=False)
    """The body part that is measured."""

    def __post_init__(self) -> None:
        if self.quality not in QUALITIES:
            raise ValueError(f"no quality '{self.quality}'; there are {', '.join(QUALITIES)}")
        if self.direction not in (-1, 1):
            raise ValueError(f"direction is {self.direction}; it must be +1 (high) or -1 (low)")
        if self.moment in CHANGES and self.direction != (1 if self.moment == "increasing" else -1):
            raise ValueError(f"'{self.moment}' does not go in direction {self.direction:+d}")
        object.__setattr__(self, "part", QUALITIES[self.quality].part)

    @property
    def descriptor(self) -> str:
        """Of kinematics.DESCRIPTORS; of one side where the claim names it ("left_hand_height_mean")."""
        name = QUALITIES[self.quality].descriptor
        return f"{self.side}_{name}" if self.side else name

    @property
    def plain(self) -> Claim:
        """The same, wherever and however strongly it is said."""
        return replace(self, span=None, extent="clear")
