"""Answers to look at in TensorBoard: what was said of a clip beside its label, held against its movement.

Example (clip, answer, text, Standing)  ->  figure: poses and text;  several  ->  Markdown table
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotion_llm.corpus.store import Corpus
from emotion_llm.grounding.judge import Standing, judge_text
from emotion_llm.runtime.output import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKS = {"supported": "✓", "contradicted": "✕", "indeterminate": "≈", "uncheckable": "?"}
"""Verdict -> sign behind the claim."""
CHARACTERS = 62
"""Of a line of the figure."""


@dataclass(frozen=True)
class Example:
    """What was said of one clip."""

    corpus: Corpus
    clip: int
    answered: str
    probability: float
    """Of the answered emotion."""
    text: str
    movement: Standing | None
    """Where the clip stands among the training clips; None: nothing to hold the text against."""

    @property
    def heading(self) -> str:
        label = self.corpus.clip(self.clip).emotion
        return f"label {label} · answered {self.answered} {self.probability:.0%} {'✓' if self.answered == label else '✕'}"

    @property
    def marked(self) -> str:
        """The text with its verdicts' signs."""
        if self.movement is None:
            return self.text
        judged, text = judge_text(self.text, self.movement), self.text
        ends = [(one.claim.span[1], one.verdict) for one in judged.claims if one.claim.span]
        for end, verdict in sorted(ends, reverse=True):
            text = f"{text[:end]}\N{NO-BREAK SPACE}{MARKS[verdict]}{text[end:]}"
        return text


def examples_table(examples: Sequence[Example]) -> str:
    """Markdown: one row per example, with the clip's own text where it has one."""
    rows = [("clip", "answer", "text of the clip"), ("---",) * 3]
    for example in examples:
        about = example.corpus.clip(example.clip)
        said = f"**{example.heading}**<br>{example.marked}"
        rows.append((f"{example.corpus.name}/{about.name}", said, (about.texts or ("",))[0]))
    signs = ", ".join(f"{sign} {verdict}" for verdict, sign in MARKS.items())
    lines = ["|" + "|".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + "|" for row in rows]
    return "\n".join([*lines, "", f"Claims held against the movement: {signs}"])


def example_figure(example: Example) -> Figure:
    """Poses from the clip's begin to its end; below them label, answer, and the text with its verdicts."""
    from emotion_llm.corpus.report_pictures import poses_figure

    lines = textwrap.wrap(printable(example.marked, keep=""), CHARACTERS)
    return poses_figure(example.corpus, example.clip, example.heading, lines)
