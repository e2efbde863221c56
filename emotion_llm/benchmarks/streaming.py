"""A live stream answered once a second: how long an answer takes, and how many seconds of the stream a second of computing answers.

LLM shape  ->  Measurement: real-time factor, p50 and p99 of the seconds per answer, seconds of an explanation
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import torch

from emotion_llm.benchmarks.measurement import Measurement, machine
from emotion_llm.benchmarks.workload import LlmShape, build_model
from emotion_llm.inference.answer import Answer
from emotion_llm.inference.recordings import ReadingChoices
from emotion_llm.inference.trained_model import TrainedModel
from emotion_llm.language.prompts import Prompt, PromptWriter
from emotion_llm.motion.canonical import CanonicalSettings
from emotion_llm.motion.layout import read_layout
from emotion_llm.pretraining.settings import PretrainSettings
from emotion_llm.pretraining.trained_encoder import TrainedEncoder
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings
from emotion_llm.streaming.stream import Stream
from emotion_llm.synthetic.corpora import EGBM, kinect_positions, takes
from emotion_llm.training.checkpoint import Checkpoint

EMOTIONS = tuple(EGBM.emotions.values())
LAYOUT = EGBM.layout
RATE = 30.0
"""Frames per second of the stream: a Kinect's."""


class RandomPrompts:
    """Prompts of random text tokens, as many as in the real ones: speed depends on their number, not on the words."""

    def __init__(self, shape: LlmShape) -> None:
        random = np.random.default_rng(0)
        self._before, self._after = (tuple(random.integers(1, shape.vocabulary, tokens).tolist()) for tokens in shape.prompt_tokens)
        self._added = tuple(random.integers(1, shape.vocabulary, shape.emotion_tokens).tolist())
        self._answers = {name: tuple(random.integers(1, shape.vocabulary, 2 + len(name) % 2).tolist()) for name in EMOTIONS}

    def recognition(self) -> Prompt:
        return Prompt(self._before, self._after)

    def description(self, emotion: str) -> Prompt:
        return Prompt(self._before, self._after + self._added)

    def answer(self, text: str) -> tuple[int, ...]:
        return self._answers[text]

    def decode(self, token_ids: list[int]) -> str:
        return str(len(token_ids))


def measure_stream(shape: LlmShape, seconds: int = 60) -> Measurement:
    """Frames of 25 joints at 30 per second through parsing, window, canonical form, encoder of the paper's preset and label scoring; one
    answer per second of the stream, as fast as they can be computed. Weights are random.

    Args:
        seconds: of the stream.
    """
    model = random_model(shape)
    lines = stream_lines(seconds + 3)
    stream = Stream(model, ReadingChoices(), every=1.0, explain_every=math.inf)
    answers: list[float] = []
    begin = time.perf_counter()
    for number, line in enumerate(lines):
        stream.add(line)
        if stream.is_due:
            start = time.perf_counter()
            stream.answer()
            answers.append(time.perf_counter() - start)
        if number == round(3 * RATE):  # the first answers warm up
            begin, answers = time.perf_counter(), []
    factor = seconds / (time.perf_counter() - begin)
    p50, p99 = np.percentile(answers, (50, 99))
    positions = np.array([json.loads(line)["positions"] for line in lines[: 2 * round(RATE)]])
    recording = model.open(positions, RATE)
    (windows,) = model.encode([recording])
    answer = Answer(recording.name, recording.corpus, EMOTIONS[0], {}, None)
    start = time.perf_counter()
    (answer,) = model.explain([answer], [recording], [windows[:1]])
    explained = time.perf_counter() - start
    return Measurement(
        name=f"live stream, {shape.name}",
        ratio=factor,
        low=1 / max(answers),
        high=1 / min(answers),
        unit="seconds of the stream per second of computing",
        compared=f"{len(answers)} answers, one per second of {RATE:g} frames of 25 joints: p50 {p50:.3f} s, p99 {p99:.3f} s; "
        f"an explanation of {answer.explanation} tokens: {explained:.2f} s",
        machine=machine(),
    )


def random_model(shape: LlmShape) -> TrainedModel:
    """A model of that shape with the paper preset's encoder, for one layout."""
    layout, settings = read_layout(LAYOUT), PretrainSettings()
    encoder = CtrGcnSettings().build([layout]).eval().requires_grad_(False)
    canonical = CanonicalSettings()
    record = {"layout": LAYOUT, "emotions": EMOTIONS, "canonical": asdict(canonical)}
    checkpoint = Checkpoint(Path(), 0, 0, {"settings": {"stage": "description"}, "corpora": {"egbm": record}})
    trained = SimpleNamespace(
        encoder=encoder, layout_index=lambda layout: 0,
        record=SimpleNamespace(window_frames=settings.window_frames, frames_per_second=canonical.frames_per_second),
    )  # fmt: skip
    prompts = cast(PromptWriter, RandomPrompts(shape))
    return TrainedModel(
        checkpoint, cast(TrainedEncoder, trained), Path(), False, False, build_model(shape).eval(), prompts, torch.device("cpu")
    )


def stream_lines(seconds: float) -> list[str]:
    """Frames of synthetic recordings, forwards and backwards, at the stream's rate."""
    positions = kinect_positions(next(takes(EGBM, 1, 0)))  # (T, 25, 3) metres
    there_and_back = np.concatenate([positions, positions[::-1]])
    return [
        json.dumps({"time": index / RATE, "positions": there_and_back[index % len(there_and_back)].round(4).tolist()})
        for index in range(round(seconds * RATE))
    ]
