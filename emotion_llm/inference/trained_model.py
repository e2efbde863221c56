"""A trained run that answers: the Python interface.

motion files, arrays  ->  Recordings  ->  features of their windows  ->  emotions, explanations  ->  Answers

launch/predict.py, launch/stream.py and `emotion_llm.load` all use this class; launch/evaluate.py scores and explains with the same
functions. Numbers that are computed in other batches differ by rounding alone: in fp32 by about 1e-7, in bf16 by about 1e-2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from safetensors.torch import load_file

from emotion_llm.corpus.windows import windows
from emotion_llm.grounding.judge import JudgedClaim, judge_text, standing
from emotion_llm.grounding.norms import Norms, load_norms, measure
from emotion_llm.inference.answer import Answer, Attribution, Unread, ranked
from emotion_llm.inference.attribution import attribute, over_recording
from emotion_llm.inference.export_folder import LLM
from emotion_llm.inference.recordings import ReadingChoices, Recording, fitting_motion, open_recording, recording_of_motion
from emotion_llm.inference.timeline import STEP_SECONDS, Segment, Timeline, segment, smooth, window_starts
from emotion_llm.inference.trained_run import FoundRun, find_run
from emotion_llm.language.explaining import explain
from emotion_llm.language.label_scoring import emotion_probabilities, pooled
from emotion_llm.language.llm import LoraSettings, llm_hash, load_llm, load_text_tokenizer
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.motion.checks import check_clip
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.processes import evaluation_dtype
from emotion_llm.runtime.validation import validate_record
from emotion_llm.skeleton_tokens.encoded_corpus import encode_motions
from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import MotionFeatures, Slots, whole_motion
from emotion_llm.training.assembly import build_model, check_same_origin, prompts_of_run
from emotion_llm.training.checkpoint import TOKENIZER

BATCH = 16
"""Clips answered together."""


class Choices(TypedDict, total=False):
    """Keywords of all methods that read motions; see `ReadingChoices`."""

    corpus: str | None
    metres_per_unit: float | None
    up: str | None


@dataclass(frozen=True)
class TrainedModel(FoundRun):
    """A fine-tuned model, loaded once, for any number of recordings. Not safe to share between threads."""

    model: EmotionLLM
    prompts: PromptWriter
    device: torch.device
    norms: Mapping[str, Norms]
    """Corpus -> what is usual in it; empty for runs that have not kept it: claims are then not judged."""

    @classmethod
    def of(cls, found: FoundRun, llm: str | None, device: torch.device, dtype: torch.dtype | None = None) -> TrainedModel:
        """Loads the LLM of a run and sets the trained weights; see `load`.

        The architecture is not checked again (language/packing_check.py) with the versions of torch and transformers that the run was
        trained with: the training has checked it.
        """
        checkpoint, encoder, dtype = found.checkpoint, found.encoder, dtype or evaluation_dtype(device)
        name = str(found.folder / LLM) if found.exported else llm or found.settings["llm"]
        known, slots = checkpoint.metadata["versions"], Slots(**found.settings["slots"])
        checked = all(known.get(library) == version(library) for library in ("torch", "transformers"))
        prompts = prompts_of_run(checkpoint, load_text_tokenizer(name))
        if found.merged:
            base = load_llm(name, dtype, device, checked)
            model = EmotionLLM(base, SkeletonTokenizer(encoder.channels, base.config.get_text_config().hidden_size), slots)
            model.skeleton_tokenizer.load_state_dict(load_file(found.folder / TOKENIZER))
        else:
            model = build_model(name, dtype, LoraSettings(**found.settings["lora"]), encoder.channels, slots, device, checked)
            if not found.exported:
                check_same_origin(checkpoint, llm_hash(name), encoder.encoder_hash)
            checkpoint.load_model(model)
        for weight, parameter in model.llm.named_parameters():
            if "lora_" in weight:
                parameter.data = parameter.data.to(dtype)  # PEFT keeps it in fp32, and would cast activations back and forth
        encoder.model.to(device)
        return cls(**vars(found), model=model.eval(), prompts=prompts, device=device, norms=load_norms(found.folder))

    @property
    def explains(self) -> bool:
        """Whether the run has learnt to explain."""
        return self.stage != "recognition"

    def open(
        self, source: str | Path | np.ndarray, frames_per_second: float | None = None, layout: str | None = None, **choices: Unpack[Choices]
    ) -> Recording:
        """One recording as the model sees it.

        Args:
            source: a motion file (BVH, table, NumPy), or positions (T, V, 3).
            frames_per_second, layout, choices: see `ReadingChoices`.

        Raises:
            UserError: it cannot be read; the message names the place and the remedy.
        """
        return open_recording(_path(source), self.conventions, _choices(frames_per_second, layout, choices))

    def read(
        self,
        source: str | Path | np.ndarray,
        frames_per_second: float | None = None,
        layout: str | None = None,
        *,
        explanation: bool = True,
        attribution: bool = False,
        **choices: Unpack[Choices],
    ) -> Answer:
        """The emotion of one recording and why.

        Args:
            explanation: False leaves the explanation out, which takes most of the time.
            attribution: how much each joint and moment speaks for the emotion; takes as long as many answers.
            source, frames_per_second, layout, choices: see `open`.

        Raises:
            UserError: as `open`.
        """
        return self.answer([self.open(source, frames_per_second, layout, **choices)], explanation, attribution)[0]

    def read_many(
        self,
        sources: Iterable[str | Path],
        frames_per_second: float | None = None,
        *,
        explanation: bool = True,
        batch: int = BATCH,
        **choices: Unpack[Choices],
    ) -> Iterator[Answer | Timeline | Unread]:
        """The answers to many motion files, in their order, computed `batch` at a time. A file that cannot be read yields `Unread` with
        the reason, and the others follow."""
        paths = map(Path, sources)
        while some := list(islice(paths, batch)):
            yield from self.answer_files(some, _choices(frames_per_second, None, choices), explanation)

    def read_long(
        self,
        source: str | Path | np.ndarray,
        frames_per_second: float | None = None,
        layout: str | None = None,
        *,
        explanation: bool = True,
        step_seconds: float = STEP_SECONDS,
        **choices: Unpack[Choices],
    ) -> Timeline:
        """The emotions of a long recording over time: every window is answered as a clip of its own, and each segment is explained.

        A recording that is no longer than a window gets the answer of `read`. Parts that cannot be read are left out and named in the
        findings.

        Args:
            step_seconds: from one window to the next.
            source, frames_per_second, layout, choices: see `open`.

        Raises:
            UserError: as `open`, or no part of it can be read.
        """
        return self._timeline(_path(source), _choices(frames_per_second, layout, choices), explanation, step_seconds)

    def _timeline(
        self, source: Path | np.ndarray, choices: ReadingChoices, explanation: bool, step_seconds: float = STEP_SECONDS
    ) -> Timeline:
        corpus, motion, notes = fitting_motion(source, self.conventions, choices)
        name, rate, record = str(source) if isinstance(source, Path) else "array", motion.frames_per_second, self.encoder.record
        window, step = max(1, round(record.window_frames / record.frames_per_second * rate)), max(1, round(step_seconds * rate))
        parts: list[Recording] = []
        middles: list[float] = []
        unread: list[str] = []
        for first in window_starts(len(motion.positions), window, step):
            cut = motion.positions[first : first + window]
            place = f"{name} from {first / rate:.1f} s" if len(cut) < len(motion.positions) else name
            try:
                parts.append(recording_of_motion(replace(motion, positions=cut), corpus, self.conventions, place))
                middles.append((first + len(cut) / 2) / rate)
            except UserError as error:
                unread.append(str(error))
        if not parts:
            raise UserError(unread[0])
        features = self.encode(parts)
        answers = self.recognise(parts, features)
        emotions, seconds = parts[0].emotions, np.array(middles)
        curve = np.array([[answer.probabilities[emotion] for emotion in emotions] for answer in answers])  # (W, E)
        smoothed = smooth(seconds, curve)
        spans = segment(seconds, smoothed, 0.0, motion.seconds)
        central = [int(np.abs(seconds - (start + end) / 2).argmin()) for start, end, _ in spans]
        told = [replace(answers[place], emotion=emotions[label]) for place, (_, _, label) in zip(central, spans, strict=True)]
        if explanation:
            told = self.explain(told, [parts[place] for place in central], [features[place] for place in central])
        segments = []
        for (start, end, label), answer in zip(spans, told, strict=True):
            probability = float(smoothed[(seconds >= start) & (seconds <= end), label].mean())
            segments.append(Segment(start, end, answer.emotion, round(probability, 6), answer.explanation, answer.claims))
        if unread:
            notes = (*notes, f"{len(unread)} of {len(unread) + len(parts)} windows cannot be read, the first: {unread[0]}")
        findings = (*notes, *check_clip(motion))
        return Timeline(name, corpus, emotions, tuple(seconds.round(3).tolist()), _rows(curve), _rows(smoothed), tuple(segments), findings)

    def answer_files(
        self, paths: Sequence[Path], choices: ReadingChoices, explanation: bool, attribution: bool = False, long: bool = False
    ) -> list[Answer | Timeline | Unread]:
        """One batch of files: an answer to each, or a timeline of each long recording, or why it cannot be read."""
        results: list[Recording | Timeline | Unread] = []
        for path in paths:
            try:
                results.append(self._timeline(path, choices, explanation) if long else open_recording(path, self.conventions, choices))
            except UserError as error:
                results.append(Unread(str(path), str(error)))
        answers = iter(self.answer([result for result in results if isinstance(result, Recording)], explanation, attribution))
        return [next(answers) if isinstance(result, Recording) else result for result in results]

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
        answers = self.recognise(recordings, features)
        if on_emotion is not None:
            for answer in answers:
                on_emotion(answer)
        if attribution:
            answers = [
                replace(answer, attribution=self.attribute(recording, own, answer.emotion))
                for answer, recording, own in zip(answers, recordings, features, strict=True)
            ]
        return self.explain(answers, recordings, features, on_text) if explanation else answers

    def encode(self, recordings: Sequence[Recording]) -> list[list[MotionFeatures]]:
        """The features of each recording, window by window."""
        features: dict[int, list[MotionFeatures]] = {}
        layouts = [self.encoder.layout_index(recording.canonical.layout) for recording in recordings]
        for layout in set(layouts):
            places = [place for place, own in enumerate(layouts) if own == layout]
            motions = [recordings[place].canonical.positions.astype(np.float32) for place in places]
            features |= zip(places, encode_motions(self.encoder, layout, motions), strict=True)
        return [features[place] for place in range(len(recordings))]

    def recognise(self, recordings: Sequence[Recording], features: Sequence[Sequence[MotionFeatures]]) -> list[Answer]:
        """The emotion of each recording, not explained yet: the mean over its windows of what the LLM finds, and of what the encoder's
        classifier finds, pooled."""
        answers: dict[int, Answer] = {}
        for emotions in dict.fromkeys(recording.emotions for recording in recordings):
            places = [place for place, recording in enumerate(recordings) if recording.emotions == emotions]
            scored = sorted(((place, window) for place in places for window in features[place]), key=lambda pair: len(pair[1].rows))
            of_place, seen = torch.tensor([place for place, _ in scored]), [window for _, window in scored]
            by_llm = emotion_probabilities(self.model, self.prompts, seen, emotions, self.device)  # (windows, K)
            by_encoder = self.encoder.probabilities(torch.stack([window.rows[0] for window in seen]), emotions)  # (windows, K)
            for place in places:
                own = of_place == place
                answer = pooled(by_llm[own].mean(0), by_encoder[own].mean(0), self.encoder_share)
                ranking, recording = ranked(emotions, answer.tolist()), recordings[place]
                answers[place] = Answer(recording.name, recording.corpus, next(iter(ranking)), ranking, None, findings=recording.findings)
        return [answers[place] for place in range(len(recordings))]

    def explain(
        self,
        answers: Sequence[Answer],
        recordings: Sequence[Recording],
        features: Sequence[Sequence[MotionFeatures]],
        on_text: Callable[[str], None] | None = None,
    ) -> list[Answer]:
        """The answers with an explanation of their emotion, resting on the whole recording, and its claims; unchanged for a run that has
        not learnt to explain."""
        if not self.explains:
            return list(answers)
        motions = [whole_motion(own) for own in features]
        texts = explain(self.model, self.prompts, motions, [answer.emotion for answer in answers], on_text=on_text)
        return [
            replace(answer, explanation=text, claims=self.judge(text, recording))
            for answer, text, recording in zip(answers, texts, recordings, strict=True)
        ]

    def judge(self, explanation: str, recording: Recording) -> tuple[JudgedClaim, ...]:
        """The claims of an explanation, each held against the measured movement; none where the run has no norms for the corpus."""
        if (norms := self.norms.get(recording.corpus)) is None:
            return ()
        return judge_text(explanation, standing(measure(recording.canonical), norms)).claims

    def attribute(self, recording: Recording, features: Sequence[MotionFeatures], emotion: str) -> Attribution:
        """How much each joint and moment speaks for an emotion (inference/attribution.py)."""
        frames, rate = len(recording.canonical.positions), recording.canonical.frames_per_second
        starts = [start for start, _ in windows(frames, self.encoder.record.window_frames)]
        weights = [attribute(self.model, self.prompts, window, recording.emotions, emotion, self.device) for window in features]
        return over_recording(weights, starts, recording.canonical.layout, rate)


def _rows(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(value, 6) for value in row) for row in values.tolist())


def _path(source: str | Path | np.ndarray) -> Path | np.ndarray:
    return Path(source) if isinstance(source, str | Path) else source


def _choices(frames_per_second: float | None, layout: str | None, choices: Mapping[str, Any]) -> ReadingChoices:
    values = {"frames_per_second": frames_per_second, "layout": layout, **choices}
    return validate_record(ReadingChoices, values, "how to read it")


def load(
    run: str | Path,
    llm: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    encoder_share: float | None = None,
) -> TrainedModel:
    """Loads a trained run.

    Args:
        run: run folder of launch/finetune.py (its newest checkpoint), <run>/checkpoints/best.json (its best), one checkpoint folder, or
            a folder of launch/export.py.
        llm: name or folder of the base LLM, if it has moved since training.
        device: by default the GPU if there is one.
        dtype: by default bf16 where the device is fast at it, else fp32.
        encoder_share: weight of the encoder's classifier in the answers, by default that of the run's settings; 0: the LLM alone, as in the
            paper.

    Raises:
        UserError: no trained run there, damaged files, another LLM than it was trained with, or an edited prompt.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return TrainedModel.of(find_run(Path(run), encoder_share=encoder_share), llm, place, dtype)
