"""What a text says twice is found and told once."""

import random

import pytest

from emotion_llm.grounding.clauses import SEPARATOR, repeats_a_clause, said_once

CLAUSES = ("the head is bowed", "the head is clearly bowed", "the arms are open", "the movement is fast", "small", "the knees")


def test_repeated_clauses_are_found():
    assert repeats_a_clause("The arms are open and the arms are clearly open.")
    assert repeats_a_clause("In this clip the head is bowed, the head is bowed.")
    assert repeats_a_clause("The head is very bowed, the arms are open, and the head is rather bowed.")
    assert not repeats_a_clause("The arms are open and the head is bowed.")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("The head is bowed, the arms are open and the head is clearly bowed.", "The head is bowed, the arms are open."),
        ("Fear: the arms are open, the arms are very open and the head is bowed.", "Fear: the arms are open and the head is bowed."),
        ("The arms are open. The arms are open.", "The arms are open."),
        ("The arms are open, and the arms are open!", "The arms are open!"),
        ("The arms and the legs are fast, the arms and the head are bowed.", "The arms and the legs are fast, the arms and the head are bowed."),
        ("The head is bowed", "The head is bowed"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_was_said_is_left_out(written, told):
    assert said_once(written) == told


def test_what_remains_says_nothing_again_and_nothing_else_is_lost():
    rng = random.Random(0)
    for _ in range(200):
        text = "".join(rng.choice(CLAUSES) + rng.choice((", ", " and ", ", and ", ". ", ": ")) for _ in range(8))
        told = said_once(text)
        words = [clause.replace("clearly ", "").strip() for clause in SEPARATOR.split(told)]
        assert all(words.count(clause) == 1 for clause in words if len(clause.split()) >= 4)
        assert set(words) == {clause.replace("clearly ", "").strip() for clause in SEPARATOR.split(text)}
        assert said_once(told) == told
