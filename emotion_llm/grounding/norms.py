"""What is usual in a corpus, so that "fast" or "bowed" has a meaning there.

Motion  ->  measure: Measured, the kinematic descriptors of the whole clip and of its moments
training clips of a corpus  ->  Norms: percentiles of every descriptor; kept as JSON in the run folder of a description stage

Corpora differ in layout, actions and instructions, so each has norms of its own. Held-out clips never enter them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from emotion_llm.corpus.splits import Split
from emotion_llm.corpus.store import Corpus
from emotion_llm.grounding.claims import CHANGES, MOMENTS, SIDES, Moment
from emotion_llm.kinematics import descriptors, movement
from emotion_llm.kinematics.descriptors import DESCRIPTORS, MEASURES, STATISTICS
from emotion_llm.kinematics.movement import Movement
from emotion_llm.motion.layout import LANDMARKS
from emotion_llm.motion.motion import Motion
from emotion_llm.runtime.console import is_first_rank, progress
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import atomic_write, write_json
from emotion_llm.runtime.validation import read_json_object, validate_record

THROUGHOUT: Moment = "throughout"
MOMENT_NAMES = tuple(MOMENTS)
SIDED: dict[str, Callable[[Movement], np.ndarray]] = {
    "hand_speed": partial(descriptors.part_speed, landmark="wrist"),
    "foot_speed": partial(descriptors.part_speed, landmark="ankle"),
    "elbow_flexion": partial(descriptors.flexion, upper="shoulder", middle="elbow", lower="wrist"),
    "knee_flexion": partial(descriptors.flexion, upper="hip", middle="knee", lower="ankle"),
    "arm_opening": descriptors.arm_opening,
    "hand_height": descriptors.hand_height,
}
"""Measures that are also taken of the left and the right side alone: "left_hand_height_mean"."""
NAMES = (*DESCRIPTORS, *(f"{side}_{name}_mean" for side in SIDES for name in SIDED))
"""Every number that `measure` takes: the descriptors in their order, then those of one side."""
GAIT = ("cadence", "stride_length")
"""Descriptors that are 0 where nobody walks: there they are not measured."""
PERCENTS = np.linspace(0, 100, 41)
"""Percentiles that norms keep; values between them are interpolated."""
FEWEST_CLIPS = 10
"""With fewer measured training clips a descriptor has no norm (our choice)."""
NEUTRAL = ("neutral", "normal")
"""Words of the emotion that others are contrasted with."""
FOLDER, CACHE = "norms", "measured.npz"


@dataclass(frozen=True)
class Measured:
    """What was measured of one motion."""

    values: np.ndarray
    """(moments, descriptors) in the order of MOMENT_NAMES and NAMES; NaN where there is nothing to measure: descriptors that need the whole
    clip have no value for its moments."""

    seconds: float = float("nan")
    """Length of the motion."""

    def value(self, name: str, moment: str = THROUGHOUT) -> float:
        """Of a descriptor in NAMES; NaN for a name that is not measured, for a gait where there is none."""
        if name not in _INDEX:
            return float("nan")
        value = float(self.values[MOMENT_NAMES.index(moment), _INDEX[name]])
        return float("nan") if name in GAIT and value == 0 else value


_INDEX = {name: index for index, name in enumerate(NAMES)}


class _OneSide(Movement):
    """A movement whose left and right landmarks are those of one side."""

    def __init__(self, whole: Movement, side: str) -> None:
        super().__init__(whole.motion)
        other = "right_" if side == "left" else "left_"
        joints = [LANDMARKS.index(name.replace(other, f"{side}_")) for name in LANDMARKS]
        vars(self).update(positions=whole.positions[:, joints], velocity=whole.velocity[:, joints])


def measure(motion: Motion) -> Measured:
    """The descriptors of a motion without missing values: of the whole as `describe` gives them, of the moments from the same tracks."""
    whole = Movement(motion)
    values = np.full((len(MOMENTS), len(NAMES)), np.nan)
    for name, _, take, statistics in MEASURES:
        track = np.asarray(take(whole))
        if not statistics:
            values[0, _INDEX[name]] = track
        for statistic in statistics:
            values[:, _INDEX[f"{name}_{statistic}"]] = _over_moments(track, STATISTICS[statistic])
    for side in SIDES:
        one = _OneSide(whole, side)
        for name, take_side in SIDED.items():
            values[:, _INDEX[f"{side}_{name}_mean"]] = _over_moments(take_side(one), STATISTICS["mean"])
    return Measured(values, motion.seconds)


def _over_moments(track: np.ndarray, statistic: Callable[[np.ndarray], float]) -> list[float]:
    """The statistic of each moment's part of a track (T,)."""
    spans = ((round(first * len(track)), round(last * len(track))) for first, last in MOMENTS.values())
    return [statistic(track[min(first, len(track) - 1) : max(last, first + 1)]) for first, last in spans]


