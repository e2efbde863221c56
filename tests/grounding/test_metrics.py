"""Grounding metrics count what the judge says, a control holds texts against other movements, and selection leaves no contradiction."""

import numpy as np
import pytest

from emotion_llm.grounding.judge import judge_text
from emotion_llm.grounding.metrics import (
    COUNTS,
    cider,
    derangements,
    distinct_share,
    named_emotions,
    shares,
    text_counts,
)
from emotion_llm.grounding.selection import MOST_TEXTS, NOTHING_LEFT, best_supported, plainly_true

FAST_BOWED = {"throughout": {"speed_mean": 90.0, "head_pitch_mean": 90.0}}
SLOW_RAISED = {"throughout": {"speed_mean": 10.0, "head_pitch_mean": 10.0}}
TEXTS = ["This reads as anger. The movement is fast.", "This reads as sadness. The movement is slow and the head is bowed."]


def summed(texts=TEXTS, movements=(FAST_BOWED, SLOW_RAISED), labels=("anger", "joy")) -> dict[str, float]:
    counts = text_counts(texts, movements, labels, ["anger", "joy", "sadness"])
    return {name: float(value) for name, value in shares(counts.sum(axis=0)).items()}


def test_shares_are_of_checkable_claims():
    found = summed()
    assert found["supported"] == pytest.approx(2 / 3)
    assert found["contradicted"] == found["directional"] + found["attributional"] + found["temporal"] == pytest.approx(1 / 3)
    assert found["claims_per_text"] == 1.5


def test_texts_held_against_other_movements_lose_their_support():
    found = summed()
    assert (found["shuffled_supported"], found["shuffled_contradicted"]) == pytest.approx((1 / 3, 2 / 3))
    assert found["above_shuffled"] == pytest.approx(found["supported"] - found["shuffled_supported"])


def test_a_text_is_consistent_if_it_names_the_answered_emotion_and_no_other():
    assert summed()["label_consistency"] == 0.5
    assert summed(labels=("anger", "sadness"))["label_consistency"] == 1
    assert summed(texts=["Anger or joy.", "Nothing."])["label_consistency"] == 0


def test_a_label_inside_a_longer_one_is_not_named():
    assert named_emotions("It reads as panic fear.", ["fear", "panic fear"]) == {"panic fear"}
    assert named_emotions("It seems not confident", ["not-confident"]) == {"not-confident"}
    assert named_emotions("Compared with neutral clips, the movement is fast, which reads as joy.", ["neutral", "joy"]) == {"joy"}
    assert named_emotions("enjoyment", ["joy"]) == set()


def test_counts_add_up_over_texts():
    both = text_counts(TEXTS, (FAST_BOWED, SLOW_RAISED), ("anger", "joy"), ["anger", "joy"])
    assert both.shape == (2, len(COUNTS))
    assert both[:, 0].tolist() == [1, 1]


def test_without_claims_there_are_no_shares():
    assert np.isnan(summed(texts=["Joy.", "Anger."])["supported"])


@pytest.mark.parametrize("size", range(2, 12))
def test_no_text_is_held_against_its_own_movement_in_the_control(size):
    for order in derangements(size):
        assert sorted(order) == list(range(size))
        assert not (order == np.arange(size)).any()


def test_distinct_share():
    assert distinct_share(["a", "b", "a", "a"]) == 0.5


def test_cider_is_that_of_pycocoevalcap():
    """Version 1.2 gives these figures."""
    texts = ["the head is bowed", "the movement is fast", "the movement is slow movement"]
    references = [
        ["the head is bowed and the arms hang"],
        ["the movement is fast and the head is raised", "he moves fast"],
        ["slow movement"],
    ]
    assert cider(texts, references) == pytest.approx(3.2872282177416086)


def test_the_best_supported_text_is_chosen():
    slow, fast = "Anger: the movement is slow.", "Anger: the movement is fast."
    assert best_supported([slow, fast], FAST_BOWED, "anger") == fast
    assert best_supported([fast, slow], SLOW_RAISED, "anger") == slow


def test_texts_to_learn_from_are_plainly_true_and_finished_name_the_emotion_and_say_most():
    two = "Anger: the movement is fast and the head is bowed."
    texts = [
        "Anger: the movement is fast.",  # says less
        "Anger: the movement is fast and the head is raised.",
        "Joy: the movement is fast and the head is bowed.",
        "Anger, not joy: the movement is fast and the head is bowed.",
        "Anger: the movement is fast and the head is bowed. The arms form a circle.",
        "Anger: the movement is fast and the movement is fast and the head is bowed.",
        "Anger: the movement is fast and very fast.",
        "Anger: the movement is fast and the head is",
    ]
    assert plainly_true([*texts, two, two], FAST_BOWED, "anger", ("anger", "joy")) == [two]
    assert plainly_true([*texts, two], SLOW_RAISED, "anger", ("anger", "joy")) == []
    barely = {"throughout": {**FAST_BOWED["throughout"], "speed_mean": 70.0}}
    assert plainly_true([two, "Anger: the head is bowed."], barely, "anger", ("anger", "joy")) == ["Anger: the head is bowed."]
    many = [f"{word}: the movement is fast and the head is bowed." for word in ("Anger", "It is anger", "This is anger", "Anger it is")]
    assert plainly_true(many, FAST_BOWED, "anger", ("anger", "joy")) == many[:MOST_TEXTS]


def test_a_text_that_breaks_off_within_a_sentence_is_not_chosen():
    finished = "Anger: the movement is slow."
    assert best_supported(["Anger: the movement is", finished], FAST_BOWED, "anger") == NOTHING_LEFT.format(emotion="anger")
    assert best_supported(["Anger: the movement is", finished], SLOW_RAISED, "anger") == finished
    assert best_supported(["Anger: the movement is"], FAST_BOWED, "anger") == "Anger: the movement is"


def test_no_contradicted_claim_is_left():
    rng = np.random.default_rng(0)
    parts = [
        "The movement is fast.",
        "The movement is slow.",
        "The head is bowed and the movement is slow.",
        "The head is raised.",
        "Anger.",
    ]
    for _ in range(50):
        texts = [" ".join(rng.choice(parts, size=rng.integers(1, 4))) for _ in range(2)]
        for movement in (FAST_BOWED, SLOW_RAISED):
            chosen = best_supported(texts, movement, "anger")
            assert not judge_text(chosen, movement).count("contradicted")


def test_a_contradicted_sentence_is_left_out_and_the_rest_stays():
    assert best_supported(["The movement is slow. The head is bowed."], FAST_BOWED, "anger") == "The head is bowed."
    assert best_supported(["The movement is slow."], FAST_BOWED, "anger") == NOTHING_LEFT.format(emotion="anger")
