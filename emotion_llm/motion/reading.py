"""Motion files of all supported formats.

path  ->  RecordedMotion
"""

from pathlib import Path

from emotion_llm.motion.arrays import parse_array
from emotion_llm.motion.bvh import parse_bvh
from emotion_llm.motion.motion import MotionFileError, RecordedMotion
from emotion_llm.motion.table import TableColumns, parse_table

TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".dat")
ENDINGS = (".bvh", *TABLE_ENDINGS, ".npy", ".npz")


def read_motion_file(path: Path, columns: TableColumns | None = None) -> RecordedMotion:
    """The motion in a file; the format follows from its extension.

    Args:
        columns: of tables and arrays; None: the defaults.

    Raises:
        MotionFileError: it cannot be read; names the file, the place in it and the remedy.
    """
    ending, place = path.suffix.lower(), str(path)
    if ending not in ENDINGS:
        raise MotionFileError(f"{path}: '{ending}' is not the extension of a motion file; export the motion as one of {', '.join(ENDINGS)}")
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        reason = getattr(error, "strerror", None) or str(error)
        raise MotionFileError(f"{path}: cannot be read ({reason}); check the path and its permissions") from None
    if ending == ".bvh":
        return parse_bvh(data, place)
    return (parse_table if ending in TABLE_ENDINGS else parse_array)(data, columns or TableColumns(), place)
