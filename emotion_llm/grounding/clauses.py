"""Clauses that a text says twice.

text  ->  the text without them. Ours.
"""

import re

SEPARATOR = re.compile(r"[.,;:!?]+\s+and\b|[.,;:!?]+|\s+and\b")
UNSAID = re.compile(r"\b(?:in this clip|clearly|very|rather|slightly)\b")
"""Words without which a clause says the same."""
UNFINISHED = re.compile(r"\bin(?: this)?\s*$", re.IGNORECASE)
"""What may go on as "in this clip"."""
SHORTEST = 4
"""Words of a clause that is left out where it comes again; shorter ones are often a subject ("the left arm and ...")."""


def repeats_a_clause(text: str) -> bool:
    """Whether the same clause of two words or more stands in the text twice."""
    said = [words for words in map(_words, SEPARATOR.split(text)) if len(words) > 1]
    return len(set(said)) < len(said)


def said_once(text: str, finished: bool = True) -> str:
    """The text without the clauses that it has said before.

    Args:
        finished: False for a text whose last clause may go on; it is left out as long as it may become one that was said,
            and so is a space at the end, which may belong to a separator.
    """
    separators, clauses = ["", *SEPARATOR.findall(text)], SEPARATOR.split(text)
    kept, said = "", set[tuple[str, ...]]()
    for place, (separator, clause) in enumerate(zip(separators, clauses, strict=True), 1):
        is_open = place == len(clauses) and not finished
        words = _words(UNFINISHED.sub("", clause) if is_open else clause)
        if words not in said if not is_open else all(known[: len(words)] != words for known in said):
            kept += separator + clause
        if len(words) >= SHORTEST:
            said.add(words)
    return kept if finished else kept.rstrip()


def _words(clause: str) -> tuple[str, ...]:
    return tuple(UNSAID.sub("", clause.lower()).split())
