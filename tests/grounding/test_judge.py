"""A claim is supported, contradicted in one of three ways, neither, or uncheckable."""

import math
from types import SimpleNamespace

import pytest

from emotion_llm.grounding.claims import MOMENTS, QUALITIES, Claim
from emotion_llm.grounding.judge import judge, standing


def test_opposite_claims_are_never_both_supported():
    for percentile in range(101):
        outcomes = {judge(Claim("speed", direction), {"throughout": {"speed_mean": percentile}}).verdict for direction in (-1, 1)}
        assert outcomes in ({"supported", "contradicted"}, {"indeterminate"})


def test_a_claim_and_its_negation_are_never_both_supported():
    for percentile in range(101):
        movement = {"throughout": {"speed_mean": percentile}}
        outcomes = [judge(Claim("speed", 1, negated=negated), movement).verdict for negated in (False, True)]
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
    judged = judge(claim, movement)
    assert (judged.verdict, judged.kind) == ("contradicted", kind)


def test_a_fall_is_read_from_the_same_number_as_a_rise():
    movement = {"increasing": {"speed_mean": 20}}
    assert judge(Claim("speed", -1, moment="decreasing"), movement).verdict == "supported"
    assert judge(Claim("speed", 1, moment="increasing"), movement).verdict == "contradicted"


def test_strong_words_need_more():
    movement = {"throughout": {"speed_mean": 65}}
    assert judge(Claim("speed", 1), movement).verdict == "supported"
    assert judge(Claim("speed", 1, extent="strong"), movement).verdict == "indeterminate"


def test_what_is_not_measured_is_uncheckable():
    assert judge(Claim("cadence", 1), {"throughout": {}}).verdict == "uncheckable"


def test_a_standing_holds_every_descriptor_that_a_claim_can_name_at_every_moment():
    def percentile(measured: dict, name: str, moment: str) -> float:
        return math.nan if name == "cadence" else measured[moment] + 0.2

    measured = {moment: index * 10.0 for index, moment in enumerate((*MOMENTS, "increasing"))}
    movement = standing(measured, SimpleNamespace(percentile=percentile))
    assert movement.keys() == measured.keys()
    for moment, values in movement.items():
        named = {Claim(name, 1).descriptor for name in QUALITIES} | {Claim(name, 1, "left").descriptor for name in QUALITIES}
        assert named - {"cadence"} <= values.keys()
        assert "cadence" not in values
        assert values["speed_mean"] == measured[moment]
    assert judge(Claim("speed", 1, moment="increasing"), movement).verdict == "supported"  # 60
    assert judge(Claim("speed", 1, moment="second half"), movement).verdict == "indeterminate"  # 50
