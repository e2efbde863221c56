"""A JSON object read field by field, so that whatever is wrong with it can be named.

JSON object and where it was found  ->  typed values; a missing, mistyped or unknown field  ->  UserError
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emotion_llm.runtime.errors import UserError

FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a corpus may be called: folders are named after it."""
_REQUIRED = object()


def read_json_object(path: Path, remedy: str) -> dict:
    """The object in that JSON file.

    Raises:
        UserError: not readable, not JSON or not an object; the message ends with the remedy.
    """
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, RecursionError) as error:  # broken JSON, broken UTF-8, or nested beyond reason
        raise UserError(f"{path}: not a JSON file ({error}); {remedy}") from None
    if not isinstance(metadata, dict):
        raise UserError(f"{path}: found {_shown(metadata)} where a JSON object {{...}} is expected; {remedy}")
    return metadata


class Fields:
    """The fields of one JSON object. Every method takes one field and says what it wants where it finds something else."""

    def __init__(self, metadata: object, place: str) -> None:
        """`place`: file and position, as the error messages name it."""
        if not isinstance(metadata, dict):
            raise UserError(f"{place}: found {_shown(metadata)}; write a JSON object {{...}}")
        self.metadata, self.place, self.taken = metadata, place, set()

    def text(self, name: str, default: object = _REQUIRED) -> str:
        return self._take(name, default, _is_text, "a text")

    def number(self, name: str, default: object = _REQUIRED) -> float:
        return self._take(name, default, _is_number, "a number")

    def count(self, name: str, default: object = _REQUIRED) -> int:
        return self._take(name, default, _is_count, "a whole number, 0 or more")

    def texts(self, name: str, default: object = _REQUIRED) -> tuple[str, ...]:
        return tuple(self._take(name, default, _is_texts, "a list of texts"))

    def words(self, name: str, default: object = _REQUIRED) -> dict[str, str]:
        """An object that maps texts to texts."""
        return self._take(name, default, _is_words, "an object of texts {...}")

    def mapping(self, name: str, default: object = _REQUIRED) -> dict:
        """An object that someone else checks."""
        return self._take(name, default, _is_object, "an object {...}")

    def object(self, name: str) -> Fields:
        return Fields(self.mapping(name), f"{self.place}: {name}")

    def objects(self, name: str, default: object = _REQUIRED) -> list[Fields]:
        items = self._take(name, default, _is_list, "a list of objects")
        return [Fields(item, f"{self.place}: {name}[{index}]") for index, item in enumerate(items)]

    def has(self, name: str) -> bool:
        """True where the field is there and not null."""
        self.taken.add(name)
        return self.metadata.get(name) is not None

    def nothing_else(self) -> None:
        """Refuses fields that nobody took: most often a misspelt name."""
        unknown = sorted(set(self.metadata) - self.taken)
        if unknown:
            raise UserError(f"{self.place}: field '{unknown[0]}' is not known; the fields are {', '.join(sorted(self.taken))}")

    def wrong(self, name: str, value: object, remedy: str) -> UserError:
        """The error for a value of the right type that makes no sense."""
        return UserError(f"{self.place}: field '{name}' is {_shown(value)}; {remedy}")

    def _take(self, name: str, default: object, fits: Callable[[object], bool], wanted: str) -> Any:
        self.taken.add(name)
        value = self.metadata.get(name)
        if value is None:
            if default is _REQUIRED:
                raise UserError(f"{self.place}: field '{name}' is missing; give {wanted}")
            return default
        if not fits(value):
            raise self.wrong(name, value, f"give {wanted}")
        return value


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_words(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _shown(value: object) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 80 else shown[:77] + "..."
