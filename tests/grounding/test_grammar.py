"""Claims are read out of free text with what they say of side, moment, extent and negation, and nothing is read into it."""

import pytest

from emotion_llm.grounding.claims import QUALITIES, Claim
from emotion_llm.grounding.grammar import read_claims


def only(text: str) -> Claim:
    (claim,) = read_claims(text).claims
    return claim


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The left hand is raised.", {"quality": "hand height", "direction": 1, "side": "left"}),
        ("The steps are very short.", {"quality": "stride", "direction": -1, "extent": "strong"}),
        ("The trunk leans slightly forward.", {"quality": "trunk lean", "direction": 1, "extent": "slight"}),
        ("At the end the arms are open.", {"quality": "arm opening", "direction": 1, "moment": "end"}),
        ("The movement becomes slower.", {"quality": "speed", "direction": -1, "moment": "decreasing"}),
        ("The knees are not bent.", {"quality": "knee bend", "direction": 1, "negated": True}),
        ("The elbows are less bent than usual.", {"quality": "elbow bend", "direction": -1, "negated": False}),
        ("She raises the right hand.", {"quality": "hand height", "direction": 1, "side": "right"}),
    ],
)
def test_a_claim_has_what_the_text_says(text, expected):
    claim = only(text)
    assert {name: getattr(claim, name) for name in expected} == expected


def test_every_adjective_and_verb_of_the_table_is_read_as_its_own_pole():
    missing = []
    for name, quality in QUALITIES.items():
        plural = quality.part in ("shoulders", "arms", "hands", "elbows", "hips", "legs", "knees", "feet", "steps")
        for direction in (-1, 1):
            pole = quality.pole(direction)
            for words in (*(f"{'are' if plural else 'is'} {adjective}" for adjective in pole.adjectives), *pole.verbs):
                found = read_claims(f"The {quality.part} {words}.").claims
                if (name, direction) not in [(claim.quality, claim.direction) for claim in found]:
                    missing.append(f"the {quality.part} {words}")
    assert not missing


def test_the_span_is_where_the_claim_stands():
    text = "It rains. The head is bowed and, with short steps, the left arm hangs low."
    spans = [claim.span for claim in read_claims(text).claims]
    assert [text[start:end] for start, end in spans] == ["The head is bowed", "short", "the left arm hangs low"]
    assert spans == sorted(spans)


def test_a_sentence_that_says_nothing_checkable_is_counted_as_such():
    statements = read_claims("The head is bowed. The person is sad.")
    assert len(statements.claims) == 1
    assert [("The head is bowed. The person is sad.")[a:b] for a, b in statements.uncheckable] == ["The person is sad"]


@pytest.mark.parametrize("text", ["", "...", "???", "\n\n", "12 34", "é ü 漢字", "(", "the the the", "not not", "and, or; but"])
def test_any_text_can_be_read(text):
    assert read_claims(text).claims == ()


def test_a_claim_repeated_in_a_sentence_is_one_claim():
    assert len(read_claims("The arms are bent and the elbows are bent.").claims) == 1
