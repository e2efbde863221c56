"""Text tables of joint positions: one row per frame, delimited by commas, semicolons, tabs or blanks.

path, TableColumns (which column is what)  ->  RecordedMotion
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from emotion_llm.motion.layout import MAX_JOINTS
from emotion_llm.motion.motion import FRAMES_PER_SECOND, MotionFileError, RecordedMotion
from emotion_llm.motion.resampling import between_frames
from emotion_llm.motion.text import NOT_FINITE, NUMBER, plain_text, read_bytes, read_rows
from emotion_llm.runtime.errors import UserError

DELIMITERS = (";", "\t", ",")
"""The surest first: a comma may also be a decimal point."""
PLACEHOLDER = re.compile(r"\{(joint|axis)\}")
PLACEHOLDER_ORDERS = (["joint", "axis"], ["axis", "joint"])
AXIS_ORDERS = tuple("".join(order) for order in permutations("xyz"))
JITTER = 0.1
"""Share of the frame interval by which a time stamp may be early or late (it may have been rounded) without the frames being put in even
time."""
MAX_COLUMNS = 16 * MAX_JOINTS
"""More than any table of joint positions has."""
MAX_GROWTH = 10
"""A table whose time stamps leave room for so many times its rows is refused: the recording was interrupted, or the column is another."""


@dataclass(frozen=True)
class TableColumns:
    """Which column of a table is what. The defaults read a header of joint_x, joint_y, joint_z names, or no header and x y z per joint."""

    delimiter: str | None = None
    """',', ';', '|', tab, or ' ' for any blanks; None: whichever of the first three the first line has, else blanks."""
    decimal_comma: bool = False
    """Numbers are written 0,5."""
    comment: str = "#"
    """Lines that begin with it are passed over; empty for none."""
    skip_lines: int = 0
    """Lines at the top that are passed over before a header or the first row."""
    pattern: str | None = "{joint}_{axis}"
    """How a header names a joint's columns, axis being x, y or z in either case; None: columns go by position, a header is passed over."""
    joints: tuple[str, ...] | None = None
    """Joint names, where the columns go by position; None: the layout's joints in its order."""
    first: int = 0
    """By position: the first joint's first column, counted from 0."""
    stride: int = 3
    """By position: columns from one joint to the next; 7 where each position is followed by a quaternion."""
    axes: str = "xyz"
    """By position: the order of a joint's axes."""
    time: str | int | None = None
    """Name or number of the column of time stamps; the frames are put in even time by it."""
    seconds_per_tick: float = 1.0
    """What one unit of that column stands for: 0.001 for milliseconds, 1e-7 for the Kinect's ticks."""
    frame: str | int | None = None
    """Name or number of the column of frame numbers, by which frames that were dropped are seen; without time stamps only."""
    missing: tuple[str, ...] = ("", "NA", "N/A", "null", "None", "-")
    """What stands for a value that is not there, besides every spelling of nan; '0' or '-9999' count as numbers do."""
    array: str = "positions"
    """The array of an .npz file that holds several."""

    def __post_init__(self) -> None:
        known = {
            "delimiter": self.delimiter in (None, *DELIMITERS, "|", " "),
            "decimal_comma": isinstance(self.decimal_comma, bool),
            "comment": isinstance(self.comment, str),
            "skip_lines": _is_count(self.skip_lines),
            "pattern": self.pattern is None or (isinstance(self.pattern, str) and PLACEHOLDER.findall(self.pattern) in PLACEHOLDER_ORDERS),
            "joints": self.joints is None or (_are_words(self.joints) and 0 < len(set(self.joints)) == len(self.joints) <= MAX_JOINTS),
            "first": _is_count(self.first),
            "stride": _is_count(self.stride) and self.stride >= 3,
            "axes": self.axes in AXIS_ORDERS,
            "time": self.time is None or isinstance(self.time, str) or _is_count(self.time),
            "seconds_per_tick": isinstance(self.seconds_per_tick, int | float) and 0 < self.seconds_per_tick < math.inf,
            "frame": self.frame is None or isinstance(self.frame, str) or _is_count(self.frame),
            "missing": _are_words(self.missing),
            "array": isinstance(self.array, str),
        }
        for name, good in known.items():
            if not good:
                raise UserError(f"table columns: {name} is {getattr(self, name)!r:.80}; {_REMEDIES[name]}")


