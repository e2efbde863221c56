"""What a source folder holds, determined without reading a motion file.

source folder, CorpusDefinition  ->  Scan (files to read with their labels; files left out, each with its reason)
"""

import csv
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import regex

from emotion_llm.corpus.definition import CorpusDefinition, matches_any
from emotion_llm.motion.reading import ENDINGS
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.output import printable

MAX_TAKE = 32767
PATTERN_SECONDS = 1.0  # Processor time after which matching one path against the patterns is given up
Table = dict[str, dict[str, str]]  # File stem -> label -> its spelling in the side table


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One motion file to read."""

    path: str  # Relative to the source folder, with forward slashes
    size: int
    modified: int  # Time of the last change, nanoseconds
    emotion: str
    actor: str | None
    action: str | None
    take: int  # -1 if not known
    texts: tuple[str, ...] = ()  # Descriptions of this movement

    @property
    def name(self) -> str:
        """The clip's name: the path without its extension."""
        folder, slash, _ = self.path.rpartition("/")
        return folder + slash + stem_of(self.path)


@dataclass(frozen=True)
class LeftOut:
    """One motion file that is left out."""

    path: str
    reason: str
    by_rule: bool  # True: the definition says so. False: something is wrong with the file.


@dataclass(frozen=True)
class Scan:
    """What was found, sorted by path."""

    files: tuple[SourceFile, ...]
    left_out: tuple[LeftOut, ...]
    missing: tuple[str, ...]  # What a table lists but the folder does not hold


def scan_source(definition: CorpusDefinition, source: Path) -> Scan:
    """Finds and labels the files of a source folder. Reads no motion file.

    Raises:
        UserError: no such folder, an unusable side table, a pattern that takes too long, or nothing to import.
    """
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; --source names the folder that holds the files of '{definition.name}'")
    source = source.resolve()
    entries, links, other_files = _find(definition, source)
    if not entries:
        raise UserError(_nothing_found(definition, source, links, other_files))
    table = _read_side_table(definition, source)
    stems = Counter(stem_of(path) for path, _ in entries)
    texts, missing = _read_descriptions(definition, source, stems | Counter(path for path, _ in entries))
    files: list[SourceFile] = []
    left_out, names = list(links), dict[str, str]()
    for path, status in entries:
        found = _label(definition, path, status, table, texts)
        if isinstance(found, SourceFile) and names.setdefault(found.name, path) != path:
            found = LeftOut(path, f"{names[found.name]} already has the clip name '{found.name}'; rename one of the two", by_rule=False)
        if isinstance(found, SourceFile):
            files.append(found)
        else:
            left_out.append(found)
    missing += [f"{_table_file(definition)}: no file for its row '{stem}'" for stem in table or () if stem not in stems]
    if not files:
        raise UserError(_nothing_found(definition, source, left_out, other_files))
    return Scan(tuple(files), tuple(sorted(left_out, key=lambda item: item.path)), tuple(missing))


def _find(definition: CorpusDefinition, source: Path) -> tuple[list[tuple[str, os.stat_result]], list[LeftOut], int]:
    """The files that match a glob, sorted by path; symbolic links that are not followed; the number of other files."""
    entries, faults, others = [], [], 0
    tables = {definition.descriptions, _table_file(definition)}
    for path, entry in _walk(source):
        link, shown = entry.is_symlink(), printable(path, keep="")
        if link and not os.path.exists(entry.path):  # noqa: PTH110 (Path.exists raises on a loop)
            faults.append(LeftOut(shown, "a symbolic link that is broken or points to itself; remove it", by_rule=False))
        elif link and entry.is_dir():
            faults.append(LeftOut(shown, "a symbolic link to a folder is not followed; name the real folder with --source", by_rule=False))
        elif path in tables or not matches_any(path, definition.files):
            others += 1
        elif link and not Path(entry.path).resolve().is_relative_to(source):
            faults.append(LeftOut(shown, "a symbolic link that points outside the source folder; put the file itself there", by_rule=False))
        elif not entry.is_file():
            faults.append(LeftOut(shown, "not a regular file; remove it", by_rule=False))
        elif shown != path:
            faults.append(LeftOut(shown, "a name with characters that cannot be printed; rename it", by_rule=False))
        else:
            entries.append((path, entry.stat()))
    return sorted(entries, key=lambda item: item[0]), faults, others


def _walk(source: Path) -> Iterator[tuple[str, os.DirEntry]]:
    """Every file and every symbolic link below the folder, with its relative path; hidden files and __MACOSX are skipped."""
    folders = [""]
    while folders:
        prefix = folders.pop()
        try:
            with os.scandir(source / prefix) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{prefix}{entry.name}/")
                    else:
                        yield f"{prefix}{entry.name}", entry
        except OSError as error:
            raise UserError(
                f"{source / prefix}: cannot be listed ({error.strerror}); correct its permissions, or move it out of --source"
            ) from None


