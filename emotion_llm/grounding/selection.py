"""The text among several that its movement supports best.

texts, Standing, emotion  ->  one text without a contradicted claim; those to learn from. Ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from emotion_llm.grounding.clauses import repeats
from emotion_llm.grounding.judge import JudgedText, Standing, judge, judge_text
from emotion_llm.grounding.metrics import named_emotions

MOST_TEXTS = 3
"""Of one clip to learn from: as many as reference texts have wordings (our choice)."""
NOTHING_LEFT = "This reads as {emotion}; the model gave no reason that the measured movement supports."
"""Shown where every candidate's every sentence contradicts the movement."""


def best_supported(texts: Sequence[str], movement: Standing, emotion: str) -> str:
    """The best of the texts; of equally good ones the first.

    A text that breaks off within a sentence is chosen only where all do. Fewest contradicted claims come first, then a text that names the
    emotion and says nothing twice, then most supported claims. Sentences that still contradict the movement are left out.
    """
    finished = [text for text in texts if text.rstrip().endswith((".", "!", "?"))]
    judged = [judge_text(text, movement) for text in finished or texts]
    best = max(judged, key=lambda text: _merit(text, emotion))
    return best.text if not best.count("contradicted") else without_contradictions(best) or NOTHING_LEFT.format(emotion=emotion)


def plainly_true(texts: Sequence[str], movement: Standing, emotion: str, emotions: Sequence[str]) -> list[str]:
    """Texts to learn from: those that say most, at most MOST_TEXTS different ones, among those that are finished, say nothing twice, name the
    emotion and no other, and claim nothing but what would be supported with "very" too, each of another quality or moment."""
    told: dict[str, int] = {}
    for text in texts:
        judged = judge_text(text, movement)
        claims = [replace(one.claim, extent="strong") for one in judged.claims]
        true = all(judge(claim, movement).verdict == "supported" for claim in claims) and not judged.uncheckable
        different = len({(claim.quality, claim.moment) for claim in claims}) == len(claims) > 0
        named = named_emotions(text, emotions) == {emotion}
        if true and different and named and text.endswith(".") and not repeats(text):
            told[text] = len(claims)
    return [text for text, claims in told.items() if claims == max(told.values())][:MOST_TEXTS]


def _merit(judged: JudgedText, emotion: str) -> tuple[float, ...]:
    unclear = judged.count("indeterminate") + judged.count("uncheckable") + len(judged.uncheckable)
    named = bool(named_emotions(judged.text, [emotion]))
    return (
        -judged.count("contradicted"),
        judged.count("supported") > 0,
        named,
        not repeats(judged.text),
        judged.count("supported") - unclear,
    )


def without_contradictions(text: JudgedText) -> str:
    """The text without the sentences in which a claim is contradicted; empty if no other sentence makes a claim."""
    kept, claims = [], 0
    for sentence in re.finditer(r"[^.!?]+[.!?]*\s*", text.text):
        own = [judged.verdict for judged in text.claims if judged.claim.span and sentence.start() <= judged.claim.span[0] < sentence.end()]
        if "contradicted" not in own:
            kept.append(sentence.group())
            claims += len(own)
    return "".join(kept).strip() if claims else ""
