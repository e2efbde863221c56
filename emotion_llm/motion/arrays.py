"""NumPy files of joint positions.

.npy or .npz: (T, V, 3 or more), or a table (T, columns) with its TableColumns  ->  RecordedMotion

Read from the file's bytes without NumPy's own reader: no pickle, and no allocation before the size that the header
declares was held against the bytes that are there.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from emotion_llm.motion.layout import MAX_JOINTS
from emotion_llm.motion.motion import MotionFileError, RecordedMotion
from emotion_llm.motion.table import TableColumns, motion_of_rows
from emotion_llm.motion.text import read_bytes

MAGIC = b"\x93NUMPY"
TYPE = re.compile(rb"'descr'\s*:\s*'([<>|=]?(?:f[248]|[iu][1248]))'")
ORDER = re.compile(rb"'fortran_order'\s*:\s*(True|False)")
SHAPE = re.compile(rb"'shape'\s*:\s*\(\s*([0-9]{1,12}(?:\s*,\s*[0-9]{1,12}){0,7})\s*,?\s*\)")
MAX_HEADER = 10_000
"""Bytes; NumPy's own limit."""
MAX_EXPANSION = 100
"""Times that an array in an .npz file may be larger than the file: real motion compresses to about a third, a zip bomb to a thousandth."""


def read_array(path: Path, columns: TableColumns) -> RecordedMotion:
    """The motion in an .npy or .npz file.

    Raises:
        MotionFileError: it cannot be read; names the file and the remedy.
    """
    return parse_array(read_bytes(Path(path)), columns, place=str(path))


def parse_array(data: bytes, columns: TableColumns, place: str) -> RecordedMotion:
    """The motion in the bytes of an .npy or .npz file; `place` names the file in error messages."""
    array = _array(_member(data, columns.array, place) if data.startswith(b"PK") else data, place)
    if array.ndim == 2:
        return motion_of_rows(array.astype(np.float64), None, columns, place)
    if array.ndim != 3 or not (0 < array.shape[1] <= MAX_JOINTS and array.shape[2] >= 3):
        raise MotionFileError(
            f"{place}: its array has the shape {array.shape}; save positions as (frames, joints, 3), or a table (frames, columns)"
        )
    rows = array.reshape(len(array), -1)
    by_position = TableColumns(joints=columns.joints, stride=array.shape[2], axes=columns.axes, missing=columns.missing)
    return motion_of_rows(rows.astype(np.float64), None, by_position, place)


def _array(data: bytes, place: str) -> np.ndarray:
    """The array in the bytes of an .npy file: a view of them."""
    if not data.startswith(MAGIC) or len(data) < 12:
        raise MotionFileError(f"{place}: no NumPy array; write it with numpy.save or numpy.savez")
    begin = 10 if data[6] == 1 else 12  # the header's length is a 16-bit number in version 1, a 32-bit number since
    size = int.from_bytes(data[8:begin], "little")
    start = begin + size
    header = data[begin:start]
    kind, order, shape = TYPE.search(header), ORDER.search(header), SHAPE.search(header)
    if size > MAX_HEADER or not (kind and order and shape):
        raise MotionFileError(f"{place}: not an array of plain numbers; save positions as float32 or float64 with numpy.save")
    dtype = np.dtype(kind[1].decode())
    lengths = tuple(int(length) for length in shape[1].split(b","))
    if 0 in lengths:
        raise MotionFileError(f"{place}: its array has the shape {lengths}, so it holds no frame; save the motion again")
    wanted = math.prod(lengths) * dtype.itemsize
    if wanted != len(data) - start:
        raise MotionFileError(
            f"{place}: its header declares {wanted} bytes of numbers, {len(data) - start} follow; save or copy the file again"
        )
    return np.frombuffer(data, dtype, offset=start).reshape(lengths, order="F" if order[1] == b"True" else "C")


def _member(data: bytes, name: str, place: str) -> bytes:
    """The .npy file of that name inside an .npz file; the only one, where there is just one."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            chosen = [member for member in members if member.filename == f"{name}.npy"] or members
            if len(chosen) != 1:
                holds = ", ".join(member.filename.removesuffix(".npy") for member in members[:10])
                raise MotionFileError(f"{place}: holds no array '{name}' but {holds or 'none'}; set array of the table columns")
            limit = MAX_EXPANSION * len(data)
            with archive.open(chosen[0]) as stream:
                content = stream.read(limit + 1)
    except MotionFileError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError, IndexError) as error:
        raise MotionFileError(f"{place}: a damaged .npz file ({str(error)[:80]}); save or copy it again") from None
    if len(content) > limit:
        raise MotionFileError(
            f"{place}: its array is over {MAX_EXPANSION} times larger than the file; save it uncompressed with numpy.savez"
        )
    return content
