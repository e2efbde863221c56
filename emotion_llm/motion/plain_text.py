"""The text of a motion file, whatever program wrote it.

path, or the file's bytes  ->  bytes of plain text: UTF-8 without byte order mark, lines that end in a newline character
"""

from __future__ import annotations

from pathlib import Path

from emotion_llm.motion.motion import MotionFileError

UTF_8_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_bytes(path: Path) -> bytes:
    """The file's content.

    Raises:
        MotionFileError: no such file, or one that may not be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        reason = getattr(error, "strerror", None) or str(error)
        raise MotionFileError(f"{path}: cannot be read ({reason}); check the path and its permissions") from None


def plain_text(data: bytes, place: str) -> bytes:
    """The text in those bytes.

    Raises:
        MotionFileError: they are empty or no text.
    """
    if data.startswith(UTF_16_MARKS):
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(UTF_8_MARK)
    if not data or data.isspace():
        raise MotionFileError(f"{place}: the file is empty; copy or export it again")
    if b"\0" in data:
        raise MotionFileError(f"{place}: not a text file; export the motion as text, or check that the file was copied whole")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data
