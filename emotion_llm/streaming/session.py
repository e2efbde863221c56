"""From the first frame to the last.

Inbox, Stream, Outbox  ->  answers as JSON lines until the source ends or falls silent
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from pydantic.dataclasses import dataclass as validated_dataclass

from emotion_llm.inference.recordings import ReadingChoices
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.output import BestEffort, printable
from emotion_llm.runtime.validation import STRICT, Positive, Share
from emotion_llm.streaming.connections import Inbox, Outbox
from emotion_llm.streaming.stream import Stream

POLL_SECONDS = 0.2
SILENT_STATUS = 3
"""Exit status after a source that fell silent without ending."""


@validated_dataclass(frozen=True, config=STRICT)
class StreamSettings(ReadingChoices):
    """Where frames come from, and how often they are answered."""

    source: Annotated[str, tyro.conf.Positional] = "-"
    """"-" for standard input, udp:PORT or websocket:PORT on the loopback interface (127.0.0.1)."""
    run: Path = Path("runs/description")
    """Run folder of launch/finetune.py, one of its checkpoints, or a folder of launch/export.py."""
    every: Positive = 1.0
    """Seconds of the stream from one answer to the next."""
    explain: bool = True
    """Explain the emotion when it changes."""
    explain_every: Positive = 10.0
    """Seconds between two explanations, at least: one takes as long as many answers."""
    live: bool = True
    """Answer the newest frames and skip moments where frames come faster than answers. --no-live answers every moment of a recording."""
    timeout: Positive = 60.0
    """Seconds without a frame after which the source is taken to be gone."""
    output: Path | None = None
    """File that the answers are added to as well, before anybody reads them."""
    llm: str | None = None
    """Name or folder of the base LLM, if it has moved since training."""
    encoder_share: Share | None = None
    """Weight of the encoder's classifier in the answers, by default that of the run's settings; 0: the LLM alone, as in the paper."""

    @property
    def seconds_between_explanations(self) -> float:
        return self.explain_every if self.explain else math.inf


PRESETS = {
    "default": StreamSettings(),
    "demo": StreamSettings(run=Path("runs/demo/description")),
    "smollm2": StreamSettings(run=Path("runs/bandai-namco-2/description")),
}


@dataclass
class Tally:
    """What happened in a session."""

    lines: int = 0
    malformed: int = 0
    delays: list[float] = field(default_factory=list)
    """Seconds from the newest frame's arrival to its answer."""
    skipped: int = 0
    silent: bool = False
    """The source did not end, but sent nothing any more."""

    def text(self) -> str:
        """In one line."""
        delay = "" if not self.delays else ", delay p50 {:.2f} s, p99 {:.2f} s".format(*np.percentile(self.delays, (50, 99)))
        parts = f"{self.lines:,} lines, {self.malformed:,} malformed; {len(self.delays):,} answers{delay}, {self.skipped:,} moments skipped"
        return parts + ("; the source has fallen silent" if self.silent else "")


def run_session(inbox: Inbox, stream: Stream, outbox: Outbox, live: bool, timeout: float) -> Tally:
    """Answers until the source ends, falls silent, or nobody is left to see the answers. Answers given are never lost."""
    tally, notices = Tally(), _Notices()
    arrived = quiet_since = time.monotonic()
    try:
        while not (inbox.has_ended or outbox.is_useless):
            lines = inbox.take(POLL_SECONDS)
            for line, arrived in lines:
                tally.lines += 1
                malformed = stream.malformed
                notices.show(stream.add(line))
                tally.malformed += stream.malformed - malformed
                if not live and stream.is_due:
                    _give(stream, outbox, tally, notices, arrived)
                    if outbox.is_useless:
                        break
            if live and stream.is_due:
                _give(stream, outbox, tally, notices, arrived)
            if lines:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > timeout:
                tally.silent = True
                break
        if stream.has_news and not outbox.is_useless:
            _give(stream, outbox, tally, notices, arrived)
    finally:
        notices.end()
        outbox.close()
    return tally


def _give(stream: Stream, outbox: Outbox, tally: Tally, notices: _Notices, arrived: float) -> None:
    try:
        answer = stream.answer()
    except UserError as error:  # a stream goes on
        notices.show(f"no answer: {error}")
        return
    delay = time.monotonic() - arrived
    outbox.write(json.dumps(replace(answer, delay=round(delay, 3)).to_dict(), ensure_ascii=False))
    tally.delays.append(delay)
    tally.skipped += answer.skipped


class _Notices:
    """Notices on standard error; one that repeats is counted, not printed again."""

    def __init__(self) -> None:
        self._kind, self._repeats = "", 0

    def show(self, notice: str | None) -> None:
        if notice is None:
            return
        kind = notice[:30]
        if kind == self._kind:
            self._repeats += 1
            return
        self.end()
        self._kind = kind
        BestEffort(sys.stderr).write(printable(notice[:300], keep="") + "\n")

    def end(self) -> None:
        if self._repeats:
            BestEffort(sys.stderr).write(f"(and {self._repeats:,} more like this)\n")
        self._kind, self._repeats = "", 0
