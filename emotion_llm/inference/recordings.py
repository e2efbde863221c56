"""Recordings as a trained model reads them: with the conventions of the training corpus that they fit.

motion file, or array with its frame rate  ->  Recording: Motion as recorded, canonical Motion, label set, findings

Imports no torch: a file that cannot be read is refused before anything large is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emotion_llm.motion.canonical import CanonicalSettings, canonicalise, to_motion
from emotion_llm.motion.checks import check_clip, gross_failure
from emotion_llm.motion.layout import Layout
from emotion_llm.motion.motion import Motion, RecordedMotion
from emotion_llm.motion.reading import ENDINGS, read_motion_file
from emotion_llm.motion.table import table_columns_from_dict
from emotion_llm.runtime.errors import UserError

MIN_FRAMES, SHORT_SECONDS = 8, 1.0
"""A clip of fewer frames at the model's rate is refused, a shorter one than this gets a note (our choice)."""


@dataclass(frozen=True)
class Conventions:
    """What a run knows about the corpora it was trained on."""

    corpora: Mapping[str, Mapping[str, Any]]
    """Corpus name -> record (corpus/provenance.py): layout, label set, canonical form, and how its files are read."""
    layouts: Mapping[str, Layout]


@dataclass(frozen=True)
class ReadingChoices:
    """What the user says about a file, against the conventions of its corpus."""

    corpus: str | None = None
    """The training corpus that it is like; None: the one that it fits."""
    frames_per_second: float | None = None
    """Replaces the rate in the file."""
    metres_per_unit: float | None = None
    up: str | None = None
    """The axis that points up: 'x', 'y', 'z', or with a minus sign the one that points down."""


AS_RECORDED = ReadingChoices()
"""Nothing is said: the file and its corpus tell."""


@dataclass(frozen=True)
class Recording:
    """One recording, ready for the model."""

    name: str
    """The file, or the name that the caller gave."""
    corpus: str
    """The training corpus whose conventions and label set apply."""
    emotions: tuple[str, ...]
    """Label set of that corpus."""
    motion: Motion
    """As recorded: metres, Y up, (T, V, 3) at the recording's own rate."""
    canonical: Motion
    """What the model sees."""
    findings: tuple[str, ...]
    """What looks wrong, in words."""


def open_recording(path: Path, conventions: Conventions, choices: ReadingChoices = AS_RECORDED) -> Recording:
    """Reads a motion file.

    Raises:
        UserError: no such file, it cannot be read, fits none or several of the training corpora, or is too short.
    """
    corpus, motion, notes = read_fitting(path, conventions, choices)
    return recording_of_motion(motion, corpus, conventions, str(path), notes)