def _label(definition: CorpusDefinition, path: str, status: os.stat_result, table: Table | None, texts: dict) -> SourceFile | LeftOut:
    """The file with its labels from path and table, or why it is left out."""
    for rule in definition.skip:
        if matches_any(path, rule.files):
            return LeftOut(path, rule.reason, by_rule=True)
    stem = stem_of(path)
    if table is not None and stem not in table:
        return LeftOut(path, f"not in {_table_file(definition)}", by_rule=True)
    wrong = partial(LeftOut, path, by_rule=False)
    match = _match(definition, path)
    if match is None:
        return wrong("its path matches none of the definition's patterns; rename it, or add a pattern or a skip rule")
    found = [(label, spelling, "the path") for label, spelling in match.groupdict().items() if spelling]
    found += [(label, spelling, _table_file(definition)) for label, spelling in (table or {}).get(stem, {}).items()]
    words: dict[str, str] = {}
    for label, spelling, place in found:
        word = definition.word(label, spelling)
        if word is None:
            return wrong(f"unknown {label} '{spelling}' in {place}; add it to 'labels' of the definition, or a skip rule")
        if words.setdefault(label, word) != word:
            return wrong(f"the path says {label} '{words[label]}', {place} says '{word}'; correct one of the two")
    if "emotion" not in words:
        return wrong("neither its path nor a table gives its emotion; name it")
    take = words.get("take", "-1")
    if take != "-1" and not (take.isascii() and take.isdigit() and len(take) < 10 and int(take) <= MAX_TAKE):
        return wrong(f"take '{take}' is not a number from 0 to {MAX_TAKE}; correct the pattern or the name")
    return SourceFile(
        path=path, size=status.st_size, modified=status.st_mtime_ns, emotion=words["emotion"], actor=words.get("actor"),
        action=words.get("action"), take=int(take), texts=(*texts.get(path, ()), *texts.get(stem, ()))
    )  # fmt: skip


def _match(definition: CorpusDefinition, path: str) -> regex.Match[str] | None:
    """The first pattern's match of a path. Raises UserError: a pattern takes exponential time, as nested repetitions do."""
    for pattern in definition.patterns:
        try:
            if match := pattern.fullmatch(path, timeout=PATTERN_SECONDS):
                return match
        except TimeoutError:
            raise UserError(
                f"corpus '{definition.name}': the pattern {pattern.pattern!r:.200} takes more than {PATTERN_SECONDS:g} s for the path "
                f"{path}; simplify it: a repetition inside a repetition, such as (a+)+, takes exponential time"
            ) from None
    return None


def _table_file(definition: CorpusDefinition) -> str:
    return definition.table.file if definition.table else ""


def _read_side_table(definition: CorpusDefinition, source: Path) -> Table | None:
    """The rows of the definition's side table; None if it has no table."""
    table = definition.table
    if table is None:
        return None
    path = source / table.file
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; '{definition.name}' needs it beside the motion files, so download it too, or check --source"
        )
    rows: Table = {}
    for line, row in read_csv(path, (table.stem_column, *table.columns.values())):
        stem = _named_stem(row[table.stem_column])
        labels = {label: row[column] for label, column in table.columns.items() if row[column]}
        if stem and rows.setdefault(stem, labels) != labels:
            raise UserError(f"{path} line {line}: '{stem}' has another row with other labels; keep one")
    return rows


def _read_descriptions(definition: CorpusDefinition, source: Path, files: Counter[str]) -> tuple[dict[str, list[str]], list[str]]:
    """(path or stem -> its descriptions, faults: lines that name no file or several); files: path or stem -> how many files have it."""
    path = source / (definition.descriptions or "")
    if definition.descriptions is None or not path.is_file():
        return {}, []
    texts: dict[str, list[str]] = {}
    faults = []
    for line, row in read_csv(path, ("file", "text")):
        file = row["file"].replace("\\", "/")
        if "/" not in file:
            file = _named_stem(file)
        if not file or not row["text"]:
            raise UserError(f"{path} line {line}: needs both a file and a text; fill in the empty one, or remove the line")
        if files[file] == 1:
            texts.setdefault(file, []).append(" ".join(row["text"].split()))
        else:
            found = f"{files[file] or 'no'} files are named '{file}'; give the path of the one that is meant"
            faults.append(f"{definition.descriptions} line {line}: {found}")
    return texts, faults


def read_csv(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> value, control characters escaped) of each row; the delimiter is whichever of , ; and tab the header holds most.

    Raises:
        UserError: not UTF-8, a column that is missing, or a row with too few values.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            columns = [column.strip() for column in next(csv.reader([header], delimiter=delimiter), [])]
            absent = [column for column in needed if column not in columns]
            if absent:
                there = ", ".join(columns) or "none"
                raise UserError(f"{path}: has no column '{absent[0]}'; its columns are {there}; correct the header or the definition")
            reader = csv.reader(file, delimiter=delimiter)
            for row in reader:
                if not any(row):
                    continue
                if len(row) < len(columns):
                    raise UserError(f"{path} line {reader.line_num + 1}: {len(row)} values under {len(columns)} columns; correct the line")
                values = (printable(" ".join(value.splitlines()).strip(), keep="") for value in row)
                yield reader.line_num + 1, dict(zip(columns, values, strict=False))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); correct its permissions") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({error}); save it as such") from None


def _nothing_found(definition: CorpusDefinition, source: Path, left_out: list[LeftOut], others: int) -> str:
    if left_out:
        reason, count = Counter(item.reason for item in left_out).most_common(1)[0]
        example = next(item.path for item in left_out if item.reason == reason)
        return f"{source}: all {len(left_out)} motion files are left out; {count} of them, such as {example}, because: {reason}"
    holds = f"{others} other files" if others else "no files"
    wanted = " or ".join(definition.files)
    return f"{source}: no file matches {wanted}, found {holds}; is this the folder of '{definition.name}'? {definition.source}".rstrip()


def stem_of(path: str) -> str:
    """The file's name without folder and extension. (pathlib takes ten times as long; there may be 100,000 files.)"""
    file = path.rpartition("/")[2]
    return file.rpartition(".")[0] or file


def _named_stem(file: str) -> str:
    """The stem of a file as a table names it: with or without folder, with or without the extension of a motion file."""
    file = file.strip().rpartition("/")[2]
    return stem_of(file) if file.lower().endswith(ENDINGS) else file
