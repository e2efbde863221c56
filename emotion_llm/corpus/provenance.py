"""Which data a model was trained on.

Corpus, Split  ->  record, kept in the model's metadata
records of two moments  ->  differences in words
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emotion_llm.corpus.splits import Split
from emotion_llm.corpus.store import Corpus

DATA_AND_SPLIT = ("data_hash", "split_hash")
"""The fields of a record that must not change between the stages of a model."""


def corpus_record(corpus: Corpus, split: Split) -> dict[str, Any]:
    """What identifies a corpus and its split, and all that is needed to read one more clip of its kind."""
    return {
        "data_hash": corpus.data_hash, "split_hash": split.split_hash, "layout": corpus.layout.name,
        "emotions": list(corpus.emotions), "canonical": corpus.canonical, "reading": corpus.reading,
    }  # fmt: skip


def data_differences(
    trained: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]], fields: tuple[str, ...] = DATA_AND_SPLIT
) -> list[str]:
    """How corpora differ from those that a model was trained on, one text per difference; empty where they do not.

    Args:
        trained, now: corpus name -> record. Corpora that only `trained` holds do not count.
        fields: what to compare.
    """
    differences = []
    for name, record in now.items():
        if name not in trained:
            differences.append(f"corpus '{name}' was not among the training corpora ({', '.join(trained)})")
            continue
        for field in fields:
            before, found = str(trained[name].get(field)), str(record.get(field))
            if before != found:
                differences.append(f"corpus '{name}': {field} is {found[:12]}, training used {before[:12]}")
    return differences
