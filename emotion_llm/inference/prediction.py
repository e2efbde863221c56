"""Motion files answered, one or ten thousand.

files, folders, patterns; TrainedModel  ->  Answers on the terminal, or one JSON object per line in a file that can be resumed

Imports no torch by itself: files that are missing or unreadable are refused before anything large is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import tyro
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass as validated_dataclass

from emotion_llm.inference.answer import NO_EXPLANATION, Answer, Unread
from emotion_llm.inference.recordings import Conventions, ReadingChoices, Recording, find_clips, open_recording
from emotion_llm.inference.timeline import Timeline
from emotion_llm.motion.canonical import MetresPerUnit, Up
from emotion_llm.motion.reading import read_motion_file
from emotion_llm.runtime.console import progress, say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import atomic_write
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.output import BestEffort, printable
from emotion_llm.runtime.validation import STRICT

if TYPE_CHECKING:
    from emotion_llm.inference.trained_model import TrainedModel
    from emotion_llm.inference.trained_run import FoundRun

Result: TypeAlias = Answer | Timeline | Unread
UNREAD_STATUS = 3
"""Exit status where some files could not be read and all others were answered."""


@validated_dataclass(frozen=True, config=STRICT)
class PredictSettings:
    """Which motions to explain, and with what."""

    clips: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Motion files (BVH, or tables and arrays laid out like those of the corpus), folders of them, or patterns such as 'takes/**/*.bvh'."""
    run: Annotated[Path, tyro.conf.arg(aliases=["--checkpoint"])] = Path("runs/description")
    """Run folder of launch/finetune.py (its newest checkpoint), <run>/checkpoints/best.json (its best), or one checkpoint folder."""
    corpus: str | None = None
    """Training corpus whose unit, axes, layout and label set apply. By default the one whose layout fits, clip by clip."""
    frames_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Frame rate of the clips; by default what the file says, else its corpus's."""
    metres_per_unit: MetresPerUnit | None = None
    """Metres in one unit of length of the clips; by default the corpus's."""
    up: Up | None = None
    """Axis of the clips that points up; by default the corpus's."""
    llm: str | None = None
    """Name or folder of the base LLM, if it has moved since training."""
    output: Path | None = None
    """File for the answers, one JSON object per line. If it exists, clips that it answers already are skipped."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Clips answered together by each process."""
    explanation: bool = True
    """Explain the emotion in words; without, only the emotion is named, which is many times faster."""
    html: Path | None = None
    """Folder for a page per clip and an index of them, or a file (*.html) for a page of one clip, or of two side by side. Shows what each
    answer rests on too, which takes as long as many answers."""
    long: bool = False
    """Long recordings: an emotion curve over time by sliding windows, and one explanation per segment."""
    json: bool = False
    """Print one JSON object per clip instead of text; everything else goes to standard error."""

    @property
    def choices(self) -> ReadingChoices:
        return ReadingChoices(self.corpus, self.frames_per_second, self.metres_per_unit, self.up)


PRESETS = {
    "default": PredictSettings(("clip.bvh",)),
    "demo": PredictSettings(("clip.bvh",), run=Path("runs/demo/description")),
    "smollm2": PredictSettings(("clip.bvh",), run=Path("runs/bandai-namco-2/recognition")),
}


OnAnswer: TypeAlias = Callable[[Answer | Timeline, Conventions], None]
"""Receives every answer, on the first rank only, and how the run reads files."""


