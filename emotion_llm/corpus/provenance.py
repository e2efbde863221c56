"""Which data a model is trained on, verified.

folder  ->  Corpus, its files verified

Corpus, Split  ->  record, kept in the model's metadata
record at training, record now  ->  list of differences
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotion_llm.corpus.splits import Split
from emotion_llm.corpus.store import Corpus, check_content, open_corpus
from emotion_llm.runtime.console import is_first_rank
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.processes import gather_over_processes

DATA_AND_SPLIT = ("data_hash", "split_hash")  # The fields of a record that must not change between the stages of a model
DESCRIPTIONS = (*DATA_AND_SPLIT, "texts_hash")  # The description stage also depends on the descriptions


def corpus_record(corpus: Corpus, split: Split) -> dict[str, Any]:
    """What identifies a corpus and its split, and all that is needed to read one more clip of its kind."""
    return {
        "data_hash": corpus.data_hash, "texts_hash": corpus.texts_hash, "split_hash": split.split_hash, "layout": corpus.layout.name,
        "narration": corpus.narration, "emotions": list(corpus.emotions), "canonical": corpus.canonical, "reading": corpus.reading
    }  # fmt: skip


def open_verified(folder: Path) -> Corpus:
    """The corpus in that folder, for training or evaluation: as `open_corpus`, and the first rank verifies the files' content.

    Every rank must call it.

    Raises:
        UserError: no corpus there, its files do not fit together, or a file changed since the import.
    """
    corpus, fault = open_corpus(folder), None
    if is_first_rank():
        try:
            check_content(corpus)
        except UserError as error:
            fault = str(error)
    fault = gather_over_processes(fault)[0]
    if fault:
        raise UserError(fault)
    return corpus


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
