"""A trained run that answers: the Python interface.

motion files, arrays  ->  Recordings  ->  features of their windows  ->  emotions, explanations  ->  Answers

launch/predict.py, launch/stream.py and `emotion_llm.load` all use this class; launch/evaluate.py scores and explains with the same
functions. Numbers that are computed in other batches differ by rounding alone: in fp32 by about 1e-7, in bf16 by about 1e-2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from emotion_llm.corpus.windows import windows
from emotion_llm.inference.answer import Answer, Attribution, JudgedClaim, Unread, ranked
from emotion_llm.inference.attribution import attribute_recording
from emotion_llm.inference.recordings import (
    AS_RECORDED,
    Conventions,
    ReadingChoices,
    Recording,
    motion_of_array,
    open_recording,
    read_fitting,
    recording_of_array,
    recording_of_motion,
)
from emotion_llm.inference.timeline import STEP_SECONDS, Segment, Timeline, segment, smooth, window_starts
from emotion_llm.inference.trained_run import FoundRun, TrainedRun, find_run, load_found
from emotion_llm.language.explaining import explain, middle
from emotion_llm.language.label_scoring import emotion_probabilities
from emotion_llm.motion.checks import check_clip
from emotion_llm.motion.motion import Motion
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.processes import evaluation_dtype
from emotion_llm.skeleton_tokens.encoded_corpus import encode_motions
from emotion_llm.skeleton_tokens.unified import MotionFeatures

if TYPE_CHECKING:
    from emotion_llm.grounding.norms import Norms

BATCH = 16
"""Clips answered together."""


@dataclass(frozen=True)
class TrainedModel:
    """A fine-tuned model, loaded once, for any number of recordings. Not safe to share between threads."""

    trained: TrainedRun
    device: torch.device
    folder: Path
    """Holds what belongs to the run beside the checkpoint: norms."""

    @classmethod
    def of(cls, found: FoundRun, llm: str | None, device: torch.device, dtype: torch.dtype | None = None) -> TrainedModel:
        """Loads the LLM of a run whose conventions are known already; see `load`.

        Raises:
            UserError: as `load`, or the run reads no skeleton tokens.
        """
        found.check_reads_tokens()
        trained = load_found(found, llm, device, dtype or evaluation_dtype(device))
        trained.encoder.model.to(device)
        return cls(trained, device, found.folder)

    @cached_property
    def norms(self) -> Mapping[str, Norms]:
        """Corpus -> what is usual in it; empty for runs that have not kept it: claims are then not judged."""
        from emotion_llm.grounding.norms import load_norms  # scipy's signal processing, which the first answer need not wait for

        return load_norms(self.folder)

    @property
    def conventions(self) -> Conventions:
        """How recordings are read, and the label sets."""
        return self.trained.conventions

    def read(
        self,
        source: str | Path | np.ndarray,
        frames_per_second: float | None = None,
        layout: str | None = None,
        *,
        corpus: str | None = None,
        metres_per_unit: float | None = None,
        up: str | None = None,
        explanation: bool = True,
        attribution: bool = False,
    ) -> Answer:
        """The emotion of one recording and why.

        Args:
            source: a motion file (BVH, table, NumPy), or positions (T, V, 3).
            frames_per_second: of the array; for a file it replaces what the file says.
            layout: name of the layout whose joints an array holds, in its order; by default the one with as many joints.
            corpus: the training corpus that it is like, where it fits several.
            metres_per_unit, up: unit and up axis; by default the corpus's for files, metres and 'y' for arrays.
            explanation: False leaves the explanation out, which takes most of the time.
            attribution: how much each joint and moment speaks for the emotion; takes as long as many answers.

        Raises:
            UserError: it cannot be read; the message names the place and the remedy.
        """
        choices = ReadingChoices(corpus, frames_per_second, metres_per_unit, up)
        return self.answer([self.open(source, choices, layout)], explanation, attribution=attribution)[0]

    def read_many(
        self,
        sources: Iterable[str | Path],
        *,
        corpus: str | None = None,
        frames_per_second: float | None = None,
        metres_per_unit: float | None = None,
        up: str | None = None,
        explanation: bool = True,
        batch: int = BATCH,
    ) -> Iterator[Answer | Unread]:
        """The answers to many motion files, in their order, computed `batch` at a time. A file that cannot be read yields `Unread` with
        the reason, and the others follow."""
        choices = ReadingChoices(corpus, frames_per_second, metres_per_unit, up)
        paths = map(Path, sources)
        while some := list(islice(paths, batch)):
            yield from self.answer_files(some, choices, explanation)

    def read_long(
        self,
        source: str | Path | np.ndarray,
        frames_per_second: float | None = None,
        layout: str | None = None,
        *,
        corpus: str | None = None,
        metres_per_unit: float | None = None,
        up: str | None = None,
        explanation: bool = True,
        step_seconds: float = STEP_SECONDS,
    ) -> Timeline:
        """The emotions of a long recording over time: every window is answered as a clip of its own, and each segment is explained.

        A recording that is no longer than a window gets the answer of `read`. Parts that cannot be read are left out and named in the
        findings.

        Args:
            step_seconds: from one window to the next; for the other arguments, see `read`.

        Raises:
            UserError: as `read`, or no part of it can be read.
        """
        choices = ReadingChoices(corpus, frames_per_second, metres_per_unit, up)
        name = str(source) if isinstance(source, str | Path) else "array"
        if isinstance(source, str | Path):
            known, motion, notes = read_fitting(Path(source), self.conventions, choices)
        elif frames_per_second is None:
            raise UserError("array: its frame rate is missing; give frames_per_second")
        else:
            (known, motion), notes = motion_of_array(source, frames_per_second, self.conventions, layout, choices, name), ()
        return self._timeline(motion, known, name, notes, explanation, step_seconds)

    def _timeline(self, motion: Motion, corpus: str, name: str, notes: tuple[str, ...], explanation: bool, step_seconds: float) -> Timeline:
        record, rate = self.trained.encoder.record, motion.frames_per_second
        window, step = max(1, round(record.window_frames / record.frames_per_second * rate)), max(1, round(step_seconds * rate))
        parts: list[tuple[float, Recording]] = []
        unread: list[str] = []
        for first in window_starts(len(motion.positions), window, step):
            cut = motion.positions[first : first + window]
            place = f"{name} from {first / rate:.1f} s" if len(cut) < len(motion.positions) else name
            try:
                part = recording_of_motion(replace(motion, positions=cut), corpus, self.conventions, place)
                parts.append(((first + len(cut) / 2) / rate, part))
            except UserError as error:
                unread.append(str(error))
        if not parts:
            raise UserError(unread[0])
        features = self.encode([part for _, part in parts])
        rankings = self.recognise([part for _, part in parts], features)
        emotions, seconds = parts[0][1].emotions, np.array([middle for middle, _ in parts])
        curve = np.array([[ranking[emotion] for emotion in emotions] for ranking in rankings])  # (W, E)
        smoothed = smooth(seconds, curve)
        segments, chosen = [], []
        for start, end, label in segment(seconds, smoothed, 0.0, motion.seconds):
            inside = np.flatnonzero((seconds >= start) & (seconds <= end))
            chosen.append(int(np.abs(seconds - (start + end) / 2).argmin()))
            segments.append(Segment(start, end, emotions[label], round(float(smoothed[inside, label].mean()), 6)))
        if explanation and self.explains:
            texts = self.explain([features[place] for place in chosen], [found.emotion for found in segments])
            segments = [
                replace(found, explanation=text, claims=self.judge(text, parts[place][1]))
                for found, text, place in zip(segments, texts, chosen, strict=True)
            ]
        if unread:
            notes = (*notes, f"{len(unread)} of {len(unread) + len(parts)} windows cannot be read, the first: {unread[0]}")
        return Timeline(
            name, corpus, emotions, tuple(seconds.round(3).tolist()), _rows(curve), _rows(smoothed), tuple(segments),
            (*notes, *check_clip(motion)),
        )  # fmt: skip

    def open(self, source: str | Path | np.ndarray, choices: ReadingChoices = AS_RECORDED, layout: str | None = None) -> Recording:
        """The recording as the model sees it.

        Raises:
            UserError: as `read`.
        """
        if isinstance(source, str | Path):
            if layout is not None:
                raise UserError(f"{source}: a layout is named for arrays only; a file's follows from its joints, or name its corpus")
            return open_recording(Path(source), self.conventions, choices)
        if choices.frames_per_second is None:
            raise UserError("array: its frame rate is missing; give frames_per_second")
        return recording_of_array(source, choices.frames_per_second, self.conventions, layout, choices)

    def answer_files(
        self, paths: Sequence[Path], choices: ReadingChoices, explanation: bool = True, attribution: bool = False
    ) -> list[Answer | Unread]:
        """One batch of files."""
        opened: list[Recording | Unread] = []
        for path in paths:
            try:
                opened.append(open_recording(path, self.conventions, choices))
            except UserError as error:
                opened.append(Unread(str(path), str(error)))
        answers = iter(self.answer([recording for recording in opened if isinstance(recording, Recording)], explanation, attribution))
        return [next(answers) if isinstance(recording, Recording) else recording for recording in opened]

    def answer(
        self,
        recordings: Sequence[Recording],
        explanation: bool = True,
        attribution: bool = False,
        on_emotion: Callable[[Answer], None] | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> list[Answer]:
        """One batch of recordings, of any layouts and lengths.

        Args:
            on_emotion: receives every answer before it is explained.
            on_text: receives the explanation piece by piece while it is written; for one recording.
        """
        features = self.encode(recordings)
        probabilities = self.recognise(recordings, features)
        answers = [
            Answer(recording.name, recording.corpus, next(iter(ranking)), ranking, None, findings=recording.findings)
            for recording, ranking in zip(recordings, probabilities, strict=True)
        ]
        if on_emotion is not None:
            for answer in answers:
                on_emotion(answer)
        if attribution:
            answers = [
                replace(answer, attribution=self.attribute(*case, answer.emotion))
                for answer, case in zip(answers, zip(recordings, features, strict=True), strict=True)
            ]
        if not (explanation and self.explains):
            return answers
        texts = self.explain(features, [answer.emotion for answer in answers], on_text)
        return [
            replace(answer, explanation=text, claims=self.judge(text, recording))
            for answer, text, recording in zip(answers, texts, recordings, strict=True)
        ]

    @property
    def explains(self) -> bool:
        """Whether the run has learnt to explain."""
        return self.trained.stage == "description"

    def encode(self, recordings: Sequence[Recording]) -> list[list[MotionFeatures]]:
        """The features of each recording, window by window."""
        features: list[list[MotionFeatures]] = [[] for _ in recordings]
        encoder = self.trained.encoder
        by_layout: dict[int, list[int]] = {}
        for place, recording in enumerate(recordings):
            by_layout.setdefault(encoder.layout_index(recording.canonical.layout), []).append(place)
        for layout, places in by_layout.items():
            motions = [recordings[place].canonical.positions.astype(np.float32) for place in places]
            for place, own in zip(places, encode_motions(encoder, layout, motions), strict=True):
                features[place] = own
        return features

    def recognise(self, recordings: Sequence[Recording], features: Sequence[Sequence[MotionFeatures]]) -> list[dict[str, float]]:
        """The probabilities of each recording's label set, likeliest first: the mean over its windows."""
        result: list[dict[str, float]] = [{} for _ in recordings]
        for emotions in {recording.emotions: None for recording in recordings}:
            places = [place for place, recording in enumerate(recordings) if recording.emotions == emotions]
            scored = sorted(((place, window) for place in places for window in features[place]), key=lambda pair: len(pair[1].rows))
            rows = emotion_probabilities(
                self.trained.model, self.trained.prompts, [window for _, window in scored], emotions, self.device
            )  # (windows, K)
            sums = torch.zeros(len(recordings), len(emotions), dtype=torch.float64).index_add(
                0, torch.tensor([place for place, _ in scored]), rows
            )
            for place in places:
                result[place] = ranked(emotions, (sums[place] / len(features[place])).tolist())
        return result

    def explain(
        self, features: Sequence[Sequence[MotionFeatures]], emotions: Sequence[str], on_text: Callable[[str], None] | None = None
    ) -> list[str]:
        """Why: the explanation of each recording's emotion, resting on its middle window."""
        chosen = [own[middle(range(len(own)))] for own in features]
        return explain(self.trained.model, self.trained.prompts, chosen, emotions, on_text=on_text)

    def judge(self, explanation: str, recording: Recording) -> tuple[JudgedClaim, ...]:
        """The claims of an explanation, each held against the measured movement; none where the run has no norms for the corpus."""
        norms = self.norms.get(recording.corpus)
        if norms is None:
            return ()
        from emotion_llm.grounding.grammar import read_claims
        from emotion_llm.grounding.judge import judge, standing
        from emotion_llm.grounding.norms import measure

        movement = standing(measure(recording.canonical), norms)
        verdicts = ((claim, judge(claim, movement)) for claim in read_claims(explanation).claims)
        return tuple(JudgedClaim(claim, verdict.outcome, verdict.contradiction) for claim, verdict in verdicts)

    def attribute(self, recording: Recording, features: Sequence[MotionFeatures], emotion: str) -> Attribution:
        """How much each joint and moment speaks for an emotion (evaluation/attribution.py)."""
        frames, rate = len(recording.canonical.positions), recording.canonical.frames_per_second
        starts = [start for start, _ in windows(frames, self.trained.encoder.record.window_frames)]
        return attribute_recording(
            self.trained.model, self.trained.prompts, features, starts, recording.canonical.layout, rate, recording.emotions, emotion,
            self.device,
        )  # fmt: skip


def _rows(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(value, 6) for value in row) for row in values.tolist())


def load(
    run: str | Path, *, llm: str | None = None, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> TrainedModel:
    """Loads a trained run.

    Args:
        run: run folder of launch/finetune.py (its newest checkpoint), <run>/checkpoints/best.json (its best), one checkpoint folder, or
            a folder of launch/export.py.
        llm: name or folder of the base LLM, if it has moved since training.
        device: by default the GPU if there is one.
        dtype: by default bf16 where the device is fast at it, else fp32.

    Raises:
        UserError: no trained run there, damaged files, or another LLM than it was trained with.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return TrainedModel.of(find_run(Path(run)), llm, place, dtype)
