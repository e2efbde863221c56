"""Corpus definitions: where a corpus's files lie and how a path becomes emotion, actor, action and take. Data, not code.

definitions/<name>.json, or a user's own file  ->  CorpusDefinition

Every field of the JSON file is a field of `CorpusDefinition`, under the same name. The shortest one, for a tree of your own such as
Ann/anger/walk 3.bvh in centimetres:

    {
      "name": "mine",
      "layout": "emilya_28",
      "metres_per_unit": 0.01,
      "files": ["*.bvh"],
      "patterns": ["(?P<actor>[^/]+)/(?P<emotion>[^/]+)/(?P<action>[a-z]+) (?P<take>\\\\d+)\\\\.bvh"],
      "labels": {"emotion": {"anger": "anger", "joy": "joy"}}
    }
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from emotion_llm.corpus.fields import FOLDER_NAME, Fields, read_json_object
from emotion_llm.motion.layout import Layout, read_layout
from emotion_llm.motion.table import TableColumns, table_columns_from_dict
from emotion_llm.runtime.errors import UserError

DEFINITION_FOLDER = Path(__file__).parent / "definitions"
LABELS = ("emotion", "actor", "action", "take")
"""What a path or a side table can say about a clip: the named groups of a pattern, the columns of a table."""
EMOTION_WORD = re.compile(r"[a-z][a-z -]{0,39}")


@dataclass(frozen=True)
class SkipRule:
    """Files that are left out on purpose."""

    files: tuple[str, ...]
    """Globs over the path relative to the source folder, as in `CorpusDefinition.files`."""
    reason: str
    """Why, in words; stands in the import report."""


@dataclass(frozen=True)
class SideTable:
    """A CSV file that comes with the corpus and says something about each recording."""

    file: str
    """Path relative to the source folder."""
    stem_column: str
    """The column that holds the recordings' file names, without folder and extension. A file that has no row is left out."""
    columns: dict[str, str]
    """Label (one of LABELS) -> the column that holds it. Where path and table both say it they must agree."""


@dataclass(frozen=True)
class CorpusDefinition:
    """How to import one corpus."""

    name: str
    """Also the name of the folder that the corpus is imported to."""
    title: str
    source: str
    """Where people get the corpus."""
    licence: str
    """What its licence asks for, in a line."""
    note: str
    """What a user should know before importing it; empty where nothing needs saying."""
    layout: Layout
    """In JSON: the name of a layout that ships, or the path of a layout file relative to the definition's own folder."""
    metres_per_unit: float
    """Metres that one unit of length of the files stands for: 0.01 for centimetres."""
    up: str
    """The files' axis that points up: 'x', 'y' or 'z'."""
    frames_per_second: float | None
    """Frames per second of files that do not tell (text tables, arrays); a BVH file's own frame time goes before it."""
    columns: TableColumns
    """Which column of a delimited text file is what (motion/table.py); in JSON an object of those of its settings that differ."""
    files: tuple[str, ...]
    """Globs of the motion files, over the path relative to the source folder with forward slashes. `*` also crosses slashes;
    upper and lower case are the same. Several trees may be listed."""
    patterns: tuple[re.Pattern[str], ...]
    """Regular expressions with named groups out of LABELS. The first that fits a file's whole relative path says what it is."""
    labels: dict[str, dict[str, str]]
    """For each label, its spelling in paths and tables -> the word used here. Spellings differ neither by case nor by spaces,
    underscores and hyphens. Every emotion must be listed; actors and actions that are not keep their spelling."""
    skip: tuple[SkipRule, ...]
    table: SideTable | None
    descriptions: str | None
    """CSV file with the columns `file` (relative path or stem) and `text`; used where the source folder has it."""

    @property
    def emotions(self) -> tuple[str, ...]:
        """The label set, in the definition's order."""
        return tuple(dict.fromkeys(self.labels["emotion"].values()))

    def word(self, label: str, spelling: str) -> str | None:
        """The word for a spelling of that label; None for an emotion that is not listed."""
        listed = self.labels.get(label, {}).get(_plain(spelling))
        return listed if listed is not None or label == "emotion" else spelling.strip()


def known_definitions() -> tuple[str, ...]:
    """Names of the corpora that ship."""
    return tuple(sorted(path.stem for path in DEFINITION_FOLDER.glob("*.json")))


def read_definition(name_or_path: str | Path) -> CorpusDefinition:
    """The definition of that name, or of that JSON file.

    Raises:
        UserError: no such definition, or one that is not consistent.
    """
    path = Path(name_or_path) if str(name_or_path).endswith(".json") else DEFINITION_FOLDER / f"{name_or_path}.json"
    if not path.is_file():
        raise UserError(
            f"{name_or_path}: no such corpus; known are {', '.join(known_definitions())}, or give the path of your own definition (*.json)"
        )
    return definition_from_dict(read_json_object(path, "see the definitions that ship for the form"), path)


