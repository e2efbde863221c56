"""How importing and opening a corpus grow with its number of clips.

two numbers of clips  ->  synthetic corpora of that size, imported and opened  ->  Measurements of seconds and peak memory
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotion_llm.benchmarks.measurement import Measurement, machine_name
from emotion_llm.corpus.definition import CorpusDefinition, definition_from_dict
from emotion_llm.corpus.importing import import_corpus
from emotion_llm.corpus.store import open_corpus
from emotion_llm.motion.canonical import CanonicalSettings
from emotion_llm.synthetic.corpora import EGBM, kinect_positions, takes

FRAMES = 8
"""Frames per clip: the clips are tiny, their number is what is measured."""
FILES_PER_FOLDER = 1000
DEFINITION = {
    "name": "scale", "layout": "kinect_v2_25", "metres_per_unit": 1.0, "frames_per_second": 30, "files": ["*.npy"],
    "patterns": ["(?P<actor>\\d+)/(?P<emotion>[a-z]+)_(?P<take>\\d+)\\.npy"],
    "labels": {"emotion": {"anger": "anger", "joy": "joy", "sadness": "sadness", "neutral": "neutral"}},
}  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What one step cost a process of its own."""

    seconds: float
    megabytes: float
    """Peak of the process, or of its largest worker if that is more."""


def measure(clips: tuple[int, int] = (1_000, 100_000), workers: int = 2) -> list[Measurement]:
    """Imports, imports again and opens a corpus of each size, every step in a fresh process."""
    costs = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in clips:
            source, output = Path(folder) / f"raw{count}", Path(folder) / f"data{count}"
            write_clips(source, count)
            costs[count] = {step: _in_a_fresh_process(step, source, output, workers) for step in ("import", "import again", "open")}
    few, many = clips
    return [
        record
        for step in costs[few]
        for record in (
            _growth(step, "seconds", few, costs[few][step].seconds, many, costs[many][step].seconds),
            _growth(step, "megabytes", few, costs[few][step].megabytes, many, costs[many][step].megabytes),
        )
    ]


def write_clips(source: Path, clips: int) -> None:
    """Writes that many different clips as small .npy files, a thousand per folder; each folder is an actor."""
    body = kinect_positions(next(takes(EGBM, 1, seed=0))).astype(np.float32)  # (T, 25, 3)
    emotions, rng = tuple(DEFINITION["labels"]["emotion"]), np.random.default_rng(0)
    for first in range(0, clips, FILES_PER_FOLDER):
        folder = source / f"{first // FILES_PER_FOLDER:03}"
        folder.mkdir(parents=True)
        for index in range(first, min(first + FILES_PER_FOLDER, clips)):
            start = rng.integers(len(body) - FRAMES)
            noise = rng.normal(scale=0.002, size=(FRAMES, *body.shape[1:])).astype(np.float32)
            np.save(folder / f"{emotions[index % len(emotions)]}_{index - first}.npy", body[start : start + FRAMES] + noise)


def definition() -> CorpusDefinition:
    return definition_from_dict(DEFINITION, Path("scale.json"))


def _growth(step: str, unit: str, few: int, cost_of_few: float, many: int, cost_of_many: float) -> Measurement:
    """How many times slower the cost grows than the number of clips."""
    ratio = (many / few) / (cost_of_many / cost_of_few)
    return Measurement(
        name=f"corpus: {step}, growth of {unit} with clips",
        ratio=ratio,
        low=ratio,
        high=ratio,
        unit=f"times that {unit} grow slower than clips",
        compared=f"{few:,} clips of {FRAMES} frames: {cost_of_few:.2f} {unit}; {many:,} clips: {cost_of_many:.2f} {unit}",
        machine=machine_name(),
    )


def _in_a_fresh_process(step: str, source: Path, output: Path, workers: int) -> Cost:
    command = [sys.executable, "-m", "emotion_llm.benchmarks.corpus_scale", step, str(source), str(output), str(workers)]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(**json.loads(ended.stdout.splitlines()[-1]))


def _run(step: str, source: Path, output: Path, workers: int) -> None:
    """In the fresh process: one step, and what it cost as the last line printed."""
    start = time.perf_counter()
    if step == "open":
        corpus = open_corpus(output / "scale")
        for index in range(0, len(corpus), max(1, len(corpus) // 100)):  # look into a hundred clips
            corpus.clip(index), corpus.positions(index).mean()
    else:
        import_corpus(definition(), source, output, CanonicalSettings(), workers)
    seconds = time.perf_counter() - start
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"seconds": seconds, "megabytes": peak / 1024}))


if __name__ == "__main__":
    _run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
