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
POSES, STRIP_INCHES, LINE_INCHES, CHARACTERS = 8, 0.8, 0.145, 62
"""Of the figure: poses, heights of their row and of a line, characters of a line."""


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
    from matplotlib.figure import Figure

    from emotion_llm.corpus.report_pictures import INK, POSE_SPACING, draw_poses
    from emotion_llm.runtime.figures import DOTS_PER_INCH, WIDTH_INCHES

    lines = textwrap.wrap(printable(example.marked, keep=""), CHARACTERS)
    height = STRIP_INCHES + LINE_INCHES * (len(lines) + 1.9)
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH, facecolor="white")
    axes = figure.add_axes((0, 1 - STRIP_INCHES / height, 1, STRIP_INCHES / height))
    draw_poses(axes, example.corpus, example.clip, POSES, line_width=1.1)
    axes.set_xlim(-POSE_SPACING / 2, POSE_SPACING * (POSES - 0.5))
    below = 1 - (STRIP_INCHES + 0.03) / height
    figure.text(0.02, below, example.heading, color=INK, fontsize=7.5, fontweight="bold", va="top", parse_math=False)
    figure.text(
        0.02, below - LINE_INCHES * 1.2 / height, "\n".join(lines), color=INK, fontsize=7, va="top", linespacing=1.35, parse_math=False
    )
    return figure
