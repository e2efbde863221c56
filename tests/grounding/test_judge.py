"""A claim is supported, contradicted in one of three ways, neither, or uncheckable."""

import pytest

from emotion_llm.grounding.claims import Claim
from emotion_llm.grounding.judge import Verdict, judge


def test_opposite_claims_are_never_both_supported():
    for percentile in range(101):
        outcomes = {judge(Claim("speed", direction), {"throughout": {"speed_mean": percentile}}).outcome for direction in (-1, 1)}
        assert outcomes in ({"supported", "contradicted"}, {"indeterminate"})


def test_a_claim_and_its_negation_are_never_both_supported():
    for percentile in range(101):
        movement = {"throughout": {"speed_mean": percentile}}
        outcomes = [judge(Claim("speed", 1, negated=negated), movement).outcome for negated in (False, True)]
        assert outcomes.count("supported") <= 1
        assert outcomes.count("contradicted") <= 1


@pytest.mark.parametrize(
    ("claim", "movement", "kind"),
    [
        (Claim("speed", 1), {"throughout": {"speed_mean": 10}}, "directional"),
        (Claim("elbow bend", 1), {"throughout": {"elbow_flexion_mean": 10, "knee_flexion_mean": 90}}, "attributional"),
        (Claim("shoulder height", 1), {"throughout": {"shoulder_height_mean": 10, "head_pitch_mean": 10}}, "attributional"),
        (Claim("hand height", 1, "left"), {"throughout": {"left_hand_height_mean": 10, "right_hand_height_mean": 90}}, "attributional"),
        (Claim("speed", 1, moment="end"), {"end": {"speed_mean": 10}, "beginning": {"speed_mean": 90}}, "temporal"),
    ],
)
def test_a_contradiction_has_its_kind(claim, movement, kind):
    verdict = judge(claim, movement)
    assert (verdict.outcome, verdict.contradiction) == ("contradicted", kind)


def test_a_fall_is_read_from_the_same_number_as_a_rise():
    movement = {"increasing": {"speed_mean": 20}}
    assert judge(Claim("speed", -1, moment="decreasing"), movement).outcome == "supported"
    assert judge(Claim("speed", 1, moment="increasing"), movement).outcome == "contradicted"


def test_strong_words_need_more():
    movement = {"throughout": {"speed_mean": 65}}
    assert judge(Claim("speed", 1), movement).outcome == "supported"
    assert judge(Claim("speed", 1, extent="strong"), movement).outcome == "indeterminate"


def test_what_is_not_measured_is_uncheckable():
    assert judge(Claim("cadence", 1), {"throughout": {}}) == Verdict("uncheckable")
