"""Text files and the numbers in them.

bytes of a file  ->  UTF-8 without a byte order mark, lines end in \n  ->  rows (T, columns) float64
"""

import io
import re

import numpy as np
from pydantic_core import from_json

from emotion_llm.motion.motion import MotionFileError

UTF_8_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
NUMBER = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
NOT_FINITE = re.compile(rb"[+-]?(?:nan|inf|infinity)(?:\(\w*\))?|[+-]?1\.?#(?:q?s?nan|ind|inf)[0-9]*", re.IGNORECASE)
"""How Python, C and Microsoft's C runtime write values that are not finite."""
NOT_NUMERIC_JSON = b',"[{tfnNI'  # The comma, and the first bytes of JSON values that are not plain numbers


def plain_text(data: bytes, place: str) -> bytes:
    """The text in a file's bytes. Raises MotionFileError: empty, or not text."""
    if data.startswith(UTF_16_MARKS):
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(UTF_8_MARK)
    if not data or data.isspace():
        raise MotionFileError(f"{place}: the file is empty; copy or export it again")
    if b"\0" in data:
        raise MotionFileError(f"{place}: not a text file; export the motion as text, or copy the file again if it is damaged")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


def read_rows(
    text: bytes, place: str, first_line: int, width: int, expected: str, missing: frozenset[bytes] = frozenset()
) -> tuple[np.ndarray, list[str]]:
    """A table of numbers separated by whitespace, one row per line; blank lines are skipped.

    Args:
        place: the file, for error messages.
        first_line: line number of the text's first line in the file, for error messages.
        width: numbers per row.
        expected: where that width comes from, for error messages, such as "the HIERARCHY has 66 channels".
        missing: words that mark a missing value.

    Returns:
        rows (T, width), NaN where a value is missing or not finite; notes. A last row that is cut short is dropped.

    Raises:
        MotionFileError: something is not a number, another row is too short or too long, or no row is complete.
    """
    notes: list[str] = []
    rows = _read_regular(text, width)
    if rows is None:
        rows = _read_numbers(text, width)
    if rows is None:
        rows, notes = _read_any(text, place, first_line, width, expected, missing)
    rows[np.isinf(rows)] = np.nan
    return rows, notes


def _read_regular(text: bytes, width: int) -> np.ndarray | None:
    """The rows of a table without irregularities; None where it has any.

    A JSON parser reads them: 0.100 s for 13 MB of BVH rows (60 clips), against 0.231 s with numpy.loadtxt.
    """
    lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
    if not lines or any(line.count(b" ") != width - 1 for line in lines) or any(mark in text for mark in NOT_NUMERIC_JSON):
        return None
    numbers = b",".join(lines).replace(b" ", b",")
    try:
        return np.fromiter(from_json(b"[" + numbers + b"]"), np.float64, width * len(lines)).reshape(-1, width)
    except (ValueError, OverflowError):  # JSON does not allow +1, .5, 5. and 007; the slow path does
        return None


def _read_numbers(text: bytes, width: int) -> np.ndarray | None:
    """The rows of a table of any whitespace and any spelling of numbers; None where a value is missing or a row is too short."""
    if len(text.rstrip().rpartition(b"\n")[2].split()) != width:  # empty, or the last row is cut short
        return None
    try:
        rows = np.loadtxt(io.BytesIO(text), comments=None, ndmin=2)
    except ValueError:
        return None
    return rows if rows.shape[1] == width else None


def _read_any(
    text: bytes, place: str, first_line: int, width: int, expected: str, missing: frozenset[bytes]
) -> tuple[np.ndarray, list[str]]:
    """The rows of any table, number by number; names the line of whatever is wrong."""
    lines = [(number, words) for number, line in enumerate(text.split(b"\n"), first_line) if (words := line.split())]
    notes = []
    for number, words in lines:
        if len(words) == width:
            continue
        for word in words:
            _number(word, missing, place, number)
        if number != lines[-1][0] or len(words) > width:
            raise MotionFileError(
                f"{place}: line {number} holds {len(words)} numbers where {expected}; every row needs as many: export the file again"
            )
        notes.append(f"the last row is cut short after {len(words)} of {width} numbers: dropped")
        lines.pop()
    if not lines:
        raise MotionFileError(f"{place}: no complete row of numbers where {expected}; export or copy the file again")
    return np.array([[_number(word, missing, place, number) for word in words] for number, words in lines]), notes


def _number(word: bytes, missing: frozenset[bytes], place: str, line: int) -> float:
    if word in missing:
        return np.nan
    try:
        if b"_" not in word:
            return float(word)
    except ValueError:
        if NOT_FINITE.fullmatch(word):
            return np.nan
    remedy = "write decimals with a point, or set columns.decimal_comma" if b"," in word else "correct or remove it"
    raise MotionFileError(f"{place}: line {line}: {word[:40].decode('utf-8', 'replace')!r} is not a number; {remedy}")
