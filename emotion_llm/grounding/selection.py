"""The text among several that its movement supports best.

texts, Standing, emotion  ->  one text without a contradicted claim. Ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from emotion_llm.grounding.judge import Standing
from emotion_llm.grounding.metrics import JudgedText, judge_text, named_emotions, repeats_a_clause

NOTHING_LEFT = "This reads as {emotion}; the model gave no reason that the measured movement supports."
"""Shown where every candidate's every sentence contradicts the movement."""


def best_supported(texts: Sequence[str], movement: Standing, emotion: str) -> str:
    """The best of the texts; of equally good ones the first.

    A text that breaks off within a sentence is chosen only where all do. Fewest contradicted claims come first, then a text that names the
    emotion and repeats no clause, then most supported claims. Sentences that still contradict the movement are left out.
    """
    finished = [text for text in texts if text.rstrip().endswith((".", "!", "?"))]
    judged = [judge_text(text, movement) for text in finished or texts]
    best = max(judged, key=lambda text: _merit(text, emotion))
    return best.text if not best.contradicted else without_contradictions(best) or NOTHING_LEFT.format(emotion=emotion)


def _merit(judged: JudgedText, emotion: str) -> tuple[float, ...]:
    unclear = judged.count("indeterminate") + judged.count("uncheckable") + len(judged.uncheckable)
    named = bool(named_emotions(judged.text, [emotion]))
    return (
        -judged.count("contradicted"),
        judged.count("supported") > 0,
        named,
        not repeats_a_clause(judged.text),
        judged.count("supported") - unclear,
    )


def without_contradictions(judged: JudgedText) -> str:
    """The text without the sentences in which a claim is contradicted; empty if no other sentence makes a claim."""
    places = [claim.span[0] for claim in judged.contradicted if claim.span]
    claimed = [claim.span[0] for claim in judged.claims if claim.span]
    sentences = [(match.start(), match.end(), match.group()) for match in re.finditer(r"[^.!?]+[.!?]*\s*", judged.text)]
    kept = [(start, end, text) for start, end, text in sentences if not any(start <= place < end for place in places)]
    if not any(start <= place < end for start, end, _ in kept for place in claimed):
        return ""
    return "".join(text for _, _, text in kept).strip()
