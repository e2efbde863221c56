"""One function tells whether corpora are those that a model was trained on."""

import pytest

from emotion_llm.corpus.provenance import DESCRIPTIONS, corpus_record, data_differences, open_verified
from emotion_llm.corpus.splits import random_split
from emotion_llm.runtime.errors import UserError


def test_a_record_differs_from_that_of_other_data_or_another_split_alone(corpus, make_corpus):
    trained = {"toy": corpus_record(corpus, random_split(corpus, 0))}
    assert data_differences(trained, trained) == []
    other = {"toy": corpus_record(corpus, random_split(corpus, 1))}
    assert [text[:31] for text in data_differences(trained, other)] == ["corpus 'toy': split_hash is " + other["toy"]["split_hash"][:3]]
    changed = {"toy": trained["toy"] | {"data_hash": "d" * 64}}
    assert data_differences(trained, changed) == [f"corpus 'toy': data_hash is {'d' * 12}, training used {corpus.data_hash[:12]}"]


def test_a_corpus_that_was_not_trained_on_is_a_difference_and_one_that_is_left_out_is_none(corpus):
    record = corpus_record(corpus, random_split(corpus, 0))
    assert data_differences({"one": record}, {"two": record}) == ["corpus 'two' was not among the training corpora (one)"]
    assert data_differences({"one": record, "two": record}, {"two": record}) == []


def test_a_record_without_a_hash_differs(corpus):
    record = corpus_record(corpus, random_split(corpus, 0))
    assert len(data_differences({"toy": {}}, {"toy": record})) == 2


def test_changed_descriptions_matter_to_the_description_stage_alone(corpus):
    trained = {"toy": corpus_record(corpus, random_split(corpus, 0))}
    edited = {"toy": trained["toy"] | {"texts_hash": "t" * 64}}
    assert data_differences(trained, edited) == []
    assert len(data_differences(trained, edited, DESCRIPTIONS)) == 1


def test_a_corpus_is_verified_when_it_is_opened_for_training(corpus):
    assert open_verified(corpus.folder).data_hash == corpus.data_hash
    path = corpus.folder / "positions.npy"
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    with pytest.raises(UserError, match=r"positions.npy changed since the import"):
        open_verified(corpus.folder)
