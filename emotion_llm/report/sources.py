"""Where the clips of a report come from.

prepared corpora, records of an evaluation, answers of launch/predict.py  ->  ReportClips  ->  pages
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from emotion_llm.corpus.store import Corpus
from emotion_llm.grounding.judge import JudgedClaim
from emotion_llm.inference.answer import Answer, Attribution, ranked
from emotion_llm.inference.recordings import Conventions, ReadingChoices, open_recording
from emotion_llm.inference.timeline import Timeline
from emotion_llm.report.clip import ReportClip
from emotion_llm.runtime.console import progress, say
from emotion_llm.runtime.errors import UserError

_CLAIMS = TypeAdapter(tuple[JudgedClaim, ...])
_ATTRIBUTION: TypeAdapter[Any] = TypeAdapter(cast(Any, Attribution | None))


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
        claims, attribution = _CLAIMS.validate_python(record.get("claims") or ()), _ATTRIBUTION.validate_python(record.get("attribution"))
        answer = Answer(record["clip"], corpus.name, record["predicted"], probabilities, record.get("explanation"), claims, attribution)
        yield replace(_corpus_clip(corpus, places[record["clip"]]), answer=answer)


def _corpus_clip(corpus: Corpus, index: int) -> ReportClip:
    clip = corpus.clip(index)
    motion = corpus.motion(index)
    return ReportClip(clip.name, motion, None, clip.emotion, corpus.name, clip.actor, clip.action, clip.texts)


def predicted_clip(answer: Answer | Timeline, conventions: Conventions, choices: ReadingChoices) -> ReportClip | None:
    """The answer to a motion file, which is read again: processes exchange answers, not motions. None where parts of a long recording were
    answered, but it cannot be drawn as one."""
    try:
        recording = open_recording(Path(answer.clip), conventions, choices)
    except UserError as error:
        say(f"no page: {error}")
        return None
    return ReportClip(Path(answer.clip).stem, recording.canonical, answer, corpus=answer.corpus)
