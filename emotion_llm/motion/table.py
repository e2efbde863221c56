"""Text tables of joint positions: one row per frame, delimited by commas, semicolons, tabs or whitespace.

bytes of a file, TableColumns  ->  RecordedMotion
"""

import math
import re
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass as validated_dataclass

from emotion_llm.motion.layout import MAX_JOINTS
from emotion_llm.motion.motion import FRAMES_PER_SECOND, MotionFileError, RecordedMotion
from emotion_llm.motion.resampling import between_frames
from emotion_llm.motion.text import NOT_FINITE, NUMBER, plain_text, read_rows
from emotion_llm.runtime.validation import STRICT, remedy

DELIMITERS = (";", "\t", ",")  # In the order in which they are looked for: a comma may also be a decimal point
SECONDS_PER_TICK = "give seconds per unit of the time column, such as 0.001 for milliseconds"
JITTER = 0.1
"""Fraction of the frame interval up to which time stamps may deviate (they may have been rounded) without resampling the frames."""
TIME_NAME = re.compile(
    r"(?i)\W*(?:(?:relative|frame|unix|local|sensor|time)[ _.]?)?(?:time(?:stamps?)?|stamps?|ticks|seconds|sec|m?sec|ms|t|frames?)\W?.{0,9}"
)
"""Names of columns that usually hold time stamps or frame numbers, such as 'Time (s)'."""
MAX_COLUMNS = 16 * MAX_JOINTS  # More than any table of joint positions has
MAX_GROWTH = 10
"""Refused: tables whose time stamps span this many times their rows. The recording was interrupted, or it is not the time column."""


def _pattern(pattern: str) -> str:
    if pattern.count("{joint}") != 1 or pattern.count("{axis}") != 1:
        raise ValueError("it must contain {joint} and {axis} once each, such as '{joint}_{axis}'; null: columns go by position")
    return pattern


def _distinct(joints: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(joints)) < len(joints):
        raise ValueError("joint names must differ")
    return joints


Count = Annotated[int, Field(strict=True, ge=0)]
Column = Annotated[str | Count, remedy("give the name of a column, or its number counted from 0")]


@validated_dataclass(frozen=True, config=STRICT)
class TableColumns:
    """The columns of a table. The defaults read a header of names such as joint_x, or no header and x y z of each joint."""

    delimiter: Annotated[Literal[",", ";", "|", "\t", " "], remedy("use ',' ';' '|', a tab or a blank, or leave it out")] | None = None
    """',', ';', '|', tab, or ' ' for any whitespace; None: the first of ; tab , that the first line contains, else whitespace."""
    decimal_comma: Annotated[bool, Field(strict=True)] = False  # Numbers are written 0,5
    comment: str = "#"
    """Lines that begin with it are skipped; empty: none."""
    skip_lines: Count = 0  # Lines to skip before the header or the first row
    pattern: Annotated[str, AfterValidator(_pattern)] | None = "{joint}_{axis}"
    """How the header names a joint's columns; {axis} is x, y or z in either case. None: columns go by position, a header is skipped."""
    joints: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_JOINTS), AfterValidator(_distinct)] | None = None
    """By position: joint names. None: the layout's joints in its order."""
    first: Count = 0  # By position: the first joint's first column, counted from 0
    stride: Annotated[int, Field(strict=True, ge=3), remedy("give the columns from one joint to the next, 3 or more")] = 3
    """By position: columns from one joint to the next; 7 where a quaternion follows each position."""
    axes: Literal["xyz", "xzy", "yxz", "yzx", "zxy", "zyx"] = "xyz"  # By position: the order of a joint's axes
    time: Column | None = None
    """Name or number of the column of time stamps; the frames are resampled to even time."""
    seconds_per_tick: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False), remedy(SECONDS_PER_TICK)] = 1.0
    """Seconds per unit of that column: 0.001 for milliseconds, 1e-7 for the Kinect's ticks."""
    frame: Column | None = None
    """Name or number of the column of frame numbers, which reveals dropped frames; only without time stamps."""
    missing: tuple[str, ...] = ("", "NA", "N/A", "null", "None", "-")
    """Words for a missing value, besides all spellings of nan; '0' or '-9999' are numbers unless they are listed here."""
    array: str = "positions"  # The array of an .npz file that holds several


