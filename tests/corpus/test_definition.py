"""Corpus definitions: the ones that ship are sound, and a mistake in one's own is named with its field, value and remedy."""

import json

import pytest

from emotion_llm.corpus.definition import (
    DEFINITION_FOLDER,
    definition_from_dict,
    known_definitions,
    matches_any,
    read_definition,
)
from emotion_llm.corpus.store import natural_order
from emotion_llm.runtime.errors import UserError

SOUND = {
    "name": "mine", "layout": "kinect_v2_25", "metres_per_unit": 0.01, "files": ["*.bvh"],
    "patterns": ["(?P<actor>[^/]+)/(?P<emotion>[a-z]+)(?P<take>\\d+)\\.bvh"], "labels": {"emotion": {"ang": "anger", "joy": "joy"}},
}  # fmt: skip


def define(tmp_path, **changes):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({key: value for key, value in (SOUND | changes).items() if value != "gone"}))
    return read_definition(path)


@pytest.mark.parametrize("name", known_definitions())
def test_every_definition_that_ships_is_sound_and_named_after_its_file(name):
    definition = read_definition(name)
    assert definition.name == name
    assert len(definition.emotions) in (7, 8)
    assert definition.source and definition.licence


def test_the_corpora_of_the_paper_and_the_two_real_archives_ship():
    assert known_definitions() == ("bandai-namco-1", "bandai-namco-2", "egbm", "emilya", "kdae")


def test_the_label_sets_are_those_of_the_corpora():
    assert set(read_definition("kdae").emotions) == {"anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"}
    assert set(read_definition("emilya").emotions) == {"anger", "anxiety", "joy", "neutral", "panic fear", "pride", "sadness", "shame"}
    assert set(read_definition("egbm").emotions) == set(read_definition("kdae").emotions)


def test_a_definition_of_ones_own_needs_six_fields(tmp_path):
    definition = define(tmp_path)
    assert (definition.name, definition.title, definition.up, definition.frames_per_second) == ("mine", "mine", "y", None)
    assert definition.emotions == ("anger", "joy")


def test_a_layout_file_is_looked_for_beside_the_definition(tmp_path):
    layout = json.loads((DEFINITION_FOLDER.parents[1] / "motion" / "layouts" / "kinect_v2_25.json").read_text())
    (tmp_path / "bones.json").write_text(json.dumps(layout | {"name": "bones"}))
    assert define(tmp_path, layout="bones.json").layout.name == "bones"


def test_spellings_differ_neither_by_case_nor_by_hyphens(tmp_path):
    definition = define(tmp_path, labels={"emotion": {"Panic Fear": "panic fear"}, "action": {"KD": "knocking"}})
    assert {definition.word("emotion", spelling) for spelling in ("panic_fear", "PANIC-FEAR", " Panic  Fear ")} == {"panic fear"}
    assert definition.word("emotion", "glee") is None
    assert (definition.word("action", "kd"), definition.word("action", "Waving")) == ("knocking", "Waving")