def read_fitting(path: Path, conventions: Conventions, choices: ReadingChoices = AS_RECORDED) -> tuple[str, Motion, tuple[str, ...]]:
    """The training corpus that a file fits, its motion as recorded, and notes on the reading.

    Raises:
        UserError: no such file, it cannot be read, or it fits none or several of the training corpora.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such motion file")
    fitting: dict[str, tuple[Motion, tuple[str, ...]]] = {}
    faults = []
    for corpus in _candidates(conventions, choices.corpus):
        reading = conventions.corpora[corpus]["reading"]
        try:
            recorded = read_motion_file(path, table_columns_from_dict(reading["columns"], place=corpus))
            layout, notes = conventions.layouts[conventions.corpora[corpus]["layout"]], recorded.notes
            if choices.frames_per_second is not None:
                recorded = replace(recorded, frames_per_second=choices.frames_per_second)
            elif recorded.frames_per_second is None and reading["frames_per_second"] is not None:
                assumed = f"assumed {reading['frames_per_second']:g} frames per second, the rate of corpus '{corpus}'"
                notes = (*notes, f"the file does not state its frame rate: {assumed}; set it with --frames-per-second")
            metres, up = choices.metres_per_unit or reading["metres_per_unit"], choices.up or reading["up"]
            units = metres, up, reading["frames_per_second"]
            motion = to_motion(recorded, layout, *units, place=str(path), handedness=reading.get("handedness", "right"))
            fitting[corpus] = motion, notes
        except UserError as error:
            faults.append(str(error))
    if not fitting:
        if len(set(faults)) == 1:
            raise UserError(faults[0])
        shapes = ", ".join(f"{record['layout']} (corpus '{corpus}')" for corpus, record in conventions.corpora.items())
        raise UserError(f"{path}: fits none of the layouts that the run was trained on: {shapes}; with the first of them: {faults[0]}")
    if len(fitting) > 1:
        raise UserError(f"{path}: fits several training corpora; say which it is like: --corpus {' or --corpus '.join(fitting)}")
    corpus, (motion, notes) = next(iter(fitting.items()))
    return corpus, motion, notes


def recording_of_array(
    positions: np.ndarray,
    frames_per_second: float,
    conventions: Conventions,
    layout: str | None = None,
    choices: ReadingChoices = AS_RECORDED,
    name: str = "array",
) -> Recording:
    """Positions that are in memory already; see `motion_of_array`.

    Raises:
        UserError: as `motion_of_array`; gaps that are too long, or too few frames.
    """
    corpus, motion = motion_of_array(positions, frames_per_second, conventions, layout, choices, name)
    return recording_of_motion(motion, corpus, conventions, name)


def motion_of_array(
    positions: np.ndarray,
    frames_per_second: float,
    conventions: Conventions,
    layout: str | None = None,
    choices: ReadingChoices = AS_RECORDED,
    name: str = "array",
) -> tuple[str, Motion]:
    """The training corpus that positions in memory fit, and their motion.

    Args:
        layout: name of the layout whose joints the array holds, in its order; by default the training layout with as many joints.
        choices: unit and up axis; by default metres and Y up.

    Shape:
        positions (T, V, 3)

    Raises:
        UserError: another shape, a layout that the run does not know, or no corpus or several that fit.
    """
    positions = np.asarray(positions, dtype=np.float64)
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise UserError(f"{name}: its shape is {positions.shape}; give positions as (frames, joints, 3)")
    if layout is not None and layout not in conventions.layouts:
        raise UserError(f"{name}: layout '{layout}' is not known to the run; it knows {', '.join(conventions.layouts)}")
    fitting = [
        corpus
        for corpus in _candidates(conventions, choices.corpus)
        if conventions.corpora[corpus]["layout"] == layout
        or (layout is None and conventions.layouts[conventions.corpora[corpus]["layout"]].joints == positions.shape[1])
    ]
    if not fitting:
        known = ", ".join(f"{known.name} ({known.joints} joints)" for known in conventions.layouts.values())
        raise UserError(f"{name}: no training corpus has a layout of {positions.shape[1]} joints; the run knows {known}")
    if len(fitting) > 1:
        raise UserError(f"{name}: fits several training corpora; say which it is like: corpus='{fitting[0]}' or corpus='{fitting[1]}'")
    recorded = RecordedMotion(None, None, positions, frames_per_second)
    known_layout = conventions.layouts[conventions.corpora[fitting[0]]["layout"]]
    return fitting[0], to_motion(recorded, known_layout, choices.metres_per_unit or 1.0, choices.up or "y", None, place=name)


def recording_of_motion(motion: Motion, corpus: str, conventions: Conventions, name: str, notes: tuple[str, ...] = ()) -> Recording:
    """A motion on a known layout, made canonical as its corpus was, with findings.

    Raises:
        UserError: positions that no body can have, gaps that are too long, or too few frames; names the recording.
    """
    record = conventions.corpora[corpus]
    if failure := gross_failure(motion):
        raise UserError(f"{name}: {failure}")
    canonical = canonicalise(motion, CanonicalSettings(**record["canonical"]), place=name)
    frames, rate = len(canonical.positions), canonical.frames_per_second
    if frames < MIN_FRAMES:
        raise UserError(
            f"{name}: {frames} frames at {rate:g} per second are too few to judge; give at least {MIN_FRAMES}, or the clip's true rate "
            "with --frames-per-second"
        )
    if frames / rate < SHORT_SECONDS:
        notes = (*notes, f"only {frames / rate:.2f} s long: the answer rests on little movement")
    return Recording(name, corpus, tuple(record["emotions"]), motion, canonical, (*notes, *check_clip(motion)))


def find_clips(words: tuple[str, ...]) -> list[Path]:
    """The motion files that files, folders (searched to any depth) and patterns (`*`, `**`) name: each once, sorted within a word.

    Raises:
        UserError: a word that names nothing, or a folder without motion files.
    """
    found: dict[Path, None] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
            if not inside:
                raise UserError(f"{word}: no motion file in this folder; they end in {', '.join(ENDINGS)}")
        elif path.is_file() or not any(sign in word for sign in "*?["):
            inside = [path]
            if not path.is_file():
                raise UserError(f"{word}: no such motion file")
        else:
            inside = sorted(file for file in _matches(path) if file.is_file())
            if not inside:
                raise UserError(f"{word}: no file matches this pattern")
        found |= dict.fromkeys(inside)
    return list(found)


def _matches(pattern: Path) -> Iterator[Path]:
    fixed = next(index for index, part in enumerate(pattern.parts) if any(sign in part for sign in "*?["))
    return Path(*pattern.parts[:fixed]).glob(str(Path(*pattern.parts[fixed:])))


def _candidates(conventions: Conventions, named: str | None) -> list[str]:
    if named is not None and named not in conventions.corpora:
        raise UserError(f"--corpus {named}: the run was trained on {', '.join(conventions.corpora)}; choose one of them")
    return list(conventions.corpora) if named is None else [named]