def predict(settings: PredictSettings, on_answer: OnAnswer | None = None) -> int:
    """Answers all clips; returns the exit status. Under a launcher the clips are shared among all processes.

    Answers that `settings.output` holds already are given to `on_answer` too.

    Raises:
        UserError: a word names no file, none of the files can be read, or the run cannot be loaded.
    """
    paths = find_clips(settings.clips)
    if len(paths) == 1 and paths[0].suffix.lower() == ".bvh":
        read_motion_file(paths[0])  # needs no torch: a damaged file is refused at once
    from emotion_llm.inference.trained_model import TrainedModel
    from emotion_llm.inference.trained_run import find_run
    from emotion_llm.runtime.processes import process_count, start_processes

    device = start_processes()
    found = find_run(settings.run)
    if len(paths) == 1 and settings.output is None and process_count() == 1 and not settings.long:
        recording = open_recording(paths[0], found.conventions, settings.choices)
        return predict_one(recording, TrainedModel.of(found, settings.llm, device), settings, on_answer)
    file = None if settings.output is None else AnswerFile.open(settings.output, found, settings)
    left = [path for path in paths if file is None or not file.answers(path)]
    if len(left) < len(paths):
        say(f"{settings.output}: {len(paths) - len(left):,} of {len(paths):,} clips are answered already")
    if file is not None and on_answer is not None and is_first_rank():
        for answer in file.read(paths):
            on_answer(answer, found.conventions)
    unread = 0
    if left:
        unread = predict_many(left, TrainedModel.of(found, settings.llm, device), settings, file, on_answer)
    if unread == len(paths):
        raise UserError(f"none of the {len(paths):,} files could be read; see the reasons above")
    say(f"{len(paths) - unread:,} of {len(paths):,} clips answered" + (f" in {settings.output}" if file else ""))
    return UNREAD_STATUS if unread else 0


def predict_one(recording: Recording, model: TrainedModel, settings: PredictSettings, on_answer: OnAnswer | None = None) -> int:
    """One clip: the emotion is printed as soon as it is known, and the explanation while it is written."""
    attribution = settings.html is not None
    if settings.json:
        answer = model.answer([recording], settings.explanation, attribution)[0]
        _print_json(answer)
    else:
        answer = _answer_aloud(recording, model, settings.explanation, attribution)
    if on_answer is not None:
        on_answer(answer, model.conventions)
    return 0


def _answer_aloud(recording: Recording, model: TrainedModel, explanation: bool, attribution: bool) -> Answer:
    say(model.trained.title)
    stdout = BestEffort(sys.stdout)

    def write(text: str) -> None:
        stdout.write(printable(text))
        stdout.flush()

    answer = model.answer([recording], explanation, attribution, on_emotion=lambda answer: say(answer.heading()), on_text=write)[0]
    write("\n" if answer.explanation else f"{NO_EXPLANATION}\n" if not model.explains else "")
    for remark in answer.remarks():
        say(remark)
    return answer


def predict_many(
    paths: Sequence[Path], model: TrainedModel, settings: PredictSettings, file: AnswerFile | None, on_answer: OnAnswer | None = None
) -> int:
    """Many clips, shared among all processes; returns how many could not be read. Every process must call it."""
    from emotion_llm.runtime.processes import gather_over_processes, process_count, process_rank

    say(model.trained.title)
    unread, share = 0, settings.batch * process_count()
    with progress(paths, "answering", "clip") as bar:  # updated batch by batch
        for start in range(0, len(paths), share):
            first = start + process_rank() * settings.batch
            own = paths[first : min(first + settings.batch, start + share)]
            for part in gather_over_processes(answer_files(model, own, settings)):
                for result in part:
                    unread += isinstance(result, Unread)
                    _show(result, settings, quiet=file is not None)
                    if on_answer is not None and is_first_rank() and not isinstance(result, Unread):
                        on_answer(result, model.conventions)
                if file is not None:
                    file.append(part)
                bar.update(len(part))
    return unread


def answer_files(model: TrainedModel, paths: Sequence[Path], settings: PredictSettings) -> list[Result]:
    """One batch: an answer for each clip, or for long recordings a timeline."""
    if not settings.long:
        return [*model.answer_files(paths, settings.choices, settings.explanation, settings.html is not None)]
    results: list[Result] = []
    for path in paths:
        try:
            results.append(model.read_long(path, **asdict(settings.choices), explanation=settings.explanation))
        except UserError as error:
            results.append(Unread(str(path), str(error)))
    return results


