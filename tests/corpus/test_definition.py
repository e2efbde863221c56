"""Corpus definitions: the ones that ship are sound, and a mistake in one's own is named with its field, value and remedy."""

import json

import pytest

from emotion_llm.corpus.definition import DEFINITION_FOLDER, definition_from_dict, fits, known_definitions, natural_order, read_definition
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
    r"mine.json: field 'metres_per_unit' is missing; give a number": {"metres_per_unit": "gone"},
    r"field 'metres_per_unit' is \"cm\"; give a number": {"metres_per_unit": "cm"},
    r"field 'metres_per_unit' is 0; give metres per unit of the files: 1 for metres": {"metres_per_unit": 0},
    r"field 'name' is \"../x\"; it names a folder": {"name": "../x"},
    r"field 'up' is \"north\"; give the axis": {"up": "North"},
    r"field 'frames_per_second' is 0.008; give frames per second from 1": {"frames_per_second": 0.008},
    r"field 'files' is \[\]; give at least one glob": {"files": []},
    r"field 'files' is \"../\*.bvh\"; write it relative to the source folder": {"files": ["../*.bvh"]},
    r"field 'files' is \"/data/\*.bvh\"; write it relative": {"files": ["/data/*.bvh"]},
    r"field 'patterns' is \[\]; give at least one regular expression": {"patterns": []},
    r"field 'patterns' is \"\(\"; it is no regular expression": {"patterns": ["("]},
    r"group 'mood' is not known; the groups are emotion, actor, action, take": {"patterns": ["(?P<mood>.*)"]},
    r"nothing says the emotion of a file; add a group": {"patterns": [".*"]},
    r"mine.json: labels: field 'emotion' is missing": {"labels": {}},
    r"mine.json: labels: field 'emotion' is \{\"ang\": \"Anger!\"\}; an emotion is lower-case English words": {
        "labels": {"emotion": {"ang": "Anger!"}}
    },
    r"another spelling that differs by case or hyphens alone has another word": {"labels": {"emotion": {"a-b": "anger", "A B": "joy"}}},
    r"mine.json: labels: field 'mood' is not known": {"labels": {"emotion": {"a": "anger"}, "mood": {}}},
    r"mine.json: skip\[0\]: field 'reason' is missing": {"skip": [{"files": ["*zyx.bvh"]}]},
    r"mine.json: skip\[1\]: found \"\*zyx.bvh\"; write a JSON object": {"skip": [{"files": ["*a"], "reason": "b"}, "*zyx.bvh"]},
    r"mine.json: table: field 'file' is \"../info.csv\"; name a file inside": {"table": {"file": "../info.csv", "stem_column": "x"}},
    r"mine.json: table: field 'columns' .* 'mood' is not known": {"table": {"file": "i.csv", "stem_column": "x", "columns": {"mood": "y"}}},
    r"field 'descriptions' is \"/etc/passwd\"; name a file inside": {"descriptions": "/etc/passwd"},
    r"field 'metre_per_unit' is not known; the fields are .*metres_per_unit": {"metre_per_unit": 1},
    r"nowhere: no such layout; known are": {"layout": "nowhere"},
    r"field 'columns' is \[\]; give an object": {"columns": []},
    r"mine.json: table columns have no setting 'colour'": {"columns": {"colour": "red"}},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_mistake_is_named_with_its_field_value_and_remedy(tmp_path, message):
    with pytest.raises(UserError, match=message):
        define(tmp_path, **WRONG[message])


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
    assert fits("All_BvH_Files/KD/Joy/Actor1/x_ZYX.BVH", ("*zyx.bvh",))
    assert not fits("BVH/F01/F01A0V1.bvh", ("*.csv", "bvh/*.txt"))


def test_actors_are_sorted_as_people_count():
    assert sorted(["Actor10", "Actor2", "actor", "Actor1", "7"], key=natural_order) == ["7", "Actor1", "Actor2", "Actor10", "actor"]