WRONG = {
    r"mine.json: field 'metres_per_unit' is missing": {"metres_per_unit": "gone"},
    r"field 'metres_per_unit' is 'cm'; give metres per unit of the files: 1 for metres": {"metres_per_unit": "cm"},
    r"field 'metres_per_unit' is '0'; give metres per unit of the files: 1 for metres": {"metres_per_unit": 0},
    r"field 'name' is '../x'; it names a folder": {"name": "../x"},
    r"field 'up' is '[nN]orth'; must be one of": {"up": "North"},
    r"field 'frames_per_second' is '0.008'; must be at least 1": {"frames_per_second": 0.008},
    r"field 'files' is '\[\]'; give at least one glob": {"files": []},
    r"field 'files.0' is '../\*.bvh'; write it relative to the source folder": {"files": ["../*.bvh"]},
    r"field 'files.0' is '/data/\*.bvh'; write it relative": {"files": ["/data/*.bvh"]},
    r"field 'patterns' is '\[\]'; give at least one regular expression": {"patterns": []},
    r"field 'patterns.0' is '\('; it is not a regular expression": {"patterns": ["("]},
    r"group 'mood' is not known; the groups are emotion, actor, action, take": {"patterns": ["(?P<mood>.*)"]},
    r"nothing gives the emotion of a file; add a group": {"patterns": [".*"]},
    r"field 'labels' is '\{\}'; list every emotion code with its word": {"labels": {}},
    r"field 'labels' is .*; emotion 'ang': 'Anger!' must be lower-case English words": {"labels": {"emotion": {"ang": "Anger!"}}},
    r"another spelling that differs only by case or hyphens has another word": {"labels": {"emotion": {"a-b": "anger", "A B": "joy"}}},
    r"label 'mood' is not known; the labels are emotion, actor, action": {"labels": {"emotion": {"a": "anger"}, "mood": {}}},
    r"mine.json: field 'skip.0.reason' is missing": {"skip": [{"files": ["*zyx.bvh"]}]},
    r"field 'skip.1' is '\*zyx.bvh'; must be an object": {"skip": [{"files": ["*a"], "reason": "b"}, "*zyx.bvh"]},
    r"field 'table.file' is '../info.csv'; write it relative to the source folder": {"table": {"file": "../info.csv", "stem_column": "x"}},
    r"field 'table.columns' .* key 'mood' is not known; the keys are emotion": {
        "table": {"file": "i", "stem_column": "x", "columns": {"mood": "y"}}
    },
    r"field 'descriptions' is '/etc/passwd'; write it relative": {"descriptions": "/etc/passwd"},
    r"field 'metre_per_unit' is not a known field; known fields: .*metres_per_unit": {"metre_per_unit": 1},
    r"nowhere: no such layout; known are": {"layout": "nowhere"},
    r"field 'columns' is '\[\]'; must be an object": {"columns": []},
    r"columns.*'?colour'?": {"columns": {"colour": "red"}},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_mistake_is_named_with_its_field_value_and_remedy(tmp_path, message):
    with pytest.raises(UserError, match=message):
        define(tmp_path, **WRONG[message])


def test_all_mistakes_are_reported_at_once(tmp_path):
    with pytest.raises(UserError) as refusal:
        define(tmp_path, layout="gone", metres_per_unit="cm", files=[], labels={}, up="north")
    assert all(f"field '{name}' is " in str(refusal.value) for name in ("layout", "metres_per_unit", "files", "labels", "up"))
    assert "\n" not in str(refusal.value)


def test_a_byte_order_mark_is_accepted(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(SOUND), encoding="utf-8-sig")
    assert read_definition(tmp_path / "mine.json").name == "mine"


def test_an_unknown_corpus_is_said_with_the_known_ones():
    with pytest.raises(
        UserError, match=r"kdea: no such corpus; known are bandai-namco-1, .*, kdae, or give the path of your own definition \(\*.json\)"
    ):
        read_definition("kdea")


@pytest.mark.parametrize(
    ("text", "message"), [("[1]", "mine.json: found \\[1\\] where a JSON object"), ("{", "not a JSON file"), ("[" * 99_999, "not a JSON")]
)
def test_a_file_that_is_no_definition_is_refused(tmp_path, text, message):
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_definition(tmp_path / "mine.json")


def test_a_definition_may_be_built_in_a_program(tmp_path):
    assert definition_from_dict(SOUND, tmp_path / "mine.json").name == "mine"


def test_globs_cross_slashes_and_ignore_case():
    assert matches_any("All_BvH_Files/KD/Joy/Actor1/x_ZYX.BVH", ("*zyx.bvh",))
    assert not matches_any("BVH/F01/F01A0V1.bvh", ("*.csv", "bvh/*.txt"))


def test_actors_are_sorted_as_people_count():
    assert sorted(["Actor10", "Actor2", "actor", "Actor1", "7"], key=natural_order) == ["7", "Actor1", "Actor2", "Actor10", "actor"]
