"""Where the clips of a report come from.

prepared corpora, records of an evaluation, answers of launch/predict.py  ->  ReportClips  ->  pages
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from emotion_llm.corpus.store import Corpus
from emotion_llm.grounding.judge import JudgedClaim
from emotion_llm.inference.answer import Answer, ranked
from emotion_llm.inference.recordings import Conventions, ReadingChoices, open_recording
from emotion_llm.inference.timeline import Timeline
from emotion_llm.motion.motion import Motion
from emotion_llm.report.clip import ReportClip
from emotion_llm.report.folder import ReportFolder, write_page
from emotion_llm.report.page import clip_page
from emotion_llm.runtime.console import progress, say
from emotion_llm.runtime.errors import UserError

_CLAIMS = TypeAdapter(tuple[JudgedClaim, ...])
PAGE_ENDING = ".html"


def corpus_clips(corpora: Iterable[Corpus]) -> Iterator[ReportClip]:
    """Every clip of prepared corpora, with its label and descriptions."""
    for corpus in corpora:
        for index in progress(range(len(corpus)), f"pages of {corpus.name}", "clip"):
            yield _corpus_clip(corpus, index)


def evaluated_clips(records: Sequence[Mapping[str, Any]], corpora: Iterable[Corpus]) -> Iterator[ReportClip]:
    """The held-out clips of an evaluation: what was answered beside the label.

    Args:
        records: lines of predictions.jsonl.
    """
    known = {corpus.name: (corpus, {str(name): index for index, name in enumerate(corpus.names)}) for corpus in corpora}
    for record in progress(records, "pages", "clip"):
        corpus, places = known[record["corpus"]]
        probabilities = ranked(list(record["probabilities"]), list(record["probabilities"].values()))
        claims = _CLAIMS.validate_python(record.get("claims") or ())
        answer = Answer(record["clip"], corpus.name, record["predicted"], probabilities, record.get("explanation"), claims)
        yield replace(_corpus_clip(corpus, places[record["clip"]]), answer=answer)


def _corpus_clip(corpus: Corpus, index: int) -> ReportClip:
    clip = corpus.clip(index)
    motion = Motion(corpus.layout, corpus.positions(index), corpus.frames_per_second)
    return ReportClip(clip.name, motion, None, clip.emotion, corpus.name, clip.actor, clip.action, clip.texts)


class PredictedPages:
    """Takes the answers of launch/predict.py one by one. A folder gets a page per clip and an index, a file one or two clips."""

    def __init__(self, target: Path, clips: int, choices: ReadingChoices) -> None:
        """
        Args:
            target: folder, or file that ends in .html.
            clips: how many there will be.

        Raises:
            UserError: more than two clips for one file, or an index.html in the folder that is none of ours.
        """
        self._target, self._choices = target, choices
        self._file = target.suffix.lower() == PAGE_ENDING
        if self._file and clips > 2:
            raise UserError(f"--html {target}: one page shows one or two clips, not {clips:,}; name a folder for a page of each")
        self._folder = None if self._file else ReportFolder(target)
        self._clips: list[ReportClip] = []

    def add(self, answer: Answer | Timeline, conventions: Conventions) -> None:
        """Adds the answer to a motion file, which is read again: processes exchange answers, not motions."""
        try:
            recording = open_recording(Path(answer.clip), conventions, self._choices)
        except UserError as error:  # parts of a long recording were answered, but it cannot be drawn as one
            say(f"no page: {error}")
            return
        clip = ReportClip(Path(answer.clip).stem, recording.canonical, answer, corpus=answer.corpus)
        if self._folder is None:
            self._clips.append(clip)
        else:
            self._folder.add(clip)

    def close(self, title: str) -> Path | None:
        """Writes what is left to write; returns the page to open, or None where no clip could be read."""
        if self._folder is not None:
            return self._folder.close(title)
        return write_page(self._target, clip_page(self._clips)) if self._clips else None
