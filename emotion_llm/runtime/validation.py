"""Settings and JSON records validated by pydantic, with errors that users can act on.

pydantic's ValidationError  ->  UserError: the option or field, the value found, what is allowed
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import ErrorDetails

from emotion_llm.runtime.errors import UserError

STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
"""Configuration of every validated dataclass: unknown fields are errors."""
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Record = TypeVar("Record")

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_RULES = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "missing": "is missing",
    "unexpected_keyword_argument": "is not a known field",
    "extra_forbidden": "is not a known field",
    "too_short": "needs at least {min_length}",
    "string_too_short": "must not be empty",
    "finite_number": "must be a finite number",
    "literal_error": "must be one of {expected}",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "tuple_type": "must be a list [...]",
    "dict_type": "must be an object {{...}}",
    "dataclass_type": "must be an object {{...}}",
}
"""pydantic's error types in our words; its own words stand for the others."""


def remedy(text: str) -> WrapValidator:
    """An annotation that replaces the messages of a field's type: Annotated[int, Field(ge=3), remedy("give 3 or more")]."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise ValueError(text) from None

    return WrapValidator(check)


def read_json_object(path: Path, remedy: str) -> dict[str, Any]:
    """The object in a JSON file; a byte order mark is accepted.

    Raises:
        UserError: not readable, not JSON or not an object; the message ends with the remedy.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, RecursionError) as error:  # invalid JSON, invalid UTF-8, or nested too deeply
        raise UserError(f"{path}: not a JSON file ({error}); {remedy}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: found {_value_text(value)} where a JSON object {{...}} is expected; {remedy}")
    return value


@contextmanager
def options_of_the_command_line(words: Sequence[str] = ()) -> Iterator[None]:
    """Turns errors of a settings class built inside into one UserError that names the options.

    Args:
        words: the command line, which has the options' full names ("--encoder.reduction").

    Raises:
        UserError: for example "--epochs 0: must be at least 1".
    """
    try:
        yield
    except ValidationError as error:
        raise UserError("; ".join(_option_text(detail, words) for detail in error.errors())) from None


def validate_record(kind: type[Record], value: Any, place: str) -> Record:
    """A JSON value as a validated record.

    Args:
        kind: a pydantic dataclass, or any type that pydantic understands.
        place: where the value comes from; begins the message.

    Raises:
        UserError: names the place and every field that is missing, unknown or wrong.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        details = error.errors()
        texts = [_field_text(detail) for detail in details]
        if is_dataclass(kind) and any(detail["type"] in _UNKNOWN and len(detail["loc"]) == 1 for detail in details):
            texts.append(f"known fields: {', '.join(field.name for field in fields(kind))}")
        raise UserError(f"{place}: {'; '.join(texts)}") from None


def check_same_settings(place: Path, started: Mapping[str, Any], now: Mapping[str, Any], free_to_change: Collection[str]) -> None:
    """Compares the settings of a resumed run with those that it was started with.

    Args:
        place: the saved state; begins the message.
        free_to_change: settings that may differ.

    Raises:
        UserError: the first setting that differs, with both values.
    """
    for name in sorted((started.keys() | now.keys()) - set(free_to_change)):
        if started.get(name) != now.get(name):
            raise UserError(
                f"{place}: the run was started with {name} = {started.get(name)}, now it is {now.get(name)}; "
                "resume with the old value, or start a new run with another --run folder"
            )


def _option_text(detail: ErrorDetails, words: Sequence[str]) -> str:
    name = ".".join(part for part in detail["loc"] if isinstance(part, str)).replace("_", "-")
    if not name:
        return _rule_text(detail)
    given = [word.split("=")[0].replace("_", "-") for word in words]
    option = next((word for word in given if word.startswith("--") and word.endswith(f".{name}")), f"--{name}")
    return f"{option} {_value_text(detail['input'])}: {_rule_text(detail)}"


def _field_text(detail: ErrorDetails) -> str:
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] in ("missing", *_UNKNOWN):
        return f"field '{field}' {_rule_text(detail)}"
    return f"field '{field}' is {_value_text(detail['input'])!r}; {_rule_text(detail)}" if field else _rule_text(detail)


def _rule_text(detail: ErrorDetails) -> str:
    context: Mapping[str, Any] = detail.get("ctx", {})
    if detail["type"] == "value_error":
        return str(context["error"])  # a validator of ours: its own words
    rule = _RULES.get(detail["type"])
    bounds = {name: f"{value:g}" if isinstance(value, float) else value for name, value in context.items()}
    return rule.format(**bounds) if rule else detail["msg"][:1].lower() + detail["msg"][1:]


def _value_text(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
