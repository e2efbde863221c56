"""Corpora made to harm, or harmed: nothing of them is ever run, and what cannot be read is refused in one line."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from emotion_llm.corpus.store import Corpus, open_corpus
from emotion_llm.runtime.errors import UserError
from tests.helpers.hostile import Payload, mutated

WORDS = (b"[", b"{", b'"', b"null", b"1e999", b"-1", b"99999999999999999999", b"'O'", b"\xff\xfe", b"(1,)")
"""Of JSON and of NumPy's headers."""
FILES = ("corpus.json", "clips.npy", "names.npy", "positions.npy", "texts.json")


def read_whole(folder: Path) -> Corpus:
    corpus = open_corpus(folder)
    for index in range(len(corpus)):
        corpus.clip(index)
        with np.errstate(all="ignore"):
            corpus.positions(index).sum()
    return corpus


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("as_array", [True, False])
def test_a_pickle_under_a_name_of_ours_is_never_unpickled(corpus, tmp_path, name, as_array):
    (corpus.folder / "texts.json").write_text("{}")
    if as_array:
        np.save((corpus.folder / name).with_suffix(".npy"), np.array([Payload(tmp_path / "proof")]), allow_pickle=True)
        (corpus.folder / name).with_suffix(".npy").rename(corpus.folder / name)
    else:
        (corpus.folder / name).write_bytes(pickle.dumps(Payload(tmp_path / "proof")))
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        read_whole(corpus.folder)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("name", ["clips.npy", "names.npy", "positions.npy"])
def test_an_array_of_a_gigantic_declared_shape_allocates_nothing(corpus, name):
    path = corpus.folder / name
    descr = np.lib.format.dtype_to_descr(np.load(path).dtype)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": (2**50, 25, 3)})
    with pytest.raises(UserError, match=rf"{name}: cannot be read"):
        open_corpus(corpus.folder)


def test_mutated_corpora_give_nothing_but_user_errors(corpus):
    dice, refused = random.Random(0), 0
    (corpus.folder / "texts.json").write_text('{"a/1": ["The steps are slow."]}')
    whole = {name: (corpus.folder / name).read_bytes() for name in FILES}
    for _ in range(500):
        name = dice.choice(FILES)
        (corpus.folder / name).write_bytes(mutated(whole[name], dice, WORDS, within=200))
        try:
            read_whole(corpus.folder)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        (corpus.folder / name).write_bytes(whole[name])
    assert refused > 250
