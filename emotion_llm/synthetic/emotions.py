"""What emotions do to a synthetic person's movement.

emotion, actor  ->  movement qualities of one performance
chance  ->  a movement that nobody performed, told in words

An emotion pulls the qualities away from the neutral way; the actor's habits and the day's chance pull as well, by SPREAD. So one
performance need not show what its emotion usually does. The figures are our choice, after what is commonly written about emotional body
expression.
"""

import math
from dataclasses import dataclass

import numpy as np

from emotion_llm.grounding.claims import Moment
from emotion_llm.grounding.narrator import ALIKE, HALVES, OF_HALVES, SUBJECTS, Standing, tell
from emotion_llm.synthetic.body import Build, Qualities

EMOTIONS: dict[str, Qualities] = {
    "neutral": Qualities(),
    "anger": Qualities(
        head_pitch=10, trunk_pitch=11, shoulder_raise=5, arm_opening=24, elbow_bend=48, knee_bend=9,
        tempo=1.35, amplitude=1.35, abruptness=0.75, tremor=0.6,
    ),
    "anxiety": Qualities(
        head_pitch=12, trunk_pitch=5, shoulder_raise=6, arm_opening=8, elbow_bend=55, knee_bend=8,
        tempo=1.15, amplitude=0.75, abruptness=0.5, tremor=1.3,
    ),
    "disgust": Qualities(
        head_pitch=10, head_turn=24, trunk_pitch=-6, shoulder_raise=3, arm_opening=10, elbow_bend=55, knee_bend=6,
        tempo=0.85, amplitude=0.7, abruptness=0.4,
    ),
    "fear": Qualities(
        head_pitch=6, trunk_pitch=-3, shoulder_raise=12, arm_opening=7, elbow_bend=78, knee_bend=20,
        tempo=1.25, amplitude=0.6, abruptness=0.55, tremor=2.0,
    ),
    "happiness": Qualities(
        head_pitch=-8, trunk_pitch=-2, shoulder_raise=2, arm_opening=32, elbow_bend=30, knee_bend=5,
        tempo=1.25, amplitude=1.4,
    ),
    "joy": Qualities(
        head_pitch=-7, trunk_pitch=-3, shoulder_raise=2, arm_opening=34, elbow_bend=34, knee_bend=4,
        tempo=1.3, amplitude=1.45,
    ),
    "panic fear": Qualities(
        head_pitch=2, trunk_pitch=4, shoulder_raise=12, arm_opening=16, elbow_bend=75, knee_bend=18,
        tempo=1.6, amplitude=1.0, abruptness=0.8, tremor=1.6,
    ),
    "pride": Qualities(
        head_pitch=-11, trunk_pitch=-7, shoulder_raise=1, arm_opening=24, elbow_bend=14, knee_bend=1,
        tempo=0.8, amplitude=1.1, abruptness=0.1,
    ),
    "sadness": Qualities(
        head_pitch=27, trunk_pitch=15, shoulder_raise=-5, arm_opening=6, elbow_bend=14, knee_bend=11,
        tempo=0.65, amplitude=0.6, abruptness=0.05,
    ),
    "shame": Qualities(
        head_pitch=24, head_turn=18, trunk_pitch=11, shoulder_raise=4, arm_opening=3, elbow_bend=55, knee_bend=9,
        tempo=0.75, amplitude=0.55, abruptness=0.15,
    ),
    "surprise": Qualities(
        head_pitch=-8, trunk_pitch=-9, shoulder_raise=7, arm_opening=28, elbow_bend=55, knee_bend=6,
        tempo=1.1, amplitude=1.1, abruptness=0.55, startle=0.85,
    ),
}  # fmt: skip
"""Emotion -> how it is usually performed, at full strength. One word means one way of moving in every corpus."""

SPREAD = Qualities(
    head_pitch=5.5, head_turn=5.5, trunk_pitch=4, shoulder_raise=2.5, arm_opening=4.5, elbow_bend=8, knee_bend=2.5,
    tempo=0.11, amplitude=0.14, abruptness=0.11, tremor=0.35, startle=0.08,
)  # fmt: skip
"""Standard deviation of every quality over people and performances of one emotion."""
HABIT_SHARE = 0.6  # Standard deviation of an actor's habits as a share of SPREAD; the rest is the single performance's
STRENGTH = (0.7, 1.2)  # How strongly a performance shows its emotion: least and most


@dataclass(frozen=True)
class Actor:
    """A person who performs: what stays the same from one recording to the next."""

    name: str
    build: Build
    right_handed: bool
    habits: np.ndarray  # (qualities,) what this person adds to every quality, whatever the emotion


def invited_actors(names: tuple[str, ...], rng: np.random.Generator) -> list[Actor]:
    """Actors of those names, of random size, proportions, handedness and habits."""
    actors = []
    for name in names:
        stature = rng.uniform(0.9, 1.1)
        trunk, arms, legs = stature * rng.uniform(0.95, 1.05, 3)
        habits = HABIT_SHARE * SPREAD.vector * rng.normal(size=len(SPREAD.vector))
        actors.append(Actor(name, Build(trunk, arms, legs), bool(rng.uniform() < 0.8), habits))
    return actors


def performance(emotion: str, actor: Actor, rng: np.random.Generator) -> Qualities:
    """How the actor performs the emotion this time."""
    neutral, chance = Qualities().vector, np.sqrt(1 - HABIT_SHARE**2) * rng.normal(size=len(SPREAD.vector))
    pull = rng.uniform(*STRENGTH) * (EMOTIONS[emotion].vector - neutral)
    return Qualities.from_vector(neutral + pull + actor.habits + SPREAD.vector * chance)


MOST_IMAGINED = 6  # Claims of a text about an imagined movement: more than of a real one, so that each text teaches more


@dataclass(frozen=True)
class ImaginedMovement:
    """A movement that nobody performed: only what is told of it is known."""

    emotion: str
    where: Standing
    text: str


def imagined_movement(rng: np.random.Generator) -> ImaginedMovement:
    """For a small LLM to learn to speak from. Emotion and movement are drawn apart from one another, and from no clip of any corpus:
    whatever a model that read such texts says about a movement, it has from the movement."""
    emotion, share = str(rng.choice(tuple(EMOTIONS))), rng.normal(size=len(ALIKE))
    where: dict[tuple[str, Moment], float] = {}
    for quality in SUBJECTS:
        own = rng.normal()
        together = [chance for group, chance in zip(ALIKE, share, strict=True) if quality in group]
        whole = math.sqrt(0.5) * (own + together[0]) if together else own
        where[quality, "throughout"] = _percentile(whole)
        if quality in OF_HALVES:
            change = 0.4 * rng.normal()
            for half, sign in zip(HALVES, (-1, 1), strict=True):
                where[quality, half] = _percentile(whole + sign * change)
    return ImaginedMovement(emotion, where, tell(where, dict.fromkeys(SUBJECTS, 50.0), emotion, rng, most=MOST_IMAGINED)[0])


def _percentile(deviation: float) -> float:
    """Of a normally distributed number."""
    return 50 * (1 + math.erf(deviation / math.sqrt(2)))
