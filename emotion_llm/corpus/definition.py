"""Corpus definitions: where a corpus's files lie and how a path becomes emotion, actor, action and take. Data, not code.

definitions/<name>.json, or a user's own file  ->  CorpusDefinition

Every field of the JSON file is a field of `CorpusDefinition` with the same name; definitions/README.md describes them for users.
The shortest one, for a folder of your own such as Ann/anger/walk 3.bvh in centimetres:

    {
      "name": "mine",
      "layout": "emilya_28",
      "metres_per_unit": 0.01,
      "files": ["*.bvh"],
      "patterns": ["(?P<actor>[^/]+)/(?P<emotion>[^/]+)/(?P<action>[a-z]+) (?P<take>\\\\d+)\\\\.bvh"],
      "labels": {"emotion": {"anger": "anger", "joy": "joy"}}
    }
"""

import re
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

import regex
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass as validated_dataclass

from emotion_llm.corpus.store import check_name
from emotion_llm.motion.canonical import Handedness, MetresPerUnit, Up
from emotion_llm.motion.layout import Layout, read_layout
from emotion_llm.motion.table import TableColumns
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import STRICT, read_json_object, validate_record

DEFINITION_FOLDER = Path(__file__).parent / "definitions"
LABELS = ("emotion", "actor", "action", "take")
"""What a path or a side table can say about a clip: the named groups of a pattern, the columns of a table."""
EMOTION_WORD = re.compile(r"[a-z][a-z -]{0,39}")


def _source_path(path: str) -> str:
    if not path or path.startswith("/") or ".." in PurePosixPath(path).parts or "\\" in path:
        raise ValueError("write it relative to the source folder, with forward slashes and without '..'")
    return path


def _at_least_one(what: str) -> AfterValidator:
    def check(items: tuple[Any, ...]) -> tuple[Any, ...]:
        if not items:
            raise ValueError(f"give at least one {what}")
        return items

    return AfterValidator(check)


def _converted(kind: type, convert: Callable[[Any], Any]) -> BeforeValidator:
    """Converts a JSON value of that kind; other values stay."""

    def check(value: Any) -> Any:
        try:
            return convert(value) if isinstance(value, kind) else value
        except UserError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(check)


def _pattern(text: str) -> regex.Pattern[str]:
    try:
        pattern = regex.compile(text)
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"it is not a regular expression ({error}); correct it") from None
    _check_labels(pattern.groupindex, "group")
    return pattern


def _check_labels(found: Any, what: str = "key") -> Any:
    unknown = sorted(set(found) - set(LABELS))
    if unknown:
        raise ValueError(f"{what} '{unknown[0]}' is not known; the {what}s are {', '.join(LABELS)}")
    return found


