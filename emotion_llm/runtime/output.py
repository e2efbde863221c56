"""Printing that is safe: closed streams, encodings without a character, control characters from files.

text  ->  standard output and standard error
"""

import errno
import io
import os
import sys
import threading
import traceback
import unicodedata
import warnings
from collections.abc import Callable
from typing import TextIO


def prepare_output() -> None:
    """Makes printing safe: with closed streams, with an encoding that lacks a character, and without warnings meant for library authors."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file to be opened would otherwise receive what is printed
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = (
        stream or open(descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends
        for descriptor, stream in ((1, sys.stdout), (2, sys.stderr))
    )
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(errors="backslashreplace")
    threading.excepthook = _print_failure_of_thread
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|transformers|peft|deepspeed)\b.*")
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")  # attributed to our line, not to torch


def _print_failure_of_thread(failed: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread fails with the OSError that its writer raises too, where it becomes a warning."""
    if failed.exc_value is not None and not isinstance(failed.exc_value, OSError):
        print_last("".join(traceback.format_exception(failed.exc_value)).rstrip())


def printable(text: str, keep: str = "\n\t") -> str:
    r"""Text with control characters, direction marks and undecodable bytes escaped (`\x1b`), so that no file can command the terminal.

    Args:
        keep: characters that stay; pass "" for names, which are one line.
    """
    return "".join(
        sign.encode("unicode_escape").decode("ascii") if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") and sign not in keep else sign
        for sign in text
    )  # fmt: skip


class BestEffort:
    """A stream whose write errors do not end the run. What nobody can read any more is discarded."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.encoding, self.fileno = stream, stream.encoding, stream.fileno

    def __eq__(self, other: object) -> bool:  # by which tqdm recognises that bar and messages share a terminal
        return self._stream == getattr(other, "_stream", other)

    def write(self, text: str) -> None:
        self._attempt(self._stream.write, text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            call(*arguments)
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EIO):  # the reader, or the terminal, is gone for good
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def print_last(message: str) -> None:
    """Prints an error message below everything printed before."""
    BestEffort(sys.stdout).flush()
    stderr = BestEffort(sys.stderr)
    stderr.write(printable(message) + "\n")
    stderr.flush()
