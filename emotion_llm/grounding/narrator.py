"""Explanations written from what was measured, for motions that nobody has described. Ours; the paper's descriptions were written by people.

Measured, Norms, emotion  ->  narrate: text, and the claims it makes
where a movement stands (Standing), emotion  ->  tell: the same, for movements that need not exist

A text says which emotion the movement suggests and why: up to MOST_CLAIMS qualities, the most notable first, by which it stands out among
the training clips of its corpus, and from the neutral ones, and in a short clip what its halves differ in. Only what lies clearly outside
the middle is told, so that a checker with other formulas would agree. A text is generated, and stored as generated; it is no annotation by
people.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from emotion_llm.grounding.claims import QUALITIES, Claim, Moment
from emotion_llm.grounding.norms import NEUTRAL, THROUGHOUT, Measured, Norms

Standing = Mapping[tuple[str, Moment], float]
"""(quality, moment) -> percentile among the clips of the corpus; absent where it is not measured."""
SUBJECTS: dict[str, str] = {
    "speed": "the movement", "force": "the movement", "size": "the movement", "expansion": "the posture",
    "head pitch": "the head", "trunk lean": "the upper body", "shoulder height": "the shoulders", "arm opening": "the arms",
    "elbow bend": "the elbows", "hand height": "the hands", "knee bend": "the knees",
}  # fmt: skip
"""Quality that is told -> its subject. What tells the action rather than how it is done (travel, turning) is left out, what mostly repeats
another quality (suddenness and force, the arms' swing), and smoothness: formulas of it disagree, and on real motion a model told it wrongly
as often as rightly (docs/explanations.md)."""
ALIKE = ({"speed", "force"}, {"size", "expansion"}, {"elbow bend", "hand height"})
"""Qualities that mostly go together: a text tells one of them."""
HALVES: tuple[Moment, Moment] = ("first half", "second half")
OF_HALVES = ("speed", "head pitch", "trunk lean", "arm opening", "elbow bend", "hand height", "knee bend")
"""Qualities that are also told of one half."""
LEAN = 4.0
"""Degrees from the vertical from which a trunk is told to lean, forward or back; nearer to it the low pole is told as upright (our choice).
Elsewhere a pole is told in one of its two usual words."""
TOLD_FROM = 80.0
"""Percentile from which a quality is told; its low pole is told from 100 - TOLD_FROM down (our choice)."""
PLAIN_FROM, STRONG_FROM = 85.0, 95.0
"""Percentile from which it is told without "rather", and from which with "very", or of a posture with "clearly" (our choice)."""
CONTRAST = 15.0
"""Percentile points by which a told quality exceeds that of the median neutral clip (our choice)."""
HALVES_DIFFER = 40.0
"""Percentile points between the halves from which one of them is told (our choice)."""
MOST_CLAIMS = 4
LONGEST_FOR_HALVES = 10.0
"""Seconds. A half of a longer clip is no moment (our choice)."""
OPENINGS = (
    "the movement reads as {emotion}: {reasons}",
    "{reasons}, which reads as {emotion}",
    "this comes across as {emotion}, because {reasons}",
)
CONTRASTING = "compared with neutral clips, {reasons}, which comes across as {emotion}"
LEVELS = ((45.0, "very "), (35.0, ""), (30.0, "rather "), (10.0, "slightly "))
"""Distance from the middle percentile, and its word in the line that a baseline reads: as far as STRONG_FROM, PLAIN_FROM, TOLD_FROM and the
judge's SUPPORTED_FROM are (our choice)."""
NOTHING = "nothing stands out, the pace and the posture are average"


def narrate(measured: Measured, norms: Norms, emotion: str, rng: np.random.Generator) -> tuple[str, list[Claim]]:
    """An explanation of one clip that is true of it by these norms, and its claims."""
    descriptors = {quality: QUALITIES[quality].descriptor for quality in SUBJECTS}
    neutral = {quality: norms.neutral[name] for quality, name in descriptors.items() if name in norms.neutral}
    return tell(standing(measured, norms), neutral, emotion, rng, leaning_back=leaning_back(measured))


def leaning_back(measured: Measured) -> list[Moment]:
    """The moments at which the trunk leans back, so that it is not called upright."""
    return [moment for moment in (THROUGHOUT, *HALVES) if measured.value("trunk_lean_mean", moment) <= -LEAN]


def standing(measured: Measured, norms: Norms) -> Standing:
    """Where a clip stands in everything that a text may tell."""
    wanted: list[tuple[str, Moment]] = [(quality, THROUGHOUT) for quality in SUBJECTS]
    if measured.seconds <= LONGEST_FOR_HALVES:
        wanted += [(quality, half) for quality in OF_HALVES for half in HALVES]
    found = {(quality, moment): norms.percentile(measured, QUALITIES[quality].descriptor, moment) for quality, moment in wanted}
    for moment in (THROUGHOUT, *HALVES):
        percentile, lean = found.get(("trunk lean", moment), 50.0), measured.value("trunk_lean_mean", moment)
        if (percentile > 50 and lean < LEAN) or (percentile < 50 and lean >= LEAN):
            del found["trunk lean", moment]  # more or less than others, but not so that anybody would call it leaning, or upright
    return {key: percentile for key, percentile in found.items() if np.isfinite(percentile)}


def in_words(where: Standing, leaning_back: Collection[Moment] = ()) -> str:
    """All that the narrator knows of a movement: "throughout: the movement very fast, the head rather bowed, ...; first half: ...".

    An LLM that reads this line in place of skeleton tokens is a baseline that need not see the movement: generated texts are made of what
    the line holds.
    """
    parts = []
    for moment in (THROUGHOUT, *HALVES):
        told = []
        for (quality, at), percentile in where.items():
            adjectives = QUALITIES[quality].pole(_direction(percentile)).adjectives
            adjective = adjectives[quality == "trunk lean" and percentile < 50 and at in leaning_back]
            extents = [word for limit, word in LEVELS if abs(percentile - 50) >= limit]  # none in the middle itself
            if extents and at == moment:
                told.append(f"{SUBJECTS[quality]} {extents[0]}{adjective}")
        parts += [f"{moment}: {', '.join(told)}"] if told else []
    return "; ".join(parts) or NOTHING


def tell(
    where: Standing,
    neutral: Mapping[str, float],
    emotion: str,
    rng: np.random.Generator,
    most: int = MOST_CLAIMS,
    leaning_back: Collection[Moment] = (),
) -> tuple[str, list[Claim]]:
    """An explanation of a movement of which only `where` it stands is known, and its claims.

    Args:
        neutral: quality -> percentile of the median neutral clip; empty where the corpus has none.
        rng: chooses among wordings.
        most: claims of the whole clip.
        leaning_back: moments at which the trunk leans back, so that it is not called upright.
    """
    told = _notable(where, neutral)[:most]
    half = _notable_half(where, {claim.part for claim in told})
    reasons = _sentence_part(told, where, leaning_back, rng)
    openings = [*OPENINGS]
    if neutral and told and emotion.lower() not in NEUTRAL:
        openings.append(CONTRASTING)
    text = _sentence(str(rng.choice(openings)).format(emotion=emotion, reasons=reasons))
    if half is not None:
        text += " " + _sentence(f"in the {half.moment} {_sentence_part([half], where, leaning_back, rng)}")
        told.append(half)
    return text, told


def _notable(where: Standing, neutral: Mapping[str, float]) -> list[Claim]:
    """What stands out most, the most notable first."""
    claims: list[Claim] = []
    for quality in sorted(SUBJECTS, key=lambda quality: -abs(where.get((quality, THROUGHOUT), 50.0) - 50)):
        percentile = where.get((quality, THROUGHOUT), 50.0)
        beyond = _direction(percentile) * (percentile - neutral.get(quality, 50.0))
        stands_out = _notability(percentile) >= TOLD_FROM and beyond >= CONTRAST
        if stands_out and not any({quality, claim.quality} <= group for group in ALIKE for claim in claims):
            claims.append(_claim(quality, percentile, THROUGHOUT))
    return claims


def _notable_half(where: Standing, told: set[str]) -> Claim | None:
    """The half that stands out most from the other, in a part of which nothing is told yet."""
    best, most = None, HALVES_DIFFER
    for quality in OF_HALVES:
        for half, other in (HALVES, HALVES[::-1]):
            percentile, reference = (where.get((quality, moment), 50.0) for moment in (half, other))
            beyond = _direction(percentile) * (percentile - reference)
            if _notability(percentile) >= TOLD_FROM and beyond >= most and QUALITIES[quality].part not in told:
                best, most = _claim(quality, percentile, half), beyond
    return best


def _direction(percentile: float) -> int:
    return 1 if percentile > 50 else -1


def _notability(percentile: float) -> float:
    """Percentile in its own direction, 50 to 100."""
    return 50 + abs(percentile - 50)


def _claim(quality: str, percentile: float, moment: Moment) -> Claim:
    """A posture is told with "clearly", which says no more than the claim alone; a movement of the body with "very"."""
    strong = _notability(percentile) >= STRONG_FROM and QUALITIES[quality].part == "body"
    return Claim(quality, _direction(percentile), moment=moment, extent="strong" if strong else "clear")


def _sentence_part(claims: list[Claim], where: Standing, leaning_back: Collection[Moment], rng: np.random.Generator) -> str:
    """The claims as one list of clauses; what is said of one subject is said together."""
    predicates: dict[str, list[str]] = {}  # subject -> what is said of it
    for claim in claims:
        predicates.setdefault(SUBJECTS[claim.quality], []).append(_predicate(claim, where, claim.moment in leaning_back, rng))
    clauses = [f"{subject} {'are' if subject.endswith('s') else 'is'} {' and '.join(said)}" for subject, said in predicates.items()]
    return f"{', '.join(clauses[:-1])} and {clauses[-1]}" if len(clauses) > 1 else clauses[0] if clauses else NOTHING


def _predicate(claim: Claim, where: Standing, leaning_back: bool, rng: np.random.Generator) -> str:
    """What follows the verb."""
    quality = QUALITIES[claim.quality]
    first, second = quality.pole(claim.direction).adjectives[:2]
    words = (first, second) if claim.quality != "trunk lean" else (second,) if leaning_back and claim.direction < 0 else (first,)
    notable = _notability(where[claim.quality, claim.moment])
    strong = "very " if quality.part == "body" else "clearly "
    return f"{strong if notable >= STRONG_FROM else '' if notable >= PLAIN_FROM else 'rather '}{rng.choice(words)}"


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