def definition_from_dict(metadata: dict, path: Path) -> CorpusDefinition:
    """The definition that a JSON object describes, checked in full; `path` is where it was found.

    Raises:
        UserError: a field is missing, unknown or makes no sense; the message names it, its value and the remedy.
    """
    fields = Fields(metadata, path.name)
    name = fields.text("name")
    if not FOLDER_NAME.fullmatch(name):
        raise fields.wrong("name", name, "it names a folder: use up to 64 letters, digits and _ -")
    metres_per_unit = fields.number("metres_per_unit")
    if not 0 < metres_per_unit <= 1000:
        raise fields.wrong(
            "metres_per_unit", metres_per_unit, "give metres per unit of the files: 1 for metres, 0.01 for centimetres, 0.0254 for inches"
        )
    up = fields.text("up", "y").lower()
    if up not in ("x", "y", "z"):
        raise fields.wrong("up", up, "give the axis that points up: x, y or z")
    frames_per_second = fields.number("frames_per_second", None)
    if frames_per_second is not None and not 1 <= frames_per_second <= 10_000:
        raise fields.wrong("frames_per_second", frames_per_second, "give frames per second from 1 to 10000")
    layout = fields.text("layout")
    table = _table(fields.object("table")) if fields.has("table") else None
    patterns = _patterns(fields)
    definition = CorpusDefinition(
        name=name,
        title=fields.text("title", name),
        source=fields.text("source", ""),
        licence=fields.text("licence", ""),
        note=fields.text("note", ""),
        layout=read_layout(path.parent / layout if layout.endswith(".json") else layout),
        metres_per_unit=metres_per_unit,
        up=up,
        frames_per_second=frames_per_second,
        columns=table_columns_from_dict(fields.mapping("columns", {}), path.name),
        files=_globs(fields, "files"),
        patterns=patterns,
        labels=_labels(fields.object("labels")),
        skip=tuple(_skip_rule(rule) for rule in fields.objects("skip", [])),
        table=table,
        descriptions=_inside(fields, "descriptions") if fields.has("descriptions") else None,
    )
    said = {label for pattern in patterns for label in pattern.groupindex} | set(table.columns if table else ())
    if "emotion" not in said:
        raise UserError(
            f"{path.name}: nothing says the emotion of a file; add a group (?P<emotion>...) to 'patterns', or a column for it to 'table'"
        )
    fields.nothing_else()
    return definition


def fits(relative_path: str, globs: tuple[str, ...]) -> bool:
    """True where one of the globs fits the path; `*` crosses slashes, case does not matter."""
    return any(fnmatch(relative_path.lower(), glob.lower()) for glob in globs)


def _patterns(fields: Fields) -> tuple[re.Pattern[str], ...]:
    compiled = []
    for pattern in fields.texts("patterns"):
        try:
            compiled.append(re.compile(pattern))
        except (re.error, RecursionError, OverflowError) as error:
            raise fields.wrong("patterns", pattern, f"it is no regular expression ({error}); mend it") from None
        unknown = sorted(set(compiled[-1].groupindex) - set(LABELS))
        if unknown:
            raise fields.wrong("patterns", pattern, f"group '{unknown[0]}' is not known; the groups are {', '.join(LABELS)}")
    if not compiled:
        raise fields.wrong("patterns", [], "give at least one regular expression with a group (?P<emotion>...)")
    return tuple(compiled)


def _labels(fields: Fields) -> dict[str, dict[str, str]]:
    labels = {}
    for label in LABELS[:-1]:
        words = fields.words(label) if label == "emotion" else fields.words(label, {})
        labels[label] = {}
        for spelling, word in words.items():
            if label == "emotion" and not EMOTION_WORD.fullmatch(word):
                raise fields.wrong(label, {spelling: word}, "an emotion is lower-case English words, such as 'anger'")
            if labels[label].setdefault(_plain(spelling), word) != word:
                raise fields.wrong(
                    label, {spelling: word}, "another spelling that differs by case or hyphens alone has another word; keep one"
                )
    if not labels["emotion"]:
        raise fields.wrong("emotion", {}, 'list every emotion code with its word, such as {"A": "anger"}')
    fields.nothing_else()
    return labels


def _skip_rule(fields: Fields) -> SkipRule:
    rule = SkipRule(files=_globs(fields, "files"), reason=fields.text("reason"))
    fields.nothing_else()
    return rule


def _table(fields: Fields) -> SideTable:
    table = SideTable(file=_inside(fields, "file"), stem_column=fields.text("stem_column"), columns=fields.words("columns", {}))
    unknown = sorted(set(table.columns) - set(LABELS))
    if unknown:
        raise fields.wrong("columns", table.columns, f"'{unknown[0]}' is not known; the keys are {', '.join(LABELS)}")
    fields.nothing_else()
    return table


def _globs(fields: Fields, name: str) -> tuple[str, ...]:
    globs = fields.texts(name)
    if not globs:
        raise fields.wrong(name, [], 'give at least one glob, such as "*.bvh"')
    for glob in globs:
        if glob.startswith("/") or ".." in PurePosixPath(glob).parts or "\\" in glob:
            raise fields.wrong(name, glob, "write it relative to the source folder, with forward slashes and without '..'")
    return globs


def _inside(fields: Fields, name: str) -> str:
    """The name of a file that lies in the source folder."""
    value = fields.text(name)
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts or "\\" in value:
        raise fields.wrong(name, value, "name a file inside the source folder, relative to it, with forward slashes and without '..'")
    return value


def _plain(spelling: str) -> str:
    """Without the differences that do not matter in a spelling."""
    return re.sub(r"[\s_-]+", " ", spelling.strip()).casefold()


def natural_order(word: str) -> list[tuple[int, str]]:
    """Sort key of actors and actions: Actor2 comes before Actor10."""
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in re.split(r"([0-9]+)", word)]
