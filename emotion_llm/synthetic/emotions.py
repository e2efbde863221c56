"""What emotions do to a synthetic person's movement, and how it is told in words.

emotion, actor  ->  movement qualities of one performance  ->  a description that names those qualities

An emotion pulls the qualities away from the neutral way; the actor's habits and the day's chance pull as well, by SPREAD. So one
performance need not show what its emotion usually does, and its description says what this performance really shows. The figures
are our choice, after what is commonly written about emotional body expression.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

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
HABIT_SHARE = 0.6
"""Standard deviation of an actor's habits as a share of SPREAD; the rest is the single performance's."""
STRENGTH = (0.7, 1.2)
"""How strongly a performance shows its emotion: least and most."""


@dataclass(frozen=True)
class Actor:
    """A person who performs: what stays the same from one recording to the next."""

    name: str
    build: Build
    right_handed: bool
    habits: np.ndarray
    """(qualities,) what this person adds to every quality, whatever the emotion."""


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


CUES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "head_pitch": (("the head: is {}raised", "the chin: is {}lifted"), ("the head: is {}bowed", "the head: {}hangs down")),
    "head_turn": (("the head: is {}turned away",), ("the head: is {}turned away",)),
    "trunk_pitch": (
        ("the body: {}leans back", "the trunk: is {}drawn back"),
        ("the body: {}leans forward", "the trunk: is {}bent forward"),
    ),
    "shoulder_raise": (("the shoulders: {}hang low",), ("the shoulders: are {}raised",)),
    "arm_opening": (("the arms: are {}close to the body",), ("the arms: are {}spread wide", "the arms: are {}open")),
    "elbow_bend": (("the arms: {}hang straight",), ("the arms: are {}bent in front of the body",)),
    "knee_bend": (("the legs: are {}straight",), ("the knees: are {}bent",)),
    "tempo": (("the movement: is {}slow",), ("the movement: is {}fast", "the movement: is {}quick")),
    "amplitude": (("the movement: is {}small", "the swings: are {}narrow"), ("the movement: is {}large", "the swings: are {}wide")),
    "abruptness": (("the movement: is {}smooth",), ("the movement: is {}abrupt", "the movement: is {}jerky")),
    "tremor": (("the hands: are {}steady",), ("the hands: {}tremble",)),
    "startle": (("the movement: goes on {}evenly",), ("the movement: starts {}suddenly and then stops",)),
}
"""Quality -> clauses for less than the neutral way, clauses for more; {} takes 'clearly ' or nothing."""
CUE_FROM, CLEAR_FROM = 1.6, 3.2
"""Multiples of SPREAD away from the neutral way: from here on a quality is told, from here on with 'clearly'."""


def description(qualities: Qualities, rng: np.random.Generator) -> str:
    """One or two English sentences: what in this movement shows how the person feels (up to three of the strongest cues).

    They do not name the emotion: a description follows the emotion that was recognised.
    """
    strengths = (qualities.vector - Qualities().vector) / SPREAD.vector
    strongest = [index for index in np.argsort(-np.minimum(np.abs(strengths), 5), kind="stable") if abs(strengths[index]) >= CUE_FROM]
    told: dict[str, str] = {}  # subject -> what it does
    for index in strongest[: rng.integers(2, 4)]:
        less, more = CUES[fields(Qualities)[index].name]
        clause = str(rng.choice(more if strengths[index] > 0 else less)).format("clearly " if abs(strengths[index]) >= CLEAR_FROM else "")
        subject, predicate = clause.split(": ")
        told[subject] = f"{told[subject]} and {predicate.removeprefix('is ').removeprefix('are ')}" if subject in told else predicate
    return _evidence([f"{subject} {predicate}" for subject, predicate in told.items()], rng)


def _evidence(clauses: list[str], rng: np.random.Generator) -> str:
    """The clauses as one or two sentences."""
    if not clauses:
        return "The posture and the movement are calm."
    if len(clauses) == 1:
        return str(rng.choice([_sentence(clauses[0]), _sentence(f"in this clip {clauses[0]}")]))
    together = f"{', '.join(clauses[:-1])} and {clauses[-1]}"
    apart = f"{_sentence(clauses[0])} {_sentence(' and '.join(clauses[1:]))}"
    return str(rng.choice([_sentence(together), _sentence(f"in this clip {together}"), apart]))


def _sentence(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:]}."


def demo_sentences(seed: int, count: int) -> list[tuple[str, str]]:
    """(emotion, description) pairs: descriptions of movements that nobody performed, for a small LLM to learn to speak from.

    Emotion and qualities are drawn apart from one another, and from no clip of any corpus: whatever a model that read
    them says about a movement, it has from the movement.
    """
    rng, sentences = np.random.default_rng([seed, 0]), []
    for _ in range(count):
        vector = Qualities().vector + 3 * SPREAD.vector * rng.normal(size=len(SPREAD.vector))
        sentences.append((str(rng.choice(tuple(EMOTIONS))), description(Qualities.from_vector(vector), rng)))
    return sentences