def _show(result: Result, settings: PredictSettings, quiet: bool) -> None:
    if isinstance(result, Unread):
        say(f"left out: {result.error}")
    elif settings.json:
        _print_json(result)
    elif not quiet:
        say(result.text())


def _print_json(answer: Answer | Timeline) -> None:
    if is_first_rank():
        stdout = BestEffort(sys.__stdout__ or sys.stdout)
        stdout.write(json.dumps(answer.to_dict(), ensure_ascii=False) + "\n")
        stdout.flush()


@dataclass(frozen=True)
class AnswerFile:
    """A file of answers, one JSON object per line, to which answers are added batch by batch.

    A line holds an Answer, or clip and error, and what it came from: `model`, a hash of the trained weights and of the settings that
    change an answer, and the clip's size and time of modification.
    """

    path: Path
    model: str
    known: dict[str, tuple[int, int]]
    """Clip -> its size and time of modification when it was answered."""

    @classmethod
    def open(cls, path: Path, found: FoundRun, settings: PredictSettings) -> AnswerFile:
        """The file with the answers that it holds already. Lines of clips that could not be read, and a last line that a killed process
        left incomplete, are removed. Every process must call it.

        Raises:
            UserError: the file holds something else, or answers of another model.
        """
        model, lines, kept = identity(found, settings), [], []
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        known: dict[str, tuple[int, int]] = {}
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                clip, made_by, is_answer = record["clip"], record["model"], "error" not in record
                version = (int(record["size"]), int(record["modified"]))
            except (ValueError, KeyError, TypeError):
                if number == len(lines):  # the process was killed while it wrote
                    break
                raise UserError(f"{path}: line {number} is no answer of launch/predict.py; choose another --output") from None
            if made_by != model:
                raise UserError(
                    f"{path}: line {number} was answered by another model or with other settings (model {made_by}, now {model}); "
                    "choose another --output, or delete the file to answer all clips again"
                )
            if is_answer and version == _version(Path(clip)):
                known[clip] = version
                kept.append(line)
        if is_first_rank() and kept != lines:
            with atomic_write(path) as tmp:
                tmp.write_text("".join(kept), encoding="utf-8")
        return cls(path, model, known)

    def answers(self, path: Path) -> bool:
        """Whether the clip is answered, and has not changed since."""
        return str(path) in self.known

    def read(self, paths: Sequence[Path]) -> Iterator[Answer | Timeline]:
        """The answers to these clips that the file holds."""
        wanted = self.known.keys() & set(map(str, paths))
        for line in self.path.read_text(encoding="utf-8").splitlines() if wanted else ():
            record = json.loads(line)
            if record["clip"] in wanted:
                kind: type[Answer | Timeline] = Timeline if "segments" in record else Answer
                yield TypeAdapter(kind).validate_python({field.name: record[field.name] for field in fields(kind)})

    def append(self, results: Sequence[Result]) -> None:
        """Adds answers; on the first rank only. They are on disk when it returns."""
        if not (results and is_first_rank()):
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(self._lines(results))
            file.flush()
            os.fsync(file.fileno())

    def _lines(self, results: Sequence[Result]) -> Iterator[str]:
        for result in results:
            content: dict[str, Any] = asdict(result) if isinstance(result, Unread) else result.to_dict()
            size, modified = _version(Path(result.clip)) or (0, 0)
            yield json.dumps(content | {"model": self.model, "size": size, "modified": modified}, ensure_ascii=False) + "\n"


def identity(found: FoundRun, settings: PredictSettings) -> str:
    """Hash of all that determines an answer besides the clip: trained weights, LLM, encoder, and how clips are read."""
    choices = asdict(settings.choices) | {"explanation": settings.explanation, "long": settings.long}
    return hashlib.sha256(json.dumps([found.identity, choices], sort_keys=True).encode()).hexdigest()[:16]


def _version(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
