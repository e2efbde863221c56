"""Small corpora that can be learnt in seconds: an emotion is how fast and how far a body sways."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_llm.corpus.store import Corpus
from emotion_llm.motion.layout import Layout, read_layout
from emotion_llm.pretraining.data import mirror, mirror_order
from emotion_llm.pretraining.settings import PretrainSettings
from emotion_llm.pretraining.text_alignment import RANDOM_CLIP
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings
from emotion_llm.skeleton_encoder.encoder import SkeletonEncoder
from tests.helpers.corpora import write_clips

TINY = CtrGcnSettings(widths=(8, 16), strides=(2, 2), channels_per_topology=2)


@pytest.fixture
def layouts() -> tuple[Layout, Layout]:
    return read_layout("kinect_v2_25"), read_layout("emilya_28")


@pytest.fixture
def encoder(layouts) -> SkeletonEncoder:
    """Tiny, with refined topologies and uneven statistics, so that nothing is trivially right."""
    encoder = TINY.build(layouts)
    with torch.no_grad():
        for name, value in encoder.named_parameters():
            if name.endswith(("strength", "bias")):
                value.normal_(std=0.5)
        for name, value in encoder.named_buffers():
            if name.endswith("running_variance") or name.startswith("input_std"):
                value.uniform_(0.5, 2)
            elif name.endswith("running_mean") or name.startswith("input_mean"):
                value.normal_(std=0.2)
    return encoder.eval()


@pytest.fixture
def motion():
    """motion(layout, frames) -> a random walk of every joint, (T, V, 3) float32."""
    random = np.random.default_rng(0)

    def make(layout: Layout, frames: int) -> np.ndarray:
        steps = 0.05 * random.normal(size=(frames, layout.joints, 3))
        return (random.normal(size=(1, layout.joints, 3)) + steps.cumsum(0)).astype(np.float32)

    return make


@pytest.fixture
def make_corpus(tmp_path):
    """make_corpus(name, layout, emotions, clips_per_emotion) -> Corpus under tmp_path / "data"."""

    def make(name: str, layout_name: str, emotions: tuple[str, ...], clips_per_emotion: int, **metadata: object) -> Corpus:
        layout, random = read_layout(layout_name), np.random.default_rng(len(name))
        body = random.normal(size=(1, layout.joints, 3)) * 0.3
        body = (body + mirror(body, mirror_order(layout)))[0]  # as symmetrical as bodies are
        clips = []
        for clip in range(clips_per_emotion * len(emotions)):
            emotion, time = clip % len(emotions), np.arange(random.integers(14, 40)) / 30
            sway = 0.1 * (1 + emotion) * np.sin(2 * np.pi * (0.5 + emotion) * time + random.uniform(0, 6))  # (T,)
            track = body + sway[:, None, None] * body[:, ::-1] + random.normal(size=(len(time), 1, 3)) * 0.002
            clips.append((f"clip{clip:03}", emotions[emotion], f"actor{clip % 4}", None, track))
        return write_clips(tmp_path / "data" / name, layout, clips, emotions, **metadata)

    return make


@pytest.fixture
def two_corpora(make_corpus) -> tuple[Corpus, Corpus]:
    """Two layouts, label sets that overlap."""
    return make_corpus("one", "kinect_v2_25", ("anger", "joy"), 12), make_corpus("two", "emilya_28", ("joy", "sadness"), 12)


@pytest.fixture
def settings(tmp_path) -> PretrainSettings:
    """A few seconds of pre-training on `two_corpora`."""
    return replace(
        PretrainSettings(), run=Path(tmp_path / "run"), data=tmp_path / "data", corpora=("one", "two"), encoder=TINY, window_frames=24,
        epochs=4, global_batch=8, milestones=(3,), warmup_epochs=1, text_encoder=RANDOM_CLIP, evaluate_every=2,
    )  # fmt: skip
