"""What emotions do to a synthetic person's movement.

emotion, actor  ->  movement qualities of one performance
chance  ->  a movement that nobody performed, told in words

An emotion pulls the qualities away from the neutral way; the actor's habits and the day's chance pull as well, by SPREAD. So one
performance need not show what its emotion usually does. The figures are our choice, after what is commonly written about emotional body
expression.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from emotion_llm.grounding.claims import Moment
from emotion_llm.grounding.narrator import ALIKE, HALVES, OF_HALVES, SUBJECTS, Standing, tell
from emotion_llm.synthetic.body import Qualities

# head pitch, head turn, trunk pitch, shoulder raise, arm opening, elbow bend, knee bend, tempo, amplitude, abruptness, tremor, startle
EMOTIONS: dict[str, Qualities] = {
    "neutral":    Qualities(  4,   0,  3,   0,  14, 22,   7,    1,    1, 0.25,  0.3,    0),
    "anger":      Qualities( 10,   0, 11,   5,  24, 48,   9, 1.35, 1.35, 0.75,  0.6,    0),
    "anxiety":    Qualities( 12,   0,  5,   6,   8, 55,   8, 1.15, 0.75,  0.5,  1.3,    0),
    "disgust":    Qualities( 10,  24, -6,   3,  10, 55,   6, 0.85,  0.7,  0.4,  0.3,    0),
    "fear":       Qualities(  6,   0, -3,  12,   7, 78,  20, 1.25,  0.6, 0.55,    2,    0),
    "happiness":  Qualities( -8,   0, -2,   2,  32, 30,   5, 1.25,  1.4, 0.25,  0.3,    0),
    "joy":        Qualities( -7,   0, -3,   2,  34, 34,   4,  1.3, 1.45, 0.25,  0.3,    0),
    "panic fear": Qualities(  2,   0,  4,  12,  16, 75,  18,  1.6,    1,  0.8,  1.6,    0),
    "pride":      Qualities(-11,   0, -7,   1,  24, 14,   1,  0.8,  1.1,  0.1,  0.3,    0),
    "sadness":    Qualities( 27,   0, 15,  -5,   6, 14,  11, 0.65,  0.6, 0.05,  0.3,    0),
    "shame":      Qualities( 24,  18, 11,   4,   3, 55,   9, 0.75, 0.55, 0.15,  0.3,    0),
    "surprise":   Qualities( -8,   0, -9,   7,  28, 55,   6,  1.1,  1.1, 0.55,  0.3, 0.85),
}  # fmt: skip
"""Emotion -> how it is usually performed, at full strength. One word means one way of moving in every corpus."""
SPREAD = Qualities(5.5, 5.5, 4, 2.5, 4.5, 8, 2.5, 0.11, 0.14, 0.11, 0.35, 0.08)
"""Standard deviation of every quality over people and performances of one emotion."""
HABIT_SHARE = 0.6  # Standard deviation of an actor's habits as a share of SPREAD; the rest is the single performance's
STRENGTH = (0.7, 1.2)  # How strongly a performance shows its emotion: least and most


@dataclass(frozen=True)
class Actor:
    """A person who performs: what stays the same from one recording to the next."""

    name: str
    build: tuple[float, float, float]  # Size of trunk, arms and legs, as multiples of the layout's reference body
    right_handed: bool
    habits: np.ndarray  # (qualities,) what this person adds to every quality, whatever the emotion


def invited_actors(names: tuple[str, ...], rng: np.random.Generator) -> list[Actor]:
    """Actors of those names, of random size, proportions, handedness and habits."""
    actors = []
    for name in names:
        stature = rng.uniform(0.9, 1.1)
        trunk, arms, legs = stature * rng.uniform(0.95, 1.05, 3)
        habits = HABIT_SHARE * SPREAD.vector * rng.normal(size=len(SPREAD.vector))
        actors.append(Actor(name, (trunk, arms, legs), bool(rng.uniform() < 0.8), habits))
    return actors


def performance(emotion: str, actor: Actor, rng: np.random.Generator) -> Qualities:
    """How the actor performs the emotion this time."""
    neutral, chance = Qualities().vector, np.sqrt(1 - HABIT_SHARE**2) * rng.normal(size=len(SPREAD.vector))
    pull = rng.uniform(*STRENGTH) * (EMOTIONS[emotion].vector - neutral)
    return Qualities.from_vector(neutral + pull + actor.habits + SPREAD.vector * chance)


MOST_IMAGINED = 6  # Claims of a text about an imagined movement: more than of a real one, so that each text teaches more
NORMAL = NormalDist()  # Its distribution function turns an imagined deviation into a percentile


@dataclass(frozen=True)
class ImaginedMovement:
    """A movement that nobody performed: only what is told of it is known."""

    emotion: str
    where: Standing
    text: str


def imagined_movement(rng: np.random.Generator, emotions: Sequence[str] = tuple(EMOTIONS)) -> ImaginedMovement:
    """For a small LLM to learn to speak from. Emotion and movement are drawn apart from one another, and from no clip of any corpus:
    whatever a model that read such texts says about a movement, it has from the movement."""
    emotion, share = str(rng.choice(emotions)), rng.normal(size=len(ALIKE))
    where: dict[tuple[str, Moment], float] = {}
    for quality in SUBJECTS:
        own = rng.normal()
        together = [chance for group, chance in zip(ALIKE, share, strict=True) if quality in group]
        whole = math.sqrt(0.5) * (own + together[0]) if together else own
        where[quality, "throughout"] = 100 * NORMAL.cdf(whole)
        if quality in OF_HALVES:
            change = 0.4 * rng.normal()
            for half, sign in zip(HALVES, (-1, 1), strict=True):
                where[quality, half] = 100 * NORMAL.cdf(whole + sign * change)
    leaning_back: tuple[Moment, ...] = ("throughout", *HALVES) if rng.random() < 0.5 else ()
    text, _ = tell(where, dict.fromkeys(SUBJECTS, 50.0), emotion, rng, MOST_IMAGINED, leaning_back)
    return ImaginedMovement(emotion, where, text)
