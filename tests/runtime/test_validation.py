"""Wrong settings and records are named one by one, with what is allowed."""

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import STRICT, options_of_the_command_line, read_json_object, validate_record


@dataclass(frozen=True, config=STRICT)
class Settings:
    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)


def test_every_wrong_option_is_named_with_its_value_and_its_bound():
    with (
        pytest.raises(UserError, match=r"^--epochs 0: must be at least 1; --learning-rate -1.0: must be above 0$"),
        options_of_the_command_line(),
    ):
        Settings(epochs=0, learning_rate=-1.0)


def test_all_wrong_fields_of_a_record_are_reported_at_once():
    @dataclass(frozen=True, config=STRICT)
    class Layout:
        joints: int
        name: str

    with pytest.raises(UserError) as error:
        validate_record(Layout, {"joints": "many", "colour": 1}, "my.json")
    assert str(error.value).startswith("my.json: field 'joints' is 'many'; ")
    assert "field 'name' is missing" in str(error.value)
    assert "field 'colour' is not a known field" in str(error.value)


def test_a_right_record_becomes_its_type():
    assert validate_record(Settings, {"epochs": 3}, "x") == Settings(epochs=3)


def test_a_long_value_is_cut():
    with pytest.raises(UserError, match=r"'x{77}\.\.\.'"):
        validate_record(Settings, {"epochs": "x" * 500}, "x")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[1]", r"x\.json: found \[1\] where a JSON object"),
        (b"{", r"x\.json: not a JSON file"),
        (b"\xff\xfe", r"x\.json: not a JSON file"),
        (b"[" * 100_000, r"x\.json: not a JSON file"),
    ],
)
def test_what_is_no_json_object_is_refused_with_the_remedy(tmp_path, content, said):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=said + ".*; mend it$"):
        read_json_object(tmp_path / "x.json", "mend it")


def test_a_byte_order_mark_is_accepted(tmp_path):
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json_object(tmp_path / "x.json", "mend it") == {"a": 1}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: cannot be read \(No such file or directory\); mend it"):
        read_json_object(tmp_path / "none.json", "mend it")