_REMEDIES = {
    "delimiter": "use one of ',' ';' '|', a tab or a blank, or leave it out to have it found",
    "decimal_comma": "true where numbers are written 0,5, else false",
    "comment": "give the mark that comment lines begin with, or an empty text",
    "skip_lines": "give a number of lines, 0 or more",
    "pattern": "it holds {joint} and {axis} once each, such as '{joint}_{axis}'; null goes by position",
    "joints": f"give 1 to {MAX_JOINTS} different names, or leave it out for the layout's joints in its order",
    "first": "columns are counted from 0",
    "stride": "give the columns from one joint to the next, 3 or more",
    "axes": "give the three letters x, y and z in the order of the columns",
    "time": "give the name of a column, or its number counted from 0",
    "seconds_per_tick": "give seconds per unit of the time column, such as 0.001 for milliseconds",
    "frame": "give the name of a column, or its number counted from 0",
    "missing": "give a list of words",
    "array": "give the name of an array in the .npz file",
}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_words(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(word, str) for word in value)


def table_columns_from_dict(metadata: dict, place: str) -> TableColumns:
    """The settings that a JSON object holds; `place` is where it was found.

    Raises:
        UserError: a setting that does not exist, or whose value makes no sense.
    """
    known = [field.name for field in fields(TableColumns)]
    unknown = [name for name in metadata if name not in known]
    if unknown:
        raise UserError(f"{place}: table columns have no setting '{unknown[0]}'; the settings are {', '.join(known)}")
    try:
        settings: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in metadata.items()}
        return TableColumns(**settings)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


def read_table(path: Path, columns: TableColumns) -> RecordedMotion:
    """The motion in a text table.

    Raises:
        MotionFileError: it cannot be read; names the file, the place in it and the remedy.
    """
    return parse_table(read_bytes(Path(path)), columns, place=str(path))


def parse_table(data: bytes, columns: TableColumns, place: str) -> RecordedMotion:
    """The motion in a text table's bytes; `place` names the file in error messages."""
    text = plain_text(data, place)
    if columns.comment:
        text = re.sub(rb"(?m)^[ \t]*" + re.escape(columns.comment.encode()) + rb".*$", b"", text)
    start = 0
    for _ in range(columns.skip_lines):
        start = text.find(b"\n", start) + 1 or len(text)
    begin, end = _first_line(text, start)
    if begin == end:
        raise MotionFileError(f"{place}: no row of numbers; export or copy the file again")
    head = text[begin:end].decode("utf-8", "replace")
    marks = DELIMITERS[:-1] if columns.decimal_comma else DELIMITERS
    delimiter = columns.delimiter or next((mark for mark in marks if mark in head), " ")
    words = [word.strip(" \t\"'") for word in (head.split() if delimiter == " " else head.split(delimiter))]
    if len(words) > 1 and not words[-1]:
        words.pop()  # the line ends with a delimiter
    if len(words) > MAX_COLUMNS:
        raise MotionFileError(f"{place}: its first line has {len(words)} columns, more than {MAX_COLUMNS}; it needs a row per frame")
    header = None if all(_is_value(word, columns) for word in words) else tuple(words)
    if header and all(_is_value(word.replace(",", "."), columns) for word in words):
        raise MotionFileError(f"{place}: numbers such as {header[0][:40]!r} have a decimal comma; set decimal_comma of the table columns")
    body_start = end if header else begin
    rows, notes = read_rows(
        _between_blanks(text[body_start:], delimiter, columns.decimal_comma),
        place,
        text.count(b"\n", 0, body_start) + 1,
        len(words),
        f"the {'header' if header else 'first row'} has {len(words)} columns",
        frozenset(word.encode() for word in columns.missing),
    )
    return motion_of_rows(rows, header, columns, place, tuple(notes))


