"""Corpora written to disk without reading a motion file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emotion_llm.corpus.store import Corpus, StoredClip, movement_hash, open_corpus, write_corpus, write_positions
from emotion_llm.motion.layout import Layout

Clip = tuple[str, str, str | None, str | None, np.ndarray]
"""Name, emotion, actor, action, positions (T, V, 3) in metres."""


def write_clips(folder: Path, layout: Layout, clips: Sequence[Clip], emotions: Sequence[str], **metadata: object) -> Corpus:
    """A corpus in a new folder that has its name; more metadata replaces the usual."""
    folder.mkdir(parents=True)
    tracks = [np.asarray(clip[4], np.float32) for clip in clips]
    stored = [StoredClip(clip[0], len(track), *clip[1:4], -1, movement_hash(track)) for clip, track in zip(clips, tracks, strict=True)]
    write_positions(folder / "positions.npy", tracks, layout.joints)
    usual = {"name": folder.name, "reading": {}, "frames_per_second": 30.0, "canonical": {}}
    write_corpus(folder, layout=layout, emotions=emotions, clips=stored, **(usual | metadata))
    return open_corpus(folder)
