"""A trained run that answers: the Python interface.

motion files, arrays  ->  Recordings  ->  features of their windows  ->  emotions, explanations  ->  Answers

launch/predict.py, launch/stream.py and `emotion_llm.load` all use this class; launch/evaluate.py scores and explains with the same
functions. Numbers that are computed in other batches differ by rounding alone: in fp32 by about 1e-7, in bf16 by about 1e-2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from emotion_llm.evaluation.answer import Answer, Unread, ranked
from emotion_llm.evaluation.recordings import AS_RECORDED, Conventions, ReadingChoices, Recording, open_recording, recording_of_array
from emotion_llm.evaluation.trained_run import FoundRun, TrainedRun, find_run, load_found
from emotion_llm.language.explaining import explain, middle
from emotion_llm.language.label_scoring import emotion_probabilities
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.processes import evaluation_dtype
from emotion_llm.skeleton_tokens.encoded_corpus import encode_motions
from emotion_llm.skeleton_tokens.unified import MotionFeatures

BATCH = 16
"""Clips answered together."""


@dataclass(frozen=True)
class TrainedModel:
    """A fine-tuned model, loaded once, for any number of recordings. Not safe to share between threads."""

    trained: TrainedRun
    device: torch.device

    @classmethod
    def of(cls, found: FoundRun, llm: str | None, device: torch.device, dtype: torch.dtype | None = None) -> TrainedModel:
        """Loads the LLM of a run whose conventions are known already; see `load`."""
        trained = load_found(found, llm, device, dtype or evaluation_dtype(device))
        trained.encoder.model.to(device)
        return cls(trained, device)

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
    ) -> Answer:
        """The emotion of one recording and why.

        Args:
            source: a motion file (BVH, table, NumPy), or positions (T, V, 3).
            frames_per_second: of the array; for a file it replaces what the file says.
            layout: name of the layout whose joints an array holds, in its order; by default the one with as many joints.
            corpus: the training corpus that it is like, where it fits several.
            metres_per_unit, up: unit and up axis; by default the corpus's for files, metres and 'y' for arrays.
            explanation: False leaves the explanation out, which takes most of the time.

        Raises:
            UserError: it cannot be read; the message names the place and the remedy.
        """
        choices = ReadingChoices(corpus, frames_per_second, metres_per_unit, up)
        return self.answer([self.open(source, choices, layout)], explanation)[0]

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

    def answer_files(self, paths: Sequence[Path], choices: ReadingChoices, explanation: bool = True) -> list[Answer | Unread]:
        """One batch of files."""
        opened: list[Recording | Unread] = []
        for path in paths:
            try:
                opened.append(open_recording(path, self.conventions, choices))
            except UserError as error:
                opened.append(Unread(str(path), str(error)))
        answers = iter(self.answer([recording for recording in opened if isinstance(recording, Recording)], explanation))
        return [next(answers) if isinstance(recording, Recording) else recording for recording in opened]

    def answer(
        self,
        recordings: Sequence[Recording],
        explanation: bool = True,
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
        if not (explanation and self.explains):
            return answers
        texts = self.explain(features, [answer.emotion for answer in answers], on_text)
        return [replace(answer, explanation=text) for answer, text in zip(answers, texts, strict=True)]

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
            for place, windows in zip(places, encode_motions(encoder, layout, motions), strict=True):
                features[place] = windows
        return features

    def recognise(self, recordings: Sequence[Recording], features: Sequence[Sequence[MotionFeatures]]) -> list[dict[str, float]]:
        """The probabilities of each recording's label set, likeliest first: the mean over its windows."""
        result: list[dict[str, float]] = [{} for _ in recordings]
        for emotions in {recording.emotions: None for recording in recordings}:
            places = [place for place, recording in enumerate(recordings) if recording.emotions == emotions]
            windows = sorted(((place, window) for place in places for window in features[place]), key=lambda pair: len(pair[1].rows))
            rows = emotion_probabilities(
                self.trained.model, self.trained.prompts, [window for _, window in windows], emotions, self.device
            )  # (windows, K)
            sums = torch.zeros(len(recordings), len(emotions), dtype=torch.float64).index_add(
                0, torch.tensor([place for place, _ in windows]), rows
            )
            for place in places:
                result[place] = ranked(emotions, (sums[place] / len(features[place])).tolist())
        return result

    def explain(
        self, features: Sequence[Sequence[MotionFeatures]], emotions: Sequence[str], on_text: Callable[[str], None] | None = None
    ) -> list[str]:
        """Why: the explanation of each recording's emotion, resting on its middle window."""
        windows = [own[middle(range(len(own)))] for own in features]
        return explain(self.trained.model, self.trained.prompts, windows, emotions, on_text=on_text)


def load(
    run: str | Path, *, llm: str | None = None, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> TrainedModel:
    """Loads a trained run.

    Args:
        run: run folder of launch/finetune.py (its newest checkpoint), <run>/checkpoints/best.json (its best), or one checkpoint folder.
        llm: name or folder of the base LLM, if it has moved since training.
        device: by default the GPU if there is one.
        dtype: by default bf16 where the device is fast at it, else fp32.

    Raises:
        UserError: no trained run there, damaged files, or another LLM than it was trained with.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return TrainedModel.of(find_run(Path(run)), llm, place, dtype)
