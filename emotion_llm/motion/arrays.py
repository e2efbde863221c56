"""NumPy files of joint positions.

bytes of an .npy or .npz file: (T, V, 3 or more), or a table (T, columns) with its TableColumns  ->  RecordedMotion

No pickle is loaded, and nothing is allocated before the declared size has been compared with the file's.
"""

import io
import math
import tokenize
import zipfile
import zlib

import numpy as np
from numpy.lib import format as npy_format

from emotion_llm.motion.layout import MAX_JOINTS
from emotion_llm.motion.motion import MotionFileError, RecordedMotion
from emotion_llm.motion.table import TableColumns, motion_of_rows

READ_HEADER = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
MAX_EXPANSION = 100
"""Largest ratio of an array in an .npz file to the file: real motion compresses to about a third, a zip bomb to a thousandth."""


def parse_array(data: bytes, columns: TableColumns, place: str) -> RecordedMotion:
    """The motion in the bytes of an .npy or .npz file; `place` names the file in error messages. Raises MotionFileError."""
    array = _load(_member(data, columns.array, place) if data.startswith(b"PK") else data, place)
    if array.ndim == 2:
        return motion_of_rows(array.astype(np.float64), None, columns, place)
    wanted = f"{place}: its array has the shape {array.shape}; save positions as (frames, joints, 3)"
    if array.ndim == 3 and array.shape[2] != 3 and 3 in array.shape[:2]:
        axis = array.shape.index(3)
        joints, frames = sorted({0, 1, 2} - {axis}, key=lambda other: array.shape[other])  # the longer one is time
        raise MotionFileError(f"{wanted}: numpy.transpose(array, {(frames, joints, axis)})")
    if array.ndim != 3 or not (0 < array.shape[1] <= MAX_JOINTS and array.shape[2] >= 3):
        raise MotionFileError(f"{wanted}, or a table (frames, columns)")
    rows = array.reshape(len(array), -1)
    by_position = TableColumns(joints=columns.joints, stride=array.shape[2], axes=columns.axes, missing=columns.missing)
    return motion_of_rows(rows.astype(np.float64), None, by_position, place)


def _load(data: bytes, place: str) -> np.ndarray:
    """The array in the bytes of an .npy file."""
    stream = io.BytesIO(data)
    try:
        shape, _, dtype = READ_HEADER[npy_format.read_magic(stream)](stream)
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError, Warning, tokenize.TokenError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise MotionFileError(f"{place}: not a NumPy array ({reason}); write it with numpy.save or numpy.savez") from None
    if dtype.kind not in "fiu" or not shape:
        raise MotionFileError(f"{place}: its array holds {dtype} {shape}, not rows of numbers; save positions as float32 or float64")
    if 0 in shape:
        raise MotionFileError(f"{place}: its array has the shape {shape}, so it holds no frame; save the motion again")
    declared, found = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if declared != found:
        raise MotionFileError(f"{place}: its header declares {declared} bytes of numbers, {found} follow; save or copy the file again")
    return np.load(io.BytesIO(data), allow_pickle=False)


def _member(data: bytes, name: str, place: str) -> bytes:
    """The .npy file of that name inside an .npz file; the only one, where there is just one."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist() if member.filename.endswith(".npy")}
            chosen = members.get(name) or (next(iter(members.values())) if len(members) == 1 else None)
            if chosen is None:
                raise MotionFileError(f"{place}: holds no array '{name}' but {', '.join(list(members)[:10]) or 'none'}; set columns.array")
            if chosen.file_size > MAX_EXPANSION * len(data):
                raise MotionFileError(
                    f"{place}: its array is over {MAX_EXPANSION} times larger than the file; save it uncompressed with numpy.savez"
                )
            return archive.read(chosen)  # no more than file_size bytes
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError, IndexError) as error:
        raise MotionFileError(f"{place}: a damaged .npz file ({str(error)[:80]}); save or copy it again") from None
