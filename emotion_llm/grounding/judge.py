"""Whether a movement bears out what is claimed of it.

text, Standing  ->  JudgedText: every claim supported, contradicted (and how), indeterminate or uncheckable

A movement's standing is what the judge needs of it: the percentile of every descriptor among the training clips of its corpus. The kinds of
contradiction are named after MotionHalluc; limits and procedure are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, isnan, nan
from typing import TYPE_CHECKING, Literal

from emotion_llm.grounding.claims import CHANGES, MOMENTS, QUALITIES, SIDES, Claim
from emotion_llm.grounding.grammar import read_claims

if TYPE_CHECKING:
    from emotion_llm.grounding.norms import Measured, Norms

SUPPORTED_FROM = 60.0
"""Percentile in the claimed direction from which a claim is supported. Two in five clips are so, as many are the opposite, and the middle
fifth is neither: differences there are within what another formula of the same quality would change (our choice)."""
CONTRADICTED_TO = 100 - SUPPORTED_FROM
"""Percentile in the claimed direction down to which a claim is contradicted."""
STRONG_FROM = 75.0
"""Percentile from which "very" is supported; also that of a quality that is plain enough to have been mistaken for the claimed one."""
NOT_TO = 50.0
"""Percentile down to which a negated claim is supported: "not fast" is true of the middle too, but not above it."""

Standing = Mapping[str, Mapping[str, float]]
"""Moment or change -> descriptor -> percentile, 0 to 100; of a change, 50 is none. What is not measured is absent."""
Verdict = Literal["supported", "contradicted", "indeterminate", "uncheckable"]
Contradiction = Literal["directional", "attributional", "temporal"]


@dataclass(frozen=True)
class JudgedClaim:
    """A claim and what the movement says to it."""

    claim: Claim
    verdict: Verdict
    kind: Contradiction | None = None
    """Of a contradiction. directional: the opposite is true; attributional: true of another part or side; temporal: true at another
    moment."""


@dataclass(frozen=True)
class JudgedText:
    """A text, claim by claim."""

    text: str
    claims: tuple[JudgedClaim, ...]
    uncheckable: tuple[tuple[int, int], ...]
    """Spans of what the grammar cannot make a claim of."""

    def count(self, verdict: Verdict) -> int:
        return sum(judged.verdict == verdict for judged in self.claims)


def judge_text(text: str, movement: Standing) -> JudgedText:
    statements = read_claims(text)
    return JudgedText(text, tuple(judge(claim, movement) for claim in statements.claims), statements.uncheckable)


def standing(measured: Measured, norms: Norms) -> dict[str, dict[str, float]]:
    """Where a movement stands in its corpus, in every descriptor that a claim can name; rounded to whole percentiles."""
    names = {quality.descriptor for quality in QUALITIES.values()}
    names |= {f"{side}_{name}" for side in SIDES for name in names}
    result: dict[str, dict[str, float]] = {}
    for moment in (*MOMENTS, CHANGES[0]):
        values = {name: norms.percentile(measured, name, moment) for name in sorted(names)}
        result[moment] = {name: float(round(value)) for name, value in values.items() if isfinite(value)}
    return result


def judge(claim: Claim, movement: Standing) -> JudgedClaim:
    agreement = _agreement(claim.descriptor, claim.moment, claim.direction, movement)
    if isnan(agreement):
        return JudgedClaim(claim, "uncheckable")
    if claim.negated:
        verdict: Verdict = "supported" if agreement <= NOT_TO else "contradicted" if agreement >= SUPPORTED_FROM else "indeterminate"
        return JudgedClaim(claim, verdict, "directional" if verdict == "contradicted" else None)
    if agreement >= (STRONG_FROM if claim.extent == "strong" else SUPPORTED_FROM):
        return JudgedClaim(claim, "supported")
    if agreement > CONTRADICTED_TO:
        return JudgedClaim(claim, "indeterminate")
    return JudgedClaim(claim, "contradicted", _kind(claim, movement))


def _agreement(descriptor: str, moment: str, direction: int, movement: Standing) -> float:
    """Percentile in a direction; NaN where it is not measured. A fall is read from the same number as a rise."""
    percentile = movement.get("increasing" if moment in CHANGES else moment, {}).get(descriptor, nan)
    return percentile if direction > 0 else 100 - percentile


def _kind(claim: Claim, movement: Standing) -> Contradiction:
    def plain(descriptor: str, moment: str, direction: int) -> bool:
        return _agreement(descriptor, moment, direction, movement) >= STRONG_FROM

    if claim.moment in MOMENTS and claim.moment != "throughout":
        others = [moment for moment in MOMENTS if moment not in (claim.moment, "throughout")]
        if any(plain(claim.descriptor, moment, claim.direction) for moment in others):
            return "temporal"
    if claim.side and plain(claim.descriptor.replace(claim.side, SIDES[claim.side == SIDES[0]], 1), claim.moment, claim.direction):
        return "attributional"
    own = QUALITIES[claim.quality]
    for name, quality in QUALITIES.items():
        if name != claim.quality and own.family and quality.family == own.family:
            direction = claim.direction * (-1 if quality.mirrored != own.mirrored else 1)
            if plain(quality.descriptor, claim.moment, direction):
                return "attributional"
    return "directional"
