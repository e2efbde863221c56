"""Where frames come from and where answers go, each in a thread of its own.

standard input, UDP or WebSocket on the loopback interface  ->  Inbox: waiting lines
answers  ->  Outbox: a file first, then standard output, however slowly it is read
"""

from __future__ import annotations

import contextlib
import queue
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from emotion_llm.runtime.errors import UserError
from emotion_llm.streaming.frames import MAX_FRAME_BYTES

if TYPE_CHECKING:
    from websockets.sync.server import Server

LOOPBACK = "127.0.0.1"
MOST_WAITING = 10_000
"""Lines that wait at most."""


class Inbox:
    """Lines that wait to be read, with the times of their arrival (time.monotonic). Safe to share between threads."""

    def __init__(self, live: bool) -> None:
        """
        Args:
            live: where too many lines wait, the oldest are dropped; otherwise the source has to wait.
        """
        self._live, self._lines, self._closed = live, queue.Queue[tuple[bytes | str, float]](MOST_WAITING), threading.Event()

    def put(self, line: bytes | str) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                return self._lines.put((line, time.monotonic()), timeout=0 if self._live else 0.5)
            if self._live:
                with contextlib.suppress(queue.Empty):
                    self._lines.get_nowait()

    def close(self) -> None:
        """No more lines will come."""
        self._closed.set()

    @property
    def has_ended(self) -> bool:
        """Whether the source is closed and all its lines were taken."""
        return self._closed.is_set() and self._lines.empty()

    def take(self, seconds: float) -> list[tuple[bytes | str, float]]:
        """All waiting lines; waits that long for the first."""
        taken: list[tuple[bytes | str, float]] = []
        with contextlib.suppress(queue.Empty):
            taken.append(self._lines.get(timeout=seconds))
            while True:
                taken.append(self._lines.get_nowait())
        return taken


class Outbox:
    """Answers on their way out. What was written is never lost: a slow reader delays nobody, a reader that is gone loses only what it
    would have read, and the file, if there is one, holds every answer before the reader gets it."""

    def __init__(self, stdout: TextIO, file: Path | None) -> None:
        self._stdout, self._queue = stdout, queue.SimpleQueue[str | None]()
        self._file = None if file is None else _opened_for_appending(file)
        self.reader_is_gone = False
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()

    @property
    def is_useless(self) -> bool:
        """Whether nobody will ever see another answer."""
        return self.reader_is_gone and self._file is None

    def write(self, line: str) -> None:
        if self._file is not None:
            self._file.write(line + "\n")
            self._file.flush()
        self._queue.put(line)

    def close(self) -> None:
        """Waits until the reader has taken everything, or is gone."""
        self._queue.put(None)
        self._thread.join()
        if self._file is not None:
            self._file.close()

    def _write_all(self) -> None:
        while (line := self._queue.get()) is not None:
            if self.reader_is_gone:
                continue
            try:
                self._stdout.write(line + "\n")
                self._stdout.flush()
            except (OSError, ValueError):
                self.reader_is_gone = True


def open_source(source: str, live: bool, stdin: BinaryIO | None = None) -> tuple[Inbox, Callable[[], None]]:
    """Starts to read.

    Args:
        source: "-" for standard input, "udp:PORT" or "websocket:PORT" on the loopback interface.

    Returns:
        The inbox, and a function that stops reading.

    Raises:
        UserError: another word, or a port in use.
    """
    inbox = Inbox(live)
    kind, _, port = source.partition(":")
    try:
        if source == "-":
            return inbox, _read_stream(inbox, stdin or sys.stdin.buffer)
        if kind in ("udp", "websocket") and port.isdecimal() and int(port) < 65_536:
            return inbox, {"udp": _read_udp, "websocket": _read_websocket}[kind](inbox, int(port))
    except OSError as error:
        raise UserError(f"--source {source}: cannot listen on {LOOPBACK}, port {port} ({error.strerror}); choose another port") from None
    raise UserError(f"--source {source}: give - for standard input, udp:PORT or websocket:PORT")


def _read_stream(inbox: Inbox, stream: BinaryIO) -> Callable[[], None]:
    def read() -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in iter(lambda: stream.readline(MAX_FRAME_BYTES + 1), b""):
                if line.strip():
                    inbox.put(line)
        inbox.close()

    threading.Thread(target=read, daemon=True).start()
    return inbox.close


def _read_udp(inbox: Inbox, port: int) -> Callable[[], None]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            inbox.put(self.request[0])

    class LargeDatagrams(socketserver.UDPServer):
        max_packet_size = 65_535

    return _serve(LargeDatagrams((LOOPBACK, port), Handler), inbox)


def _read_websocket(inbox: Inbox, port: int) -> Callable[[], None]:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import ServerConnection, serve

    def read(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            for message in connection:
                inbox.put(message)

    # No page in a browser may send frames: it would name its origin.
    return _serve(serve(read, LOOPBACK, port, origins=[None], max_size=MAX_FRAME_BYTES), inbox)


def _serve(server: socketserver.UDPServer | Server, inbox: Inbox) -> Callable[[], None]:
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.socket.close()
        inbox.close()

    return stop


def _opened_for_appending(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output {path}: cannot be written ({error.strerror}); name another file") from None
