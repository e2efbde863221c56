"""Names the emotion of a movement while it goes on: frames as JSON lines in, an answer per second as JSON lines out.

    sensor_bridge | python launch/stream.py --run runs/description                                     # standard input
    python launch/stream.py udp:9000 --run runs/description --output answers.jsonl                     # or websocket:9000, from this machine only
    python launch/stream.py --no-live --run runs/description < frames.jsonl                            # a recording: every second is answered

A frame is {"time": seconds, "positions": [[x, y, z], ...]} with the layout's joints in its order, or {"time": ..., "joints": {"Head": [...]}}.

Exit status: 0 the source has ended; 2 nothing was done, one line says why; 3 the source has fallen silent.
"""

import contextlib
import os
import sys

from emotion_llm.runtime.console import parse_settings, run, say
from emotion_llm.runtime.imports import collection_paused
from emotion_llm.runtime.processes import start_processes
from emotion_llm.streaming.connections import Outbox, open_source
from emotion_llm.streaming.session import PRESETS, SILENT_STATUS, StreamSettings, Tally, run_session


def main() -> None:
    settings = parse_settings(PRESETS, __doc__)
    with contextlib.redirect_stdout(sys.stderr):
        tally = answer_stream(settings)
        say(tally.text())
    sys.stderr.flush()
    os._exit(SILENT_STATUS if tally.silent else 0)  # a thread may still wait for standard input


def answer_stream(settings: StreamSettings) -> Tally:
    with collection_paused():
        from emotion_llm.inference.trained_model import TrainedModel
    from emotion_llm.inference.trained_run import find_run
    from emotion_llm.streaming.stream import Stream

    found = find_run(settings.run, encoder_share=settings.encoder_share)
    inbox, stop = open_source(settings.source, settings.live)
    model = TrainedModel.of(found, settings.llm, start_processes())
    say(f"{model.title}; reading frames from {settings.source}")
    stream = Stream(model, settings, settings.every, settings.seconds_between_explanations)
    assert sys.__stdout__ is not None
    try:
        return run_session(inbox, stream, Outbox(sys.__stdout__, settings.output), settings.live, settings.timeout)
    finally:
        stop()


if __name__ == "__main__":
    run(main)