def _labels(labels: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The table of spellings, with every spelling in its plain form."""
    faults = [f"label '{label}' is not known; the labels are {', '.join(LABELS[:-1])}" for label in labels if label not in LABELS[:-1]]
    if not labels.get("emotion"):
        faults.append('list every emotion code with its word, such as {"emotion": {"A": "anger"}}')
    plain: dict[str, dict[str, str]] = {label: {} for label in LABELS[:-1]}
    for label, words in labels.items():
        for spelling, word in words.items():
            if label == "emotion" and not EMOTION_WORD.fullmatch(word):
                faults.append(f"emotion '{spelling}': '{word}' must be lower-case English words, such as 'anger'")
            if plain.setdefault(label, {}).setdefault(_plain(spelling), word) != word:
                faults.append(f"{label} '{spelling}': another spelling that differs only by case or hyphens has another word; keep one")
    if faults:
        raise ValueError("; ".join(faults))
    return plain


Pattern = Annotated[regex.Pattern[str], _converted(str, _pattern)]
SourcePath = Annotated[str, AfterValidator(_source_path)]
Globs = Annotated[tuple[SourcePath, ...], _at_least_one('glob, such as "*.bvh"')]
"""Globs over paths relative to the source folder, with forward slashes. `*` also crosses slashes; case is ignored."""


@validated_dataclass(frozen=True, config=STRICT)
class SkipRule:
    """Files that are left out on purpose."""

    files: Globs
    reason: str  # Shown in the import report


@validated_dataclass(frozen=True, config=STRICT)
class SideTable:
    """A CSV file that comes with the corpus and gives labels of each recording."""

    file: SourcePath
    stem_column: str
    """The column that holds the recordings' file names, without folder and extension. Files without a row are left out."""
    columns: Annotated[dict[str, str], AfterValidator(_check_labels)] = Field(default_factory=dict)
    """Label (one of LABELS) -> the column that holds it. Where both path and table give a label they must agree."""


@validated_dataclass(frozen=True, config=STRICT)
class CorpusDefinition:
    """How to import one corpus."""

    name: Annotated[str, AfterValidator(check_name)]  # Also the name of the folder that the corpus is imported to
    layout: Annotated[Layout, _converted(str, read_layout)]
    """In JSON: the name of a layout that ships, or the path of a layout file relative to the definition's own folder."""
    metres_per_unit: MetresPerUnit  # Metres per unit of length of the files: 0.01 for centimetres
    files: Globs  # The motion files. Several trees may be listed.
    patterns: Annotated[tuple[Pattern, ...], _at_least_one("regular expression with a group (?P<emotion>...)")]
    """Regular expressions with named groups out of LABELS. The first that matches a file's whole relative path labels it."""
    labels: Annotated[dict[str, dict[str, str]], AfterValidator(_labels)]
    """For each label, its spelling in paths and tables -> the word used here. Case, spaces, underscores and hyphens of a spelling
    do not matter. Every emotion must be listed; actors and actions that are not listed keep their spelling."""
    title: str = ""
    source: str = ""  # Where people get the corpus
    licence: str = ""  # What its licence asks for, in a line
    note: str = ""  # What a user should know before importing it; may be empty
    up: Annotated[Up, _converted(str, str.lower)] = "y"
    """The files' axis that points up, "-y" where Y points down."""
    handedness: Handedness = "right"  # Of the files' axes; left-handed data are converted
    frames_per_second: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=1, le=10_000)] | None = None
    """Of files that do not record it (text tables, arrays); a BVH file's own frame time takes precedence."""
    columns: TableColumns = Field(default_factory=TableColumns)
    """Which column of a delimited text file is what (motion/table.py); in JSON an object of those of its settings that differ."""
    skip: tuple[SkipRule, ...] = ()
    table: SideTable | None = None
    descriptions: SourcePath | None = None
    """CSV file with the columns `file` (relative path or stem) and `text`; used where the source folder has it."""

    @model_validator(mode="after")
    def _has_emotions(self) -> Self:
        labels = {label for pattern in self.patterns for label in pattern.groupindex} | set(self.table.columns if self.table else ())
        if "emotion" not in labels:
            raise ValueError(
                "nothing gives the emotion of a file; add a group (?P<emotion>...) to 'patterns', or a column for it to 'table'"
            )
        return self

    @property
    def emotions(self) -> tuple[str, ...]:
        """The label set, in the definition's order."""
        return tuple(dict.fromkeys(self.labels["emotion"].values()))

    def word(self, label: str, spelling: str) -> str | None:
        """The word for a spelling of that label; None if it is an emotion that is not listed."""
        listed = self.labels.get(label, {}).get(_plain(spelling))
        return listed if listed is not None or label == "emotion" else spelling.strip()


def known_definitions() -> tuple[str, ...]:
    """Names of the corpora that ship."""
    return tuple(sorted(path.stem for path in DEFINITION_FOLDER.glob("*.json")))


def read_definition(name_or_path: str | Path) -> CorpusDefinition:
    """The definition of that name, or of that JSON file. Raises UserError: no such definition, or an invalid one."""
    path = Path(name_or_path) if str(name_or_path).endswith(".json") else DEFINITION_FOLDER / f"{name_or_path}.json"
    if not path.is_file():
        raise UserError(
            f"{name_or_path}: no such corpus; known are {', '.join(known_definitions())}, or give the path of your own definition (*.json)"
        )
    return definition_from_dict(read_json_object(path, "see the definitions that ship for the format"), path)


def definition_from_dict(metadata: dict, path: Path) -> CorpusDefinition:
    """The definition that a JSON object describes; `path` is where it was found. A field that is null counts as absent.

    Raises:
        UserError: names every field that is missing, unknown or wrong, with its value and the remedy.
    """
    metadata = {name: value for name, value in metadata.items() if value is not None}
    layout = metadata.get("layout")
    if isinstance(layout, str) and layout.endswith(".json"):
        metadata["layout"] = str(path.parent / layout)
    metadata.setdefault("title", metadata.get("name", ""))
    return validate_record(CorpusDefinition, metadata, path.name)


def matches_any(relative_path: str, globs: tuple[str, ...]) -> bool:
    """True if one of the globs matches the path; `*` crosses slashes, case is ignored."""
    return any(fnmatch(relative_path.lower(), glob.lower()) for glob in globs)


def _plain(spelling: str) -> str:
    """The spelling without the differences that do not matter."""
    return re.sub(r"[\s_-]+", " ", spelling.strip()).casefold()
