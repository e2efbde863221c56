"""Decimal numbers in text, read at the speed of array arithmetic.

text  ->  values (numbers,) float64, exactly what float() reads, and how many of them stand on each line (lines,);
          or a table of them (rows, columns)

Motion files are megabytes of short decimals, and calling float() on each takes most of an import. Here the characters that are
no digits are found first; a number's shape ([sign] digits [.digits] [e [sign] digits]) follows from which of them stand in it and
how far apart. Up to eight digits are then turned into an integer at once by three multiplications of a 64-bit word. Numbers of
another shape (more digits, 'nan', words) take the slow way, one by one.
"""

from __future__ import annotations

import re

import numpy as np

from emotion_llm.motion.motion import MotionFileError

BLOCK_BYTES = 1 << 17
"""Text read at a time: small enough for a processor's cache, large enough that numpy's cost per call does not show."""
PAD = 16
"""Blanks put before the text, so that eight or sixteen bytes before any number's end can be loaded."""
MAX_EXACT = 2**53
"""Integers below it are exact in float64, and so is their product or quotient with a power of ten up to 10**22, correctly rounded."""
POWERS = 10.0 ** np.arange(23)
INTEGER_POWERS = 10 ** np.arange(16, dtype=np.uint64)
NUMBER = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
NOT_FINITE = re.compile(rb"[+-]?(?:nan|inf|infinity)(?:\(\w*\))?|[+-]?1\.?#(?:q?s?nan|ind|inf)[0-9]*", re.IGNORECASE)
"""Python's, C's and Microsoft's spellings of a value that is not there."""


def read_numbers(text: bytes, place: str, first_line: int = 1, missing: frozenset[bytes] = frozenset()) -> tuple[np.ndarray, np.ndarray]:
    """All numbers of a text in which they stand between blanks.

    Args:
        text: numbers separated by blanks, tabs and line ends.
        place: the file, for the error message.
        first_line: the number of the text's first line in that file, for the error message.
        missing: words that stand for a value that is not there.

    Returns:
        values (numbers,) float64, NaN where a value is missing or not finite; counts (lines,) of the numbers on each line.

    Raises:
        MotionFileError: something is no number; names it and its line.
    """
    raw = b" " * (PAD - 1) + b"\n" + text + b"\n"
    values, counts = [], []
    start = PAD - 1  # of the line end before the block: a block begins and ends with one
    while start < len(raw) - 1:
        stop = raw.find(b"\n", min(start + BLOCK_BYTES, len(raw) - 1))
        block_values, block_counts, odd = _read_block(raw, start, stop + 1)
        for number, begin, end in odd:
            block_values[number] = _read_odd(raw, begin, end, place, first_line, missing)
        values.append(block_values)
        counts.append(block_counts)
        start = stop
    values = np.concatenate(values)
    values[np.isinf(values)] = np.nan
    return values, np.concatenate(counts)


def read_rows(
    text: bytes, place: str, first_line: int, width: int, expected: str, missing: frozenset[bytes] = frozenset()
) -> tuple[np.ndarray, list[str]]:
    """A table of numbers, one row per line; blank lines are passed over.

    Args:
        width: numbers on each row.
        expected: what says so, for the error message, such as "the HIERARCHY has 66 channels".

    Returns:
        rows (T, width), and what was odd about them in words: a last row that is cut short is dropped.

    Raises:
        MotionFileError: another row is too short or too long, or there is no complete one.
    """
    values, counts = read_numbers(text, place, first_line, missing)
    lines = np.flatnonzero(counts)
    wrong = lines[counts[lines] != width]
    notes = []
    if len(wrong) and wrong[0] == lines[-1] and counts[wrong[0]] < width:
        notes.append(f"the last row is cut short after {counts[wrong[0]]} of {width} numbers: dropped")
        values = values[: -counts[wrong[0]]]
    elif len(wrong):
        raise MotionFileError(
            f"{place}: line {first_line + wrong[0]} holds {counts[wrong[0]]} numbers where {expected}; every row needs as many: "
            "export the file again"
        )
    if not len(values):
        raise MotionFileError(f"{place}: no complete row of numbers where {expected}; export or copy the file again")
    return values.reshape(-1, width), notes


