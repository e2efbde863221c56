"""Corpora written to disk without reading a motion file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emotion_llm.corpus.store import (
    CLIP_FIELDS,
    Corpus,
    clip_hash,
    data_hash,
    movement_hash,
    movement_number,
    open_corpus,
    texts_hash,
    write_corpus,
    write_positions,
)
from emotion_llm.motion.layout import Layout, layout_to_dict

Clip = tuple[str, str, str | None, str | None, np.ndarray]
"""Name, emotion, actor, action, positions (T, V, 3) in metres."""


def write_clips(folder: Path, layout: Layout, clips: Sequence[Clip], emotions: Sequence[str], **metadata: object) -> Corpus:
    """A corpus in a new folder that has its name; more metadata replaces the usual."""
    folder.mkdir(parents=True)
    actors, actions = (sorted({clip[place] for clip in clips} - {None}) for place in (2, 3))
    tracks = [np.asarray(clip[4], np.float32) for clip in clips]
    movements = [movement_hash(track) for track in tracks]
    starts = np.cumsum([0, *map(len, tracks)])
    rows = []
    for (_, emotion, actor, action, _), start, track, movement in zip(clips, starts[:-1], tracks, movements, strict=True):
        numbers = (emotions.index(emotion), actors.index(actor) if actor else -1, actions.index(action) if action else -1, -1)
        rows.append((start, len(track), *numbers, movement_number(movement)))
    hashes = [clip_hash(*clip[1:4], -1, movement) for clip, movement in zip(clips, movements, strict=True)]
    usual = {
        "name": folder.name, "frames_per_second": 30.0, "emotions": emotions, "actors": actors, "actions": actions,
        "canonical": {}, "reading": {}, "layout": layout_to_dict(layout),
        "data_hash": data_hash(layout, emotions, 30.0, {}, hashes), "texts_hash": texts_hash(()),
    }  # fmt: skip
    write_positions(folder / "positions.npy", tracks, layout.joints)
    write_corpus(folder, usual | metadata, np.array(rows, CLIP_FIELDS), [clip[0] for clip in clips], texts={})
    return open_corpus(folder)
