"""How well texts are grounded in the movements that they explain, as counts that add up over texts.

text, Standing, label  ->  JudgedText  ->  counts (COUNTS,)  ->  shares;  generated and written texts  ->  CIDEr-D

Counts add up over the clips of an actor, so a bootstrap over actors only weights them. Ours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from math import log
from typing import get_args

import numpy as np

from emotion_llm.grounding.clauses import repeats
from emotion_llm.grounding.judge import Contradiction, Standing, Verdict, judge, judge_text

OUTCOMES: tuple[Verdict, ...] = ("supported", "contradicted", "indeterminate")
CONTRADICTIONS = get_args(Contradiction)
COUNTS = ("texts", *OUTCOMES, *CONTRADICTIONS, "uncheckable", "repeating", "consistent", *(f"shuffled_{name}" for name in OUTCOMES))
"""What is counted per text. The shuffled ones are means over the derangements."""
DERANGEMENTS = 10
"""Ways in which texts are held against other clips' movements."""


def named_emotions(text: str, emotions: Iterable[str]) -> set[str]:
    """The labels that a text names; one inside a longer label ("fear" in "panic fear") is not, nor is one compared with ("neutral clips")."""
    found, rest = set(), re.sub(r"\b(?:compared (?:with|to)|than|unlike)[^,.;]*", "|", text.lower())
    for emotion in sorted(emotions, key=len, reverse=True):
        words = r"\b" + re.escape(emotion.lower()).replace(r"\-", "[- ]") + r"\b"
        if re.search(words, rest):
            found.add(emotion)
            rest = re.sub(words, "|", rest)
    return found


def text_counts(texts: Sequence[str], movements: Sequence[Standing], answered: Sequence[str], emotions: Sequence[str]) -> np.ndarray:
    """COUNTS of N texts, each held against its own movement and against those of other clips.

    A text is consistent if it names the answered emotion and no other.

    Shape:
        N of each  ->  (N, len(COUNTS))
    """
    rows = []
    others = derangements(len(texts))
    for index, (text, label) in enumerate(zip(texts, answered, strict=True)):
        judged = judge_text(text, movements[index])
        kinds = Counter(one.kind for one in judged.claims)
        shuffled = Counter(judge(one.claim, movements[order[index]]).verdict for order in others for one in judged.claims)
        row: list[float] = [
            1,
            *(judged.count(outcome) for outcome in OUTCOMES),
            *(kinds[kind] for kind in CONTRADICTIONS),
            judged.count("uncheckable") + len(judged.uncheckable),
            repeats(text),
            named_emotions(text, emotions) == {label},
            *(shuffled[outcome] / max(len(others), 1) for outcome in OUTCOMES),
        ]
        rows.append(row)
    return np.array(rows, dtype=float)


def derangements(size: int) -> list[np.ndarray]:
    """DERANGEMENTS random orders of N clips in which none is in its own place; none for fewer than two clips."""
    rng, orders = np.random.default_rng(0), []
    for _ in range(DERANGEMENTS if size > 1 else 0):
        order = rng.permutation(size)
        shifted = np.empty(size, dtype=int)
        shifted[order] = np.roll(order, 1)
        orders.append(shifted)
    return orders


def shares(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of summed counts.

    `supported`, `contradicted` and `indeterminate` are shares of the checkable claims, which are these three; `uncheckable` is a share of
    all statements; `repeating` are texts that still say something twice after grounding/clauses.py. NaN where there is nothing to divide by.

    Shape:
        (..., len(COUNTS))  ->  (...) each
    """
    count = {name: counts[..., index] for index, name in enumerate(COUNTS)}
    checkable, shuffled = (sum(count[f"{prefix}{name}"] for name in OUTCOMES) for prefix in ("", "shuffled_"))
    with np.errstate(invalid="ignore", divide="ignore"):
        result = {name: count[name] / checkable for name in (*OUTCOMES, *CONTRADICTIONS)}
        result |= {f"shuffled_{name}": count[f"shuffled_{name}"] / shuffled for name in OUTCOMES[:2]}
        result["above_shuffled"] = result["supported"] - result["shuffled_supported"]
        result["uncheckable"] = count["uncheckable"] / (checkable + count["uncheckable"])
        result["claims_per_text"] = checkable / count["texts"]
        result["repeating"] = count["repeating"] / count["texts"]
        result["label_consistency"] = count["consistent"] / count["texts"]
    return result


def distinct_share(texts: Sequence[str]) -> float:
    """Different texts / texts."""
    return len(set(texts)) / len(texts)


def cider(texts: Sequence[str], references: Sequence[Sequence[str]], longest: int = 4, sigma: float = 6.0) -> float:
    """CIDEr-D of N texts (Vedantam et al. 2015, arXiv:1411.5726): 10 times the mean cosine of clipped n-gram counts weighted by rarity.

    Words are lower-cased and stripped of punctuation; no stemming, as in pycocoevalcap, whose figure it gives. That library needs Java
    for its tokens and COCO's tools to install; this is its formula.
    """
    grams = [[[_ngrams(text, n) for n in range(1, longest + 1)] for text in group] for group in references]
    own = [[_ngrams(text, n) for n in range(1, longest + 1)] for text in texts]
    documents = [Counter(gram for group in grams for gram in set().union(*(sizes[n] for sizes in group))) for n in range(longest)]
    total = log(max(len(references), 1))

    def weights(counts: Counter, n: int) -> dict:
        return {gram: count * (total - log(max(documents[n][gram], 1))) for gram, count in counts.items()}

    scores = []
    for text, group in zip(own, grams, strict=True):
        similarity = 0.0
        for reference in group:
            penalty = np.exp(-((text[0].total() - reference[0].total()) ** 2) / (2 * sigma**2))
            for n in range(longest):
                one, other = weights(text[n], n), weights(reference[n], n)
                norm = np.sqrt(sum(w * w for w in one.values()) * sum(w * w for w in other.values()))
                similarity += penalty * sum(min(w, other[gram]) * other[gram] for gram, w in one.items() if gram in other) / (norm or 1)
        scores.append(10 * similarity / longest / max(len(group), 1))
    return float(np.mean(scores))


def _ngrams(text: str, size: int) -> Counter:
    words = re.findall(r"[\w'-]+", text.lower())
    return Counter(zip(*(words[start:] for start in range(size)), strict=False))