def motion_of_rows(
    rows: np.ndarray, header: tuple[str, ...] | None, columns: TableColumns, place: str, notes: tuple[str, ...] = ()
) -> RecordedMotion:
    """The motion in a table of numbers (T, columns)."""
    rows = np.where(np.isfinite(rows), rows, np.nan)
    for word in columns.missing:
        if NUMBER.fullmatch(word.encode()):
            rows = np.where(rows == float(word), np.nan, rows)
    joint_names, indices = _position_columns(header, rows.shape[1], columns, place)
    positions = rows[:, indices]  # (T, V, 3)
    stamps = columns.time if columns.time is not None else columns.frame
    if stamps is None or len(rows) < 2:
        return RecordedMotion(joint_names, None, positions, None, notes)
    positions, interval, uneven = _in_even_time(positions, rows[:, _column(stamps, header, rows.shape[1], place)], place)
    rate = None
    if columns.time is not None:
        rate = 1 / (interval * columns.seconds_per_tick)
        if not FRAMES_PER_SECOND[0] <= rate <= FRAMES_PER_SECOND[1]:
            raise MotionFileError(f"{place}: its time column says {rate:g} frames per second; set seconds_per_tick to the column's unit")
    return RecordedMotion(joint_names, None, positions, rate, notes + uneven)


def _first_line(text: bytes, start: int = 0) -> tuple[int, int]:
    """Begin and end of the first line from `start` on that is not blank; both the text's length where there is none."""
    begin = len(text) - len(text[start:].lstrip())
    begin = max(text.rfind(b"\n", 0, begin) + 1, start)
    end = text.find(b"\n", begin)
    return begin, end if end >= 0 else len(text)


def _is_value(word: str, columns: TableColumns) -> bool:
    spelt = (word.replace(",", ".") if columns.decimal_comma else word).encode()
    return word in columns.missing or bool(NUMBER.fullmatch(spelt) or NOT_FINITE.fullmatch(spelt))


def _between_blanks(text: bytes, delimiter: str, decimal_comma: bool) -> bytes:
    """The rows with blanks for delimiters, quotes gone, and nan where nothing stands between two delimiters."""
    mark = delimiter.encode()
    if delimiter != " ":
        begin, end = _first_line(text)
        if text[begin:end].rstrip(b" ").endswith(mark):
            text = re.sub(rb"(?m)%s[ ]*$" % re.escape(mark), b"", text)
        text = re.sub(rb"(?m)(?:^|(?<=%b))[ ]*(?=%b)|(?<=%b)[ ]*$" % ((re.escape(mark),) * 3), b" nan ", text)
    text = text.replace(b'"', b"")
    if decimal_comma:
        text = text.replace(mark, b" ").replace(b",", b".")
    return text.replace(mark, b" ")


def _position_columns(
    header: tuple[str, ...] | None, width: int, columns: TableColumns, place: str
) -> tuple[tuple[str, ...] | None, np.ndarray]:
    """Joint names (None: the layout's own) and the columns of their positions (V, 3)."""
    if header is not None and columns.pattern is not None:
        return _named_columns(header, columns, place)
    joints = len(columns.joints) if columns.joints else (width - columns.first) // columns.stride
    last = columns.first + (joints - 1) * columns.stride + 3
    if joints < 1 or last > width or (columns.joints is None and columns.first + joints * columns.stride != width):
        wanted = f"{len(columns.joints)} joints" if columns.joints else "whole joints"
        raise MotionFileError(
            f"{place}: its {width} columns do not hold {wanted} from column {columns.first} on, {columns.stride} columns each; "
            "set first, stride and joints of the table columns"
        )
    order = [columns.axes.index(axis) for axis in "xyz"]
    return columns.joints, columns.first + columns.stride * np.arange(joints)[:, None] + order


