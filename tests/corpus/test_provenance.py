"""One function tells whether corpora are those that a model was trained on."""

from emotion_llm.corpus.provenance import corpus_record, data_differences
from emotion_llm.corpus.splits import random_split


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
