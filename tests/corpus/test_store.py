"""A corpus on disk opens without being read, says what it holds, and is refused where its files do not fit together."""

import json

import numpy as np
import pytest

from emotion_llm.corpus.store import CLIP_FIELDS, check_content, open_corpus
from emotion_llm.runtime.errors import UserError
from tests.helpers.import_examples import recomputed_hash


def edit(corpus, **changes) -> None:
    """Changes fields of corpus.json."""
    path = corpus.folder / "corpus.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop(corpus, field: str) -> None:
    path = corpus.folder / "corpus.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != field}))


def test_a_clip_says_who_does_what_and_positions_are_a_view(corpus):
    clip = corpus.clip(2)
    assert (clip.name, clip.emotion, clip.actor, clip.action, clip.frames, clip.texts) == ("a/3", "joy", "Bob", None, 3, ())
    assert corpus.clip(1).actor is None
    assert corpus.positions(1).shape == (3, 25, 3)
    assert corpus.positions(1).base is not None
    assert isinstance(corpus.all_positions, np.memmap)


def test_the_data_hash_can_be_recomputed_from_the_files_and_notices_a_changed_number(corpus):
    assert recomputed_hash(corpus) == corpus.data_hash
    positions = np.load(corpus.folder / "positions.npy")
    positions[4, 3, 1] += 1e-6
    np.save(corpus.folder / "positions.npy", positions)
    assert recomputed_hash(open_corpus(corpus.folder)) != corpus.data_hash


def test_the_data_hash_does_not_depend_on_names_or_order_but_on_labels(make_corpus):
    tracks = np.random.default_rng(1).normal(size=(2, 4, 25, 3))
    one = make_corpus([("x", "joy", "Ann", tracks[0]), ("y", "joy", "Bob", tracks[1])], name="one")
    other = make_corpus([("elsewhere/2", "joy", "Bob", tracks[1]), ("elsewhere/7", "joy", "Ann", tracks[0])], name="other")
    swapped = make_corpus([("x", "joy", "Bob", tracks[0]), ("y", "joy", "Ann", tracks[1])], name="swapped")
    assert one.data_hash == other.data_hash != swapped.data_hash


@pytest.mark.parametrize("name", ["positions.npy", "clips.npy", "names.npy"])
def test_zeroed_bytes_are_refused_with_the_file_and_the_remedy(corpus, name):
    check_content(corpus)
    path = corpus.folder / name
    header = path.read_bytes()[:128]
    path.write_bytes(header + bytes(path.stat().st_size - 128))
    with pytest.raises(UserError, match=rf"toy: {name} changed since the import; restore the files, or import the corpus again"):
        check_content(corpus)


def test_an_added_or_missing_text_file_is_a_change_too(corpus):
    (corpus.folder / "texts.json").write_text("{}")
    with pytest.raises(UserError, match=r"texts.json changed since the import"):
        check_content(corpus)


def test_no_corpus_is_said_with_the_ones_that_are_there_and_the_command(corpus):
    with pytest.raises(
        UserError, match=r"kdae: no prepared corpus here; prepared in .*: toy; make one with: python launch/prepare.py --corpus kdae"
    ):
        open_corpus(corpus.folder.parent / "kdae")


def test_a_corpus_that_was_set_aside_when_its_replacement_was_killed_is_still_found(corpus):
    corpus.folder.rename(corpus.folder.with_name("toy.old"))
    assert open_corpus(corpus.folder).data_hash == corpus.data_hash


def rows(corpus, **changes) -> np.ndarray:
    changed = np.array(corpus.clips)
    for field, value in changes.items():
        changed[field][1] = value
    return changed


SPOILED = {
    "positions.npy: is missing": lambda corpus: (corpus.folder / "positions.npy").unlink(),
    "names.npy: cannot be read": lambda corpus: (corpus.folder / "names.npy").write_bytes(b"\x93NUMPY\x01\x00"),
    "clips.npy: cannot be read": lambda corpus: np.save(corpus.folder / "clips.npy", np.array([{}, None, 1]), allow_pickle=True),
    "corpus.json: not a JSON file": lambda corpus: (corpus.folder / "corpus.json").write_text("{"),
    "corpus.json: has format 9, this version reads format 2": lambda corpus: edit(corpus, format=9),
    "corpus.json: field 'emotions' is 'joy'; must be a list": lambda corpus: edit(corpus, emotions="joy"),
    "field 'name' is '../../other'; it names a folder": lambda corpus: edit(corpus, name="../../other"),
    "field 'data_hash' is missing": lambda corpus: drop(corpus, "data_hash"),
    "field 'frames_per_second' is '0'; must be above 0": lambda corpus: edit(corpus, frames_per_second=0),
    r"clips.npy holds \(0,\) records": lambda corpus: np.save(corpus.folder / "clips.npy", np.zeros(0, CLIP_FIELDS)),
    "clips.npy holds .* records of 0 fields": lambda corpus: np.save(corpus.folder / "clips.npy", np.zeros(3)),
    r"names.npy holds \(2,\)": lambda corpus: np.save(corpus.folder / "names.npy", np.array(["a", "b"])),
    r"positions.npy holds \(9, 24, 3\)": lambda corpus: np.save(corpus.folder / "positions.npy", np.zeros((9, 24, 3), np.float32)),
    "of type float64": lambda corpus: np.save(corpus.folder / "positions.npy", np.zeros((9, 25, 3))),
    r"clips.npy and positions.npy do not fit together": lambda corpus: np.save(
        corpus.folder / "clips.npy", rows(corpus, start=np.iinfo(np.int64).max)
    ),
    "holds an actor that is not among the 2": lambda corpus: np.save(corpus.folder / "clips.npy", rows(corpus, actor=2)),
    "holds an emotion that is not among the 2": lambda corpus: np.save(corpus.folder / "clips.npy", rows(corpus, emotion=-1)),
}


@pytest.mark.parametrize("message", SPOILED)
def test_files_that_do_not_fit_together_are_refused_in_one_line_with_the_remedy(corpus, message):
    SPOILED[message](corpus)
    with pytest.raises(UserError, match=message) as refusal:
        open_corpus(corpus.folder)
    assert "import the corpus again with launch/prepare.py" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_header_that_lies_about_its_size_is_refused_and_not_believed(corpus):
    with (corpus.folder / "positions.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 25, 3)})
    with pytest.raises(UserError, match=r"positions.npy: cannot be read"):
        open_corpus(corpus.folder)


def test_texts_that_are_no_texts_are_refused(corpus):
    (corpus.folder / "texts.json").write_text('{"a/1": [{"text": 1}]}')
    with pytest.raises(UserError, match=r"texts.json: field 'a/1.0' is .*; must be text"):
        open_corpus(corpus.folder).clip(0)


def test_clip_records_are_small():
    assert CLIP_FIELDS.itemsize <= 32
