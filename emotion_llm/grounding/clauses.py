"""What a text says twice.

text  ->  the text without the clauses that say nothing new. Ours.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from emotion_llm.grounding.claims import Claim
from emotion_llm.grounding.grammar import read_claims

SEPARATOR = re.compile(r"[.,;:!?]+\s+and\b|[.,;:!?]+|\s+and\b")
UNSAID = re.compile(r"\b(?:in this clip|clearly|very|rather|slightly)\b")
"""Words without which a clause says the same."""
SHORTEST = 4
"""Words of a clause without a claim that is left out where it comes again; shorter ones are often a subject ("the left arm and ...")."""


def repeats(text: str) -> bool:
    """Whether a text makes a claim twice, in whatever words, or has the same clause of two words or more twice."""
    said = [words for words in map(_words, SEPARATOR.split(text)) if len(words) > 1]
    return bool(read_claims(text).repeated) or len(set(said)) < len(said)


def said_once(text: str, finished: bool = True) -> str:
    """The text without the clauses that only say what was said before: claims, in whatever words, or the same words. A clause stays where
    the text would claim something else without it.

    Args:
        finished: False for a text whose last clause may go on; it is left out.
    """
    place = 0
    while (clauses := _clauses(text)) and place < len(clauses):
        begin, start, end = clauses[place]
        without = text[:begin] + text[end:]
        if _says_nothing_new(text, clauses[:place], start, end) and _claimed(without) == _claimed(text):
            text = without
        else:
            place += 1
    return text if finished else text[: _clauses(text)[-1][0]]


def _clauses(text: str) -> list[tuple[int, int, int]]:
    """Where each clause's separator begins, where the clause begins, and where it ends."""
    separators = [(0, 0), *(match.span() for match in SEPARATOR.finditer(text)), (len(text), len(text))]
    return [(begin, start, end) for (begin, start), (end, _) in pairwise(separators)]


def _says_nothing_new(text: str, before: Sequence[tuple[int, int, int]], start: int, end: int) -> bool:
    words = _words(text[start:end])
    same_words = len(words) >= SHORTEST and any(_words(text[first:last]) == words for _, first, last in before)
    return same_words or any(start <= first < end for first, _ in read_claims(text).repeated)


def _claimed(text: str) -> set[Claim]:
    return {claim.plain for claim in read_claims(text).claims}


def _words(clause: str) -> tuple[str, ...]:
    return tuple(UNSAID.sub("", clause.lower()).split())
