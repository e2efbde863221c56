"""Motion files of all supported formats.

path  ->  RecordedMotion
"""

from __future__ import annotations

from pathlib import Path

from emotion_llm.motion.arrays import read_array
from emotion_llm.motion.bvh import read_bvh
from emotion_llm.motion.motion import MotionFileError, RecordedMotion
from emotion_llm.motion.table import TableColumns, read_table

TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".dat")
ARRAY_ENDINGS = (".npy", ".npz")
ENDINGS = (".bvh", *TABLE_ENDINGS, *ARRAY_ENDINGS)


def read_motion_file(path: Path, columns: TableColumns | None = None) -> RecordedMotion:
    """The motion in a file; the format follows from its extension.

    Args:
        columns: of tables and arrays; None: the defaults.

    Raises:
        MotionFileError: it cannot be read; names the file, the place in it and the remedy.
    """
    ending = Path(path).suffix.lower()
    if ending == ".bvh":
        return read_bvh(path)
    if ending in TABLE_ENDINGS:
        return read_table(path, columns or TableColumns())
    if ending in ARRAY_ENDINGS:
        return read_array(path, columns or TableColumns())
    raise MotionFileError(f"{path}: '{ending}' is not the extension of a motion file; export the motion as one of {', '.join(ENDINGS)}")