def _named_columns(header: tuple[str, ...], columns: TableColumns, place: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Joint names and the columns of their positions (V, 3), as the header names them."""
    groups = {"joint": "(?P<joint>.+)", "axis": "(?P<axis>[xyzXYZ])"}
    assert columns.pattern is not None
    between = PLACEHOLDER.split(columns.pattern)  # text, placeholder, text, placeholder, text
    pattern = re.compile("".join(groups[piece] if at % 2 else re.escape(piece) for at, piece in enumerate(between)))
    found: dict[str, dict[str, int]] = {}
    for column, word in enumerate(header):
        match = pattern.fullmatch(word)
        if match:
            found.setdefault(match["joint"], {})[match["axis"].lower()] = column
    joints = columns.joints or tuple(found)
    partial = [joint for joint in joints if len(found.get(joint, ())) < 3]
    if not joints or partial:
        what = f"no x, y and z of '{partial[0][:60]}'" if joints else "no joint"
        raise MotionFileError(
            f"{place}: by the pattern '{columns.pattern}' its header names {what}; the columns are {', '.join(header):.150}; "
            "set pattern, or pattern null to go by position"
        )
    if len(joints) > MAX_JOINTS:
        raise MotionFileError(f"{place}: its header names {len(joints)} joints, more than {MAX_JOINTS}; is it a table of joint positions?")
    return joints, np.array([[found[joint][axis] for axis in "xyz"] for joint in joints])


def _column(which: str | int, header: tuple[str, ...] | None, width: int, place: str) -> int:
    names = header or ()
    if which not in names and not (isinstance(which, int) and which < width):
        raise MotionFileError(
            f"{place}: has no column {which!r} but {width}: {', '.join(names) or 'without names':.150}; set time or frame anew"
        )
    return which if isinstance(which, int) else names.index(which)


def _in_even_time(positions: np.ndarray, stamps: np.ndarray, place: str) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """Positions at even times, the interval between them in the stamps' unit, and a note where they had not been even.

    Where a stamp is missing between two frames, the frames in between are NaN.
    """
    steps = np.diff(stamps)
    grows = np.isfinite(stamps)
    grows[1:] &= steps >= 0
    if not grows.all() or not steps.any():
        row = 1 + int(np.argmin(grows))
        raise MotionFileError(
            f"{place}: its time or frame column does not grow from row to row (row {row}); set time or frame of the table columns"
        )
    fresh = np.concatenate([[True], steps > 0])  # a frame written twice has the same stamp
    positions, stamps, steps = positions[fresh], stamps[fresh], steps[steps > 0]
    interval = (stamps[-1] - stamps[0]) / len(steps)
    if np.abs((stamps - stamps[0]) / interval - np.arange(len(stamps))).max() <= JITTER:
        return positions, interval, ()
    interval = steps[steps < 1.5 * np.median(steps)].mean()  # a longer step is one over frames that were lost
    frames = (stamps - stamps[0]) / interval  # (T,) where each row stands in even time
    if frames[-1] > MAX_GROWTH * len(stamps):
        raise MotionFileError(f"{place}: its time stamps have gaps of up to {steps.max() / interval:.0f} frames; cut the recording at them")
    even = np.arange(math.floor(frames[-1] + JITTER) + 1)
    at = np.interp(even, frames, np.arange(len(frames)))  # in rows
    lost = np.diff(frames)[np.minimum(at.astype(np.int64), len(steps) - 1)] > 1.5
    lost &= np.abs(at - np.round(at)) > JITTER
    evened = np.where(lost[:, None, None], np.nan, between_frames(positions, at))
    note = f"time stamps are uneven: {len(positions)} rows put in even time, {lost.sum()} frames of {len(even)} missing"
    return evened, interval, (note,)
