"""Recordings as a trained model reads them: with the conventions of the training corpus that they fit.

motion file, or array with its frame rate  ->  Recording: Motion as recorded, canonical Motion, label set, findings

Imports no torch: a file that cannot be read is refused before anything large is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass

from emotion_llm.motion.canonical import CanonicalSettings, MetresPerUnit, Up, canonicalise, to_motion
from emotion_llm.motion.checks import check_clip, gross_failure
from emotion_llm.motion.layout import Layout
from emotion_llm.motion.motion import Motion, RecordedMotion
from emotion_llm.motion.reading import ENDINGS, read_motion_file
from emotion_llm.motion.table import TableColumns
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import STRICT, validate_record

MIN_FRAMES, SHORT_SECONDS = 8, 1.0
"""A clip of fewer frames at the model's rate is refused, a shorter one than this gets a note (our choice)."""


@dataclass(frozen=True)
class Conventions:
    """What a run knows about the corpora it was trained on."""

    corpora: Mapping[str, Mapping[str, Any]]
    """Corpus name -> record (corpus/provenance.py): layout, label set, canonical form, and how its files are read."""
    layouts: Mapping[str, Layout]

    def layout(self, corpus: str) -> Layout:
        return self.layouts[self.corpora[corpus]["layout"]]


Fitting: TypeAlias = tuple[Motion, tuple[str, ...]]
"""A motion as recorded, on a training corpus's layout, and notes on the reading."""


@validated_dataclass(frozen=True, config=STRICT, kw_only=True)
class ReadingChoices:
    """What the user says about a motion, against the conventions of its corpus."""

    corpus: str | None = None
    """Training corpus whose unit, axes, layout and label set apply. By default the one whose layout fits."""
    frames_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Frame rate, in place of what a file says; by default the corpus's where the file does not say. An array needs it."""
    metres_per_unit: MetresPerUnit | None = None
    """Metres in one unit of length; by default the corpus's for files, and 1 for arrays and streams."""
    up: Up | None = None
    """Axis that points up; by default the corpus's for files, and y for arrays and streams."""
    layout: str | None = None
    """Layout of the joints of an array or a stream, in its order; by default the one with as many joints."""


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


def open_recording(
    source: Path | np.ndarray, conventions: Conventions, choices: ReadingChoices = AS_RECORDED, name: str = "array"
) -> Recording:
    """A recording from a motion file, or from positions (T, V, 3) in memory, which have a name instead of a path.

    Raises:
        UserError: as `fitting_motion`; positions that no body can have, gaps that are too long, or too few frames.
    """
    corpus, motion, notes = fitting_motion(source, conventions, choices, name)
    return recording_of_motion(motion, corpus, conventions, str(source) if isinstance(source, Path) else name, notes)


def fitting_motion(
    source: Path | np.ndarray, conventions: Conventions, choices: ReadingChoices = AS_RECORDED, name: str = "array"
) -> tuple[str, Motion, tuple[str, ...]]:
    """The training corpus that a file or an array fits, its motion as recorded, and notes on the reading.

    Raises:
        UserError: it cannot be read, its frame rate or layout is not known, or it fits none or several of the training corpora.
    """
    if choices.corpus is not None and choices.corpus not in conventions.corpora:
        raise UserError(f"--corpus {choices.corpus}: the run was trained on {', '.join(conventions.corpora)}; choose one of them")
    corpora = [corpus for corpus in conventions.corpora if choices.corpus in (None, corpus)]
    if isinstance(source, Path):
        name, fitting = str(source), _motions_of_file(source, conventions, choices, corpora)
    else:
        fitting = _motions_of_array(source, conventions, choices, corpora, name)
    if len(fitting) > 1:
        raise UserError(f"{name}: fits several training corpora; say which it is like: --corpus {' or --corpus '.join(fitting)}")
    return next((corpus, *found) for corpus, found in fitting.items())


def _motions_of_file(path: Path, conventions: Conventions, choices: ReadingChoices, corpora: list[str]) -> dict[str, Fitting]:
    if choices.layout is not None:
        raise UserError(f"{path}: a layout is named for arrays only; a file's follows from its joints, or name its corpus")
    if not path.is_file():
        raise UserError(f"{path}: no such motion file")
    fitting: dict[str, Fitting] = {}
    faults = []
    for corpus in corpora:
        reading = conventions.corpora[corpus]["reading"]
        try:
            recorded = read_motion_file(path, validate_record(TableColumns, reading["columns"], corpus))
            notes = recorded.notes
            if choices.frames_per_second is not None:
                recorded = replace(recorded, frames_per_second=choices.frames_per_second)
            elif recorded.frames_per_second is None and reading["frames_per_second"] is not None:
                assumed = f"assumed {reading['frames_per_second']:g} frames per second, the rate of corpus '{corpus}'"
                notes = (*notes, f"the file does not state its frame rate: {assumed}; set it with --frames-per-second")
            units = choices.metres_per_unit or reading["metres_per_unit"], choices.up or reading["up"], reading["frames_per_second"]
            motion = to_motion(recorded, conventions.layout(corpus), *units, place=str(path), handedness=reading.get("handedness", "right"))
            fitting[corpus] = motion, notes
        except UserError as error:
            faults.append(str(error))
    if fitting:
        return fitting
    if len(set(faults)) == 1:
        raise UserError(faults[0])
    shapes = ", ".join(f"{record['layout']} (corpus '{corpus}')" for corpus, record in conventions.corpora.items())
    raise UserError(f"{path}: fits none of the layouts that the run was trained on: {shapes}; with the first of them: {faults[0]}")


def _motions_of_array(
    positions: np.ndarray, conventions: Conventions, choices: ReadingChoices, corpora: list[str], name: str
) -> dict[str, Fitting]:
    positions = np.asarray(positions, dtype=np.float64)
    if choices.frames_per_second is None:
        raise UserError(f"{name}: its frame rate is missing; give frames_per_second")
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise UserError(f"{name}: its shape is {positions.shape}; give positions as (frames, joints, 3)")
    if choices.layout not in (None, *conventions.layouts):
        raise UserError(f"{name}: layout '{choices.layout}' is not known to the run; it knows {', '.join(conventions.layouts)}")
    recorded = RecordedMotion(None, None, positions, choices.frames_per_second)
    fitting: dict[str, Fitting] = {}
    for corpus in corpora:
        layout = conventions.layout(corpus)
        if choices.layout == layout.name or (choices.layout is None and layout.joints == positions.shape[1]):
            fitting[corpus] = to_motion(recorded, layout, choices.metres_per_unit or 1.0, choices.up or "y", None, place=name), ()
    if not fitting:
        known = ", ".join(f"{known.name} ({known.joints} joints)" for known in conventions.layouts.values())
        raise UserError(f"{name}: no training corpus has a layout of {positions.shape[1]} joints; the run knows {known}")
    return fitting


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
            inside = [file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file()]
            missing = f"no motion file in this folder; they end in {', '.join(ENDINGS)}"
        elif path.is_file() or not any(sign in word for sign in "*?["):
            inside, missing = [path] if path.is_file() else [], "no such motion file"
        else:
            inside = [file for file in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if file.is_file()]
            missing = "no file matches this pattern"
        if not inside:
            raise UserError(f"{word}: {missing}")
        found |= dict.fromkeys(sorted(inside))
    return list(found)