def parse_table(data: bytes, columns: TableColumns, place: str) -> RecordedMotion:
    """The motion in a text table's bytes; `place` names the file in error messages. Raises MotionFileError."""
    text = plain_text(data, place)
    if columns.comment:
        text = re.sub(rb"(?m)^[ \t]*" + re.escape(columns.comment.encode()) + rb".*$", b"", text)
    lines = text.split(b"\n")
    first = next((number for number in range(columns.skip_lines, len(lines)) if lines[number].strip()), None)
    if first is None:
        raise MotionFileError(f"{place}: no row of numbers; check columns.skip_lines and columns.comment, or export the file again")
    head = lines[first].decode("utf-8", "replace")
    marks = DELIMITERS[:-1] if columns.decimal_comma else DELIMITERS
    delimiter: str = columns.delimiter or next((mark for mark in marks if mark in head), " ")
    words = [word.strip(" \t\"'") for word in (head.split() if delimiter == " " else head.split(delimiter))]
    if len(words) > 1 and not words[-1]:
        words.pop()  # the line ends with a delimiter
    if len(words) > MAX_COLUMNS:
        raise MotionFileError(f"{place}: its first line has {len(words)} columns, more than {MAX_COLUMNS}; it needs a row per frame")
    header = None if all(_is_value(word, columns) for word in words) else tuple(words)
    if header and all(_is_value(word.replace(",", "."), columns) for word in words):
        raise MotionFileError(f"{place}: numbers such as {header[0][:40]!r} have a decimal comma; set columns.decimal_comma")
    if header:
        first += 1
    rows, notes = read_rows(
        _between_blanks(lines[first:], delimiter, columns.decimal_comma),
        place,
        first + 1,
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
    if columns.time is None:
        notes += _unused_time(rows, header, indices, columns.frame)
    stamps = columns.time if columns.time is not None else columns.frame
    if stamps is None or len(rows) < 2:
        return RecordedMotion(joint_names, None, positions, None, notes)
    positions, interval, uneven = _in_even_time(positions, rows[:, _column(stamps, header, rows.shape[1], place)], place)
    rate = None
    if columns.time is not None:
        rate = 1 / (interval * columns.seconds_per_tick)
        if not FRAMES_PER_SECOND[0] <= rate <= FRAMES_PER_SECOND[1]:
            raise MotionFileError(
                f"{place}: its time column says {rate:g} frames per second; set columns.seconds_per_tick to the column's unit"
            )
    return RecordedMotion(joint_names, None, positions, rate, notes + uneven)


def _is_value(word: str, columns: TableColumns) -> bool:
    spelt = (word.replace(",", ".") if columns.decimal_comma else word).encode()
    return word in columns.missing or bool(NUMBER.fullmatch(spelt) or NOT_FINITE.fullmatch(spelt))


def _between_blanks(lines: list[bytes], delimiter: str, decimal_comma: bool) -> bytes:
    """The rows delimited by blanks, without quotes, with nan for empty values."""
    text, mark = b"\n".join(lines), delimiter.encode()
    if delimiter != " ":
        if next(filter(bytes.strip, lines), b"").rstrip(b" ").endswith(mark):
            text = re.sub(rb"(?m)%s[ ]*$" % re.escape(mark), b"", text)
        text = re.sub(rb"(?m)(?:^|(?<=%b))[ ]*(?=%b)|(?<=%b)[ ]*$" % ((re.escape(mark),) * 3), b" nan ", text)
    text = text.replace(b'"', b"")
    if decimal_comma:
        text = text.replace(mark, b" ").replace(b",", b".")
    return text.replace(mark, b" ")


def _position_columns(
    header: tuple[str, ...] | None, width: int, columns: TableColumns, place: str
) -> tuple[tuple[str, ...] | None, np.ndarray]:
    """Joint names (None: the layout's) and the columns of their positions (V, 3)."""
    if header is not None and columns.pattern is not None:
        return _named_columns(header, columns.pattern, columns.joints, place)
    joints = len(columns.joints) if columns.joints else (width - columns.first) // columns.stride
    last = columns.first + (joints - 1) * columns.stride + 3
    if joints < 1 or last > width or (columns.joints is None and columns.first + joints * columns.stride != width):
        wanted = f"{len(columns.joints)} joints" if columns.joints else "whole joints"
        raise MotionFileError(
            f"{place}: its {width} columns do not hold {wanted} from column {columns.first} on, {columns.stride} columns each; "
            "set columns.first, columns.stride and columns.joints"
        )
    order = [columns.axes.index(axis) for axis in "xyz"]
    return columns.joints, columns.first + columns.stride * np.arange(joints)[:, None] + order


def _named_columns(header: tuple[str, ...], pattern: str, joints: tuple[str, ...] | None, place: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Joint names and the columns of their positions (V, 3), from the header."""
    name = re.compile(re.escape(pattern).replace(r"\{joint\}", "(?P<joint>.+)").replace(r"\{axis\}", "(?P<axis>[xyzXYZ])"))
    found: dict[str, dict[str, int]] = {}
    for column, word in enumerate(header):
        if match := name.fullmatch(word):
            found.setdefault(match["joint"], {})[match["axis"].lower()] = column
    joints = joints or tuple(found)
    partial = [joint for joint in joints if len(found.get(joint, ())) < 3]
    if not joints or partial:
        what = f"no x, y and z of '{partial[0][:60]}'" if joints else "no joint"
        raise MotionFileError(
            f"{place}: by the pattern '{pattern}' its header names {what}; the columns are {', '.join(header):.150}; "
            "set columns.pattern (null: by position), or columns.skip_lines if the header is on a later line"
        )
    if len(joints) > MAX_JOINTS:
        raise MotionFileError(f"{place}: its header names {len(joints)} joints, more than {MAX_JOINTS}; is it a table of joint positions?")
    return joints, np.array([[found[joint][axis] for axis in "xyz"] for joint in joints])


def _column(which: str | int, header: tuple[str, ...] | None, width: int, place: str) -> int:
    names = header or ()
    if which not in names and not (isinstance(which, int) and which < width):
        raise MotionFileError(
            f"{place}: has no column {which!r} but {width}: {', '.join(names) or 'without names':.150}; correct columns.time or columns.frame"
        )
    return which if isinstance(which, int) else names.index(which)


def _unused_time(rows: np.ndarray, header: tuple[str, ...] | None, used: np.ndarray, frame: str | int | None) -> tuple[str, ...]:
    """A note on the first column that seems to hold time stamps, by its name or because it grows evenly."""
    for column in sorted(set(range(rows.shape[1])) - set(used.ravel().tolist())):
        name = header[column] if header else str(column)
        steps = np.diff(rows[:, column])
        even = len(steps) > 1 and steps.min() > 0 and steps.max() < 1.5 * np.median(steps)  # False for NaN
        if frame not in (column, name) and (even or TIME_NAME.fullmatch(name)):
            return (
                f"column '{name[:40]}' looks like time stamps but is not used; set columns.time and columns.seconds_per_tick, or columns.frame",
            )
    return ()


def _in_even_time(positions: np.ndarray, stamps: np.ndarray, place: str) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """Positions resampled to even times, the interval in the stamps' unit, and a note if the stamps were uneven.

    Frames that were dropped are NaN.
    """
    steps = np.diff(stamps)
    grows = np.isfinite(stamps)
    grows[1:] &= steps >= 0
    if not grows.all() or not steps.any():
        row = 1 + int(np.argmin(grows))
        raise MotionFileError(
            f"{place}: its time or frame column does not grow from row to row (row {row}); correct columns.time or columns.frame"
        )
    fresh = np.concatenate([[True], steps > 0])  # a frame that was written twice has the same stamp
    positions, stamps, steps = positions[fresh], stamps[fresh], steps[steps > 0]
    interval = (stamps[-1] - stamps[0]) / len(steps)
    if np.abs((stamps - stamps[0]) / interval - np.arange(len(stamps))).max() <= JITTER:
        return positions, interval, ()
    usual = float(np.median(stamps[2:] - stamps[:-2])) / 2 if len(steps) > 1 else steps[0]  # over two steps: jitter in turns cancels
    interval = steps[steps < 1.5 * usual].mean()  # longer steps span dropped frames
    frames = (stamps - stamps[0]) / interval  # (T,) each row in even time
    if frames[-1] > MAX_GROWTH * len(stamps):
        raise MotionFileError(f"{place}: its time stamps have gaps of up to {steps.max() / interval:.0f} frames; cut the recording there")
    even = np.arange(math.floor(frames[-1] + JITTER) + 1)
    at = np.interp(even, frames, np.arange(len(frames)))  # in rows
    lost = np.diff(frames)[np.minimum(at.astype(np.int64), len(steps) - 1)] > 1.5
    lost &= np.abs(at - np.round(at)) > JITTER
    evened = np.where(lost[:, None, None], np.nan, between_frames(positions, at))
    note = f"time stamps are uneven: {len(positions)} rows resampled to even time, {lost.sum()} frames of {len(even)} missing"
    return evened, interval, (note,)