@dataclass(frozen=True)
class Norms:
    """The distribution of every descriptor over the training clips of one corpus."""

    corpus: str
    split_hash: str
    clips: int
    """Training clips that were measured."""
    percentiles: dict[str, dict[str, list[float]]]
    """Moment -> descriptor -> its values at PERCENTS. Absent: too few clips have the descriptor."""
    neutral: dict[str, float]
    """Descriptor -> percentile of the median neutral clip; empty where the corpus has no neutral emotion."""

    def percentile(self, measured: Measured, name: str, moment: str = THROUGHOUT) -> float:
        """Where a clip stands among the training clips, 0 to 100; NaN where it or the norm is not measured.

        Of a change ("increasing" or "decreasing"): 50 + half the difference between the percentiles of the second and the first half,
        both among whole clips: 50 is no change, 75 a rise by half of what clips differ by, 25 such a fall.
        """
        if moment in CHANGES:
            first, second = (self.of_value(measured.value(name, half), name) for half in ("first half", "second half"))
            return 50 + (second - first) / 2
        return self.of_value(measured.value(name, moment), name, moment)

    def of_value(self, value: float, name: str, moment: str = THROUGHOUT) -> float:
        """Percentile of a value; of several that are equal, the middle one."""
        known = self.percentiles.get(moment, {}).get(name)
        if known is None or not np.isfinite(value):
            return float("nan")
        values = np.asarray(known)
        return float(np.interp(value, values, PERCENTS) + 100 - np.interp(-value, -values[::-1], PERCENTS)) / 2


def make_norms(corpus: Corpus, split: Split, measured: Sequence[Measured] | None = None) -> Norms:
    """The norms of a corpus, from the split's training clips.

    Args:
        measured: one per clip of the corpus; measured here if not given.
    """
    measured = measure_corpus(corpus) if measured is None else measured
    train = list(split.train)
    values = np.stack([measured[clip].values for clip in train])  # (clips, moments, descriptors)
    gait = [_INDEX[name] for name in GAIT]
    values[:, :, gait] = np.where(values[:, :, gait] == 0, np.nan, values[:, :, gait])
    percentiles: dict[str, dict[str, list[float]]] = {moment: {} for moment in MOMENT_NAMES}
    for row, moment in enumerate(MOMENT_NAMES):
        for column, name in enumerate(NAMES):
            known = values[np.isfinite(values[:, row, column]), row, column]
            if len(known) >= FEWEST_CLIPS:
                percentiles[moment][name] = [float(f"{value:.6g}") for value in np.percentile(known, PERCENTS)]
    norms = Norms(corpus.name, split.split_hash, len(train), percentiles, {})
    emotions = np.asarray(corpus.clips["emotion"])[train]
    calm = values[[corpus.emotions[emotion] in NEUTRAL for emotion in emotions], 0]  # (neutral clips, descriptors)
    for name, column in zip(NAMES, calm.T, strict=True):
        if len(known := column[np.isfinite(column)]) >= FEWEST_CLIPS:
            norms.neutral[name] = round(norms.of_value(float(np.median(known)), name), 1)
    return norms


def measure_corpus(corpus: Corpus) -> list[Measured]:
    """Every clip of a corpus, measured. Kept beside the corpus until its clips or the formulas change."""
    path, key = corpus.folder / CACHE, _cache_key(corpus)
    try:
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["key"]) == key:
                seconds = np.asarray(corpus.clips["frames"]) / corpus.frames_per_second
                return [Measured(values, float(length)) for values, length in zip(kept["values"], seconds, strict=True)]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        pass  # none, or a damaged one: measured again
    clips = progress(range(len(corpus)), f"measuring {corpus.name}", "clip")
    measured = [measure(corpus.motion(clip)) for clip in clips]
    if is_first_rank():
        try:
            with atomic_write(path) as tmp, tmp.open("wb") as file:
                np.savez(file, key=key, values=np.stack([one.values for one in measured]))
        except OSError:
            pass  # a shared corpus that this user may not write to: measured again next time
    return measured


def _cache_key(corpus: Corpus) -> str:
    """Hash of the clips and of the code that measures them."""
    files = [corpus.files.get(name) for name in ("clips.npy", "names.npy", "positions.npy")]
    code = [Path(file).read_bytes() for file in (str(descriptors.__file__), str(movement.__file__), __file__)]
    return hashlib.sha256(b"".join([repr(files).encode(), *code])).hexdigest()


def save_norms(run: Path, norms: Norms) -> None:
    """Writes <run>/norms/<corpus>.json."""
    write_json(run / FOLDER / f"{norms.corpus}.json", asdict(norms))


def load_norms(run: Path) -> Mapping[str, Norms]:
    """Corpus -> norms of a description run; empty for a run without any.

    Raises:
        UserError: a damaged file.
    """
    remedy = "delete the folder and run launch/finetune.py --stage description again"
    found = {}
    for path in sorted((run / FOLDER).glob("*.json")):
        norms = found[path.stem] = validate_record(Norms, read_json_object(path, remedy), str(path))
        if any(len(values) != len(PERCENTS) for moment in norms.percentiles.values() for values in moment.values()):
            raise UserError(f"{path}: a descriptor does not have {len(PERCENTS)} percentiles; {remedy}")
    return found
