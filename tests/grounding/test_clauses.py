"""What a text says twice is found and told once."""

import random

import pytest

from emotion_llm.grounding.clauses import repeats, said_once
from emotion_llm.grounding.grammar import read_claims

CLAUSES = (
    "the head is bowed", "the head is clearly lowered", "the arms are open", "the arms are spread wide", "the movement is fast",
    "the left arm is open", "the knees are bent in the second half", "the weather is fine",
)  # fmt: skip


def test_what_is_said_twice_is_found():
    assert repeats("The arms are open and the arms are clearly open.")
    assert repeats("In this clip the head is bowed, the head is bowed.")
    assert repeats("The head is very bowed, the arms are open, and the head is rather lowered.")
    assert repeats("The movement is very fast and very quick.")
    assert repeats("The weather is fine, the weather is fine.")
    assert not repeats("The arms are open and the head is bowed.")
    assert not repeats("In the first half the head is bowed, in the second half the head is bowed.")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("The head is bowed, the arms are open and the head is clearly bowed.", "The head is bowed, the arms are open."),
        ("Fear: the arms are open, the arms are very open and the head is bowed.", "Fear: the arms are open and the head is bowed."),
        ("The arms are open, the hands are raised, the arms are spread wide.", "The arms are open, the hands are raised."),
        ("The movement is very large and very wide and the hands are low.", "The movement is very large and the hands are low."),
        ("Disgust: the movement is very slow and very slow.", "Disgust: the movement is very slow."),
        ("The arms are open. The arms are open.", "The arms are open."),
        ("The arms are open, and the arms are open!", "The arms are open!"),
        ("The arms and the legs are fast, the arms and the head are bowed.", "The arms and the legs are fast, the arms and the head are bowed."),
        ("The weather is fine, the arms are open, the weather is very fine.", "The weather is fine, the arms are open."),
        ("The sky and the sea are blue, the sky and the sun are red.",) * 2,
        ("The movement is slow, the head is bowed and the movement is slow and small.",) * 2,
        ("The head is bowed", "The head is bowed"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_was_said_is_left_out(written, told):
    assert said_once(written) == told


def test_what_remains_says_nothing_again_and_no_claim_is_lost():
    rng = random.Random(0)
    for _ in range(200):
        text = "".join(rng.choice(CLAUSES) + rng.choice((", ", " and ", ", and ", ": ")) for _ in range(8)) + "the head is bowed."
        told = said_once(text)
        before, after = (
            [(claim.quality, claim.direction, claim.side, claim.moment) for claim in read_claims(one).claims] for one in (text, told)
        )
        assert set(after) == set(before) and len(after) == len(set(after))
        assert not read_claims(told).repeated
        assert said_once(told) == told