def _read_block(raw: bytes, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
    """Values and counts of the lines raw[start:stop]; numbers of no ordinary shape as (index, begin, end), their values arbitrary."""
    characters = np.frombuffer(raw, np.uint8, stop - start, start)
    words = np.ndarray(stop - start, "<u8", raw, offset=start - 8, strides=(1,))  # words[p]: the eight characters before p
    places = np.flatnonzero((characters - np.uint8(ord("0"))) > 9)  # of everything but digits
    kinds = characters.take(places)
    digits = np.diff(places) - 1  # after each of them, before the next

    blanks = np.flatnonzero(kinds <= ord(" "))
    filled = np.flatnonzero(np.diff(places.take(blanks)) > 1)  # a number stands between this blank and the next
    before, after = blanks.take(filled), blanks.take(filled + 1)

    at = before + 1  # moves through each number's characters that are no digits
    kind = kinds.take(at)
    negative = kind == ord("-")
    signed = (negative | (kind == ord("+"))) & (digits.take(before) == 0)
    at += signed
    whole_digits, whole_end = digits.take(at - 1), places.take(at)

    pointed = kinds.take(at) == ord(".")
    at += pointed
    fraction_digits, fraction_end = digits.take(at - 1) * pointed, places.take(at)

    mantissa = _integers(words, fraction_end, np.minimum(fraction_digits, 8))
    long = np.flatnonzero(fraction_digits > 8)
    mantissa[long] += _integers(words, fraction_end[long] - 8, fraction_digits[long] - 8) * np.uint64(10**8)
    mantissa += _integers(words, whole_end, whole_digits) * INTEGER_POWERS.take(fraction_digits, mode="clip")

    exponent = -fraction_digits
    scientific = np.flatnonzero((kinds.take(at) | 32) == ord("e"))
    if len(scientific):
        at_e = at.take(scientific) + 1
        kind = kinds.take(at_e)
        down = (kind == ord("-")) & (digits.take(at_e - 1) == 0)
        at_e += down | ((kind == ord("+")) & (digits.take(at_e - 1) == 0))
        power_digits = digits.take(at_e - 1)
        power = _integers(words, places.take(at_e), power_digits).astype(np.int64)
        exponent[scientific] += np.where(down, -power, power)
        at[scientific] = np.where((power_digits > 0) & (power_digits <= 8), at_e, 0)

    values = mantissa.astype(np.float64)
    values /= POWERS.take(-exponent, mode="clip")
    values *= POWERS.take(exponent, mode="clip")
    np.negative(values, out=values, where=negative)

    ordinary = (at == after) & (mantissa < MAX_EXACT) & (np.abs(exponent) < len(POWERS))
    ordinary &= (whole_digits <= 8) & (fraction_digits < len(INTEGER_POWERS)) & (whole_digits + fraction_digits > 0)
    ordinary &= whole_digits + fraction_digits <= 19  # the mantissa has not run over 64 bits
    odd = np.flatnonzero(~ordinary)
    spans = zip(odd.tolist(), (start + 1 + places[before[odd]]).tolist(), (start + places[after[odd]]).tolist())

    line_ends = np.flatnonzero(kinds == ord("\n"))[1:]
    return values, np.diff(np.searchsorted(before, line_ends), prepend=0), list(spans)


def _integers(words: np.ndarray, ends: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """The integers whose up to eight digits end before `ends`; arbitrary where `digits` says more than eight."""
    unused = (64 - 8 * digits).astype(np.uint64)
    word = words[ends]
    word >>= unused  # shifting by 64 gives 0: no digits, no value
    word <<= unused
    word &= np.uint64(0x0F0F0F0F0F0F0F0F)  # from characters to digits; then pairs, fours and eights of them become one number
    word *= np.uint64(10 * 2**8 + 1)
    word >>= np.uint64(8)
    word &= np.uint64(0x00FF00FF00FF00FF)
    word *= np.uint64(100 * 2**16 + 1)
    word >>= np.uint64(16)
    word &= np.uint64(0x0000FFFF0000FFFF)
    word *= np.uint64(10_000 * 2**32 + 1)
    word >>= np.uint64(32)
    return word


def _read_odd(raw: bytes, begin: int, end: int, place: str, first_line: int, missing: frozenset[bytes]) -> float:
    """The number raw[begin:end], read the slow way."""
    token = raw[begin:end]
    if NUMBER.fullmatch(token):
        return float(token)
    if token in missing or NOT_FINITE.fullmatch(token):
        return np.nan
    line = first_line + raw.count(b"\n", PAD, begin)
    shown = token[:40].decode("utf-8", "replace")
    remedy = "write decimals with a point" if b"," in token else "correct or remove it"
    raise MotionFileError(f"{place}: line {line}: {shown!r} is no number; {remedy}")
