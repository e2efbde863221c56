"""Properties of sampling over corpora: it depends on seed and step alone, and draws as often as it says."""

import numpy as np
import pytest

from emotion_llm.corpus.sampling import MixtureSampler
from emotion_llm.runtime.errors import UserError

LABELS = (np.repeat([0, 1, 2], [900, 90, 10]), np.repeat([0, 1], [60, 40]))


def drawn(sampler: MixtureSampler, steps: int = 200) -> tuple[np.ndarray, np.ndarray]:
    draws = [sampler.draw(step, 64) for step in range(steps)]
    return np.concatenate([draw[0] for draw in draws]), np.concatenate([draw[1] for draw in draws])


def test_a_draw_depends_on_seed_and_step_alone():
    one, other = MixtureSampler(LABELS, seed=7), MixtureSampler(LABELS, seed=7)
    for step in (5, 0, 799_999, 5):
        np.testing.assert_array_equal(one.draw(step, 64), other.draw(step, 64))
    assert not np.array_equal(one.draw(5, 64), one.draw(6, 64))
    assert not np.array_equal(one.draw(5, 64), MixtureSampler(LABELS, seed=8).draw(5, 64))


def test_the_draw_is_the_same_on_every_machine():
    corpus, item = MixtureSampler(LABELS, "equal", label_balanced=True, seed=1).draw(step=3, count=6)
    np.testing.assert_array_equal(corpus, [0, 1, 0, 0, 1, 0])
    np.testing.assert_array_equal(item, [939, 93, 729, 517, 99, 901])


@pytest.mark.parametrize(
    ("weighting", "share"), [("size", 1000 / 1100), ("equal", 0.5), ("temperature", 1000**0.5 / (1000**0.5 + 100**0.5))]
)
def test_corpora_are_drawn_as_often_as_their_weighting_says(weighting, share):
    sampler = MixtureSampler(LABELS, weighting, temperature=2.0)
    corpus, _ = drawn(sampler)
    assert sampler.corpus_weights[0] == pytest.approx(share)
    assert (corpus == 0).mean() == pytest.approx(share, abs=0.02)


def test_balanced_labels_are_equally_frequent_however_many_items_each_has():
    corpus, item = drawn(MixtureSampler(LABELS, "equal", label_balanced=True))
    for index, labels in enumerate(LABELS):
        counts = np.bincount(labels[item[corpus == index]])
        np.testing.assert_allclose(counts / counts.sum(), 1 / len(counts), atol=0.02)


def test_balanced_labels_need_not_be_sorted():
    labels = np.array([0, 1, 0, 0, 0, 0])
    _, item = drawn(MixtureSampler((labels,), label_balanced=True))
    assert (item == 1).mean() == pytest.approx(0.5, abs=0.02)


def test_without_balance_every_item_is_equally_likely_and_every_item_is_reached():
    corpus, item = drawn(MixtureSampler(LABELS, "equal"))
    counts = np.bincount(item[corpus == 1], minlength=100)
    assert counts.min() > 0
    assert counts.mean() == pytest.approx(64, abs=3)


def test_items_stay_inside_their_corpus_whatever_the_labels():
    labels = (np.array([-1, 40, 7]), np.array([3]))
    corpus, item = drawn(MixtureSampler(labels, "equal", label_balanced=True), steps=20)
    assert set(item[corpus == 0]) == {0, 1, 2}
    assert set(item[corpus == 1]) == {0}


def test_every_process_finds_its_part_in_the_same_draw():
    whole = MixtureSampler(LABELS, seed=2).draw(9, 64)[1]
    parts = [MixtureSampler(LABELS, seed=2).draw(9, 64)[1][rank * 16 : (rank + 1) * 16] for rank in range(4)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_settings_that_cannot_be_drawn_from_are_refused_in_words():
    with pytest.raises(UserError, match="no corpus to draw from"):
        MixtureSampler(())
    with pytest.raises(UserError, match="corpus 1 has no item"):
        MixtureSampler((LABELS[0], np.array([], dtype=int)))
    with pytest.raises(ValueError, match="steps start at 0"):
        MixtureSampler(LABELS).draw(-1, 4)
