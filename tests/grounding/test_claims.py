"""The table of qualities names what is measured, and claims survive their JSON."""

import json
from dataclasses import asdict

import pytest
from pydantic import TypeAdapter

from emotion_llm.grounding.claims import PARTS, QUALITIES, Claim
from emotion_llm.kinematics.descriptors import DESCRIPTORS


def test_every_quality_is_measured_by_a_known_descriptor_of_a_known_part():
    for quality in QUALITIES.values():
        assert quality.descriptor in DESCRIPTORS
        assert set(quality.parts) <= PARTS.keys()


def test_every_quality_has_words_for_both_poles():
    for quality in QUALITIES.values():
        assert all(quality.pole(direction).adjectives + quality.pole(direction).verbs for direction in (-1, 1))


def test_no_word_of_a_part_means_both_poles_of_one_quality():
    for quality in QUALITIES.values():
        low, high = (set(quality.pole(direction).adjectives + quality.pole(direction).verbs) for direction in (-1, 1))
        assert not low & high


def test_a_claim_survives_its_json():
    claim = Claim("hand height", 1, "left", "second half", "slight", True, (3, 20))
    record = json.loads(json.dumps(asdict(claim)))
    assert record["part"] == "hands"
    assert TypeAdapter(Claim).validate_python(record) == claim


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"quality": "colour", "direction": 1}, "no quality 'colour'; there are speed"),
        ({"quality": "speed", "direction": 0}, r"direction is 0; it must be \+1"),
        ({"quality": "speed", "direction": 1, "moment": "decreasing"}, r"'decreasing' does not go in direction \+1"),
    ],
)
def test_an_impossible_claim_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Claim(**fields)
