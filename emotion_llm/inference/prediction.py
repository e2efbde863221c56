"""Motion files answered, one or ten thousand.

files, folders, patterns; TrainedModel  ->  Answers on the terminal, or one JSON object per line in a file that can be resumed

Imports no torch by itself: files that are missing or unreadable are refused before anything large is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

import tyro
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass as validated_dataclass

from emotion_llm.inference.answer import NO_EXPLANATION, Answer, Result, Unread
from emotion_llm.inference.recordings import Conventions, ReadingChoices, Recording, find_clips, open_recording
from emotion_llm.inference.timeline import Timeline
from emotion_llm.motion.reading import read_motion_file
from emotion_llm.runtime.console import progress, say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import atomic_write
from emotion_llm.runtime.imports import collection_paused
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.output import BestEffort, printable
from emotion_llm.runtime.validation import STRICT, Share

if TYPE_CHECKING:
    from emotion_llm.inference.trained_model import TrainedModel
    from emotion_llm.inference.trained_run import FoundRun

_RESULT: TypeAdapter[Any] = TypeAdapter(cast(Any, Answer | Timeline))
UNREAD_STATUS = 3
"""Exit status where some files could not be read and all others were answered."""


@validated_dataclass(frozen=True, config=STRICT)
class PredictSettings(ReadingChoices):
    """Which motions to explain, and with what."""

    clips: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Motion files (BVH, or tables and arrays laid out like those of the corpus), folders of them, or patterns such as 'takes/**/*.bvh'."""
    run: Annotated[Path, tyro.conf.arg(aliases=["--checkpoint"])] = Path("runs/description")
    """Run folder of launch/finetune.py (its newest checkpoint), <run>/checkpoints/best.json (its best), or one checkpoint folder."""
    llm: str | None = None
    """Name or folder of the base LLM, if it has moved since training."""
    encoder_share: Share | None = None
    """Weight of the encoder's classifier in the answers, by default that of the run's settings; 0: the LLM alone, as in the paper."""
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


