"""What a fine-tune has led to, bit for bit: two runs are the same where their outcomes are equal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from emotion_llm.runtime.tensorboard import Tag
from emotion_llm.training.checkpoint import BEST, read_checkpoint


@dataclass(frozen=True)
class Outcome:
    step: int
    weights_and_moments: dict[str, str]
    """File -> SHA-256, of the newest checkpoint."""
    losses: dict[int, float]
    """Step -> loss, as TensorBoard shows them."""
    best: dict
    """best.json."""


def outcome(run: Path) -> Outcome:
    folder = max((run / "checkpoints").glob("step-*"))
    checkpoint, best = read_checkpoint(folder), run / "checkpoints" / BEST
    files = json.loads((folder / "checkpoint.json").read_text())["sha256"]
    return Outcome(checkpoint.step, files, losses(run), json.loads(best.read_text()) if best.is_file() else {})


def losses(run: Path) -> dict[int, float]:
    return curve(run, Tag.LOSS)


def curve(run: Path, name: str) -> dict[int, float]:
    """Step -> value of a curve in TensorBoard."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {event.step: event.value for event in events.Scalars(name)} if name in events.Tags()["scalars"] else {}