PRESETS = {
    "default": PredictSettings(("clip.bvh",)),
    "demo": PredictSettings(("clip.bvh",), run=Path("runs/demo/description")),
    "smollm2": PredictSettings(("clip.bvh",), run=Path("runs/bandai-namco-2/description")),
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
    with collection_paused():
        from emotion_llm.inference.trained_model import TrainedModel
    from emotion_llm.inference.trained_run import find_run
    from emotion_llm.runtime.processes import process_count, start_processes

    device = start_processes()
    found = find_run(settings.run, encoder_share=settings.encoder_share)
    if len(paths) == 1 and settings.output is None and process_count() == 1 and not settings.long:
        recording = open_recording(paths[0], found.conventions, settings)
        answer = answer_aloud(recording, TrainedModel.of(found, settings.llm, device), settings)
        if on_answer is not None:
            on_answer(answer, found.conventions)
        return 0
    file = None if settings.output is None else AnswerFile(settings.output, found, settings)
    known = {} if file is None else file.answered
    left = [path for path in paths if str(path) not in known]
    if len(left) < len(paths):
        say(f"{settings.output}: {len(paths) - len(left):,} of {len(paths):,} clips are answered already")
    if on_answer is not None and is_first_rank():
        for path in paths:
            if line := known.get(str(path)):
                on_answer(_RESULT.validate_json(line), found.conventions)
    unread = predict_many(left, TrainedModel.of(found, settings.llm, device), settings, file, on_answer) if left else 0
    if unread == len(paths):
        raise UserError(f"none of the {len(paths):,} files could be read; see the reasons above")
    say(f"{len(paths) - unread:,} of {len(paths):,} clips answered" + (f" in {settings.output}" if file else ""))
    return UNREAD_STATUS if unread else 0


def answer_aloud(recording: Recording, model: TrainedModel, settings: PredictSettings) -> Answer:
    """One clip: the emotion is printed as soon as it is known, and the explanation while it is written."""
    choices = [recording], settings.explanation, settings.html is not None
    if settings.json:
        (answer,) = model.answer(*choices)
        _show(answer, settings)
        return answer
    say(model.title)
    stdout = BestEffort(sys.stdout)

    def write(text: str) -> None:
        stdout.write(printable(text))
        stdout.flush()

    (answer,) = model.answer(*choices, on_emotion=lambda answer: say(answer.heading()), on_text=write)
    write("\n" if answer.explanation else f"{NO_EXPLANATION}\n" if not model.explains else "")
    for remark in answer.remarks():
        say(remark)
    return answer


def predict_many(
    paths: Sequence[Path], model: TrainedModel, settings: PredictSettings, file: AnswerFile | None, on_answer: OnAnswer | None = None
) -> int:
    """Many clips, shared among all processes; returns how many could not be read. Every process must call it."""
    from emotion_llm.runtime.processes import gather_over_processes, process_count, process_rank

    say(model.title)
    unread, share = 0, settings.batch * process_count()
    with progress(paths, "answering", "clip") as bar:  # updated batch by batch
        for start in range(0, len(paths), share):
            first = start + process_rank() * settings.batch
            own = model.answer_files(
                paths[first : first + settings.batch], settings, settings.explanation, settings.html is not None, settings.long
            )
            for part in gather_over_processes(own):
                for result in part:
                    unread += isinstance(result, Unread)
                    if file is None or settings.json or isinstance(result, Unread):
                        _show(result, settings)
                    if on_answer is not None and is_first_rank() and not isinstance(result, Unread):
                        on_answer(result, model.conventions)
                if file is not None:
                    file.append(part)
                bar.update(len(part))
    return unread


def _show(result: Answer | Timeline | Unread, settings: PredictSettings) -> None:
    if isinstance(result, Unread):
        say(f"left out: {result.error}")
    elif not settings.json:
        say(result.text())
    elif is_first_rank():
        stdout = BestEffort(sys.__stdout__ or sys.stdout)
        stdout.write(json.dumps(result.to_dict(), ensure_ascii=False) + "\n")
        stdout.flush()


class AnswerFile:
    """A file of answers, one JSON object per line, to which answers are added batch by batch.

    A line holds an Answer, a Timeline, or clip and error, and what it came from: `model`, a hash of the trained weights and of the settings
    that change an answer, and the clip's size and time of modification.
    """

    def __init__(self, path: Path, found: FoundRun, settings: PredictSettings) -> None:
        """Removes the lines of clips that could not be read or have changed, and a last line that a killed process left incomplete. Every
        process must call it.

        Raises:
            UserError: the file holds something else, or answers of another model.
        """
        self.path, self.model = path, identity(found, settings)
        self.answered: dict[str, str] = {}
        """Clip that is answered and has not changed since -> its line."""
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                clip, made_by, is_answer = record["clip"], record["model"], "error" not in record
                version = {name: record[name] for name in ("size", "modified")}
            except (ValueError, KeyError, TypeError):
                if number == len(lines):  # the process was killed while it wrote
                    break
                raise UserError(f"{path}: line {number} is no answer of launch/predict.py; choose another --output") from None
            if made_by != self.model:
                raise UserError(
                    f"{path}: line {number} was answered by another model or with other settings (model {made_by}, now {self.model}); "
                    "choose another --output, or delete the file to answer all clips again"
                )
            if is_answer and version == _version(Path(clip)):
                self.answered[clip] = line
        if is_first_rank() and [*self.answered.values()] != lines:
            with atomic_write(path) as tmp:
                tmp.write_text("".join(self.answered.values()), encoding="utf-8")

    def append(self, results: Sequence[Result]) -> None:
        """Adds answers; on the first rank only. They are on disk when it returns."""
        if not (results and is_first_rank()):
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            for result in results:
                record = result.to_dict() | {"model": self.model} | _version(Path(result.clip))
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def identity(found: FoundRun, settings: PredictSettings) -> str:
    """Hash of all that determines an answer besides the clip: trained weights, LLM, encoder, and how clips are read."""
    names = (*(field.name for field in fields(ReadingChoices)), "explanation", "long")
    choices = {name: getattr(settings, name) for name in names}
    return hashlib.sha256(json.dumps([found.identity, choices], sort_keys=True).encode()).hexdigest()[:16]


def _version(path: Path) -> dict[str, int]:
    try:
        status = path.stat()
    except OSError:
        return {"size": 0, "modified": 0}
    return {"size": status.st_size, "modified": status.st_mtime_ns}
