"""A report: one page per clip and an index of them all, or one page of one or two clips.

ReportClips, one after another  ->  DIR/index.html, DIR/clips/<name>.html; or FILE.html
"""

from __future__ import annotations

import base64
import html
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from emotion_llm.motion.layout import Layout
from emotion_llm.motion.motion import Motion
from emotion_llm.report.clip import ReportClip, line
from emotion_llm.report.page import GENERATOR, clip_page, render
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import atomic_write

THUMBNAIL_POSES, THUMBNAIL_HEIGHT, POSE_WIDTH = 4, 93, 64
"""Poses beside each other in a box of 256 x 93 units, so that a coordinate is one byte."""
UNITS_PER_METRE = 44.0
VIEW_DEGREES = 28.0
"""Thumbnails show the body from its front, turned this far to its left."""


class Report:
    """Pages of clips as they come: in a folder one per clip and, at the end, an index; in a file one page of one or two clips.

    Only what the index shows of a clip is kept in memory.
    """

    def __init__(self, target: Path, clips: int = 1) -> None:
        """
        Args:
            target: folder, or file that ends in .html.
            clips: how many there will be.

        Raises:
            UserError: more than two clips for one file, or an index.html in the folder that is none of ours.
        """
        self.target, self.is_file = target, target.suffix.lower() == ".html"
        if self.is_file and clips > 2:
            raise UserError(f"--html {target}: one page shows one or two clips, not {clips:,}; name a folder for a page of each")
        index = target / "index.html"
        if index.exists() and GENERATOR not in index.read_text(encoding="utf-8", errors="replace")[:2000]:
            raise UserError(f"{index}: was not written by emotion_llm and would be replaced; choose another folder for --html")
        self._clips: list[ReportClip] = []
        self._entries: list[dict[str, Any]] = []
        self._layouts: dict[str, dict[str, Any]] = {}
        self._names: Counter[str] = Counter()

    def add(self, clip: ReportClip) -> None:
        """Writes the page of one clip, in a folder."""
        if self.is_file:
            self._clips.append(clip)
            return
        page, layout = f"clips/{self._file_name(clip.name)}", clip.motion.layout
        write_page(self.target / page, clip_page([clip], index="../index.html"))
        self._layouts[layout.name] = {"joints": layout.joints, "bones": _bones(layout), "head": layout.landmarks["head"]}
        self._entries.append(_entry(clip) | {"page": page})

    def close(self, title: str) -> Path | None:
        """Writes the index of a folder, or the file; returns the page to open, None for a file without clips."""
        if self.is_file:
            return write_page(self.target, clip_page(self._clips)) if self._clips else None
        plain = "\n".join(f"{entry['name']}: {entry['emotion'] or entry['truth'] or ''}" for entry in self._entries)
        page = render(
            "index.html", ("common.js", "index.js"), {"entries": self._entries, "layouts": self._layouts}, frames=True,
            title=html.escape(line(title)), plain=html.escape(plain)
        )  # fmt: skip
        return write_page(self.target / "index.html", page)

    def _file_name(self, name: str) -> str:
        """A plain name, made from the clip's, that no other clip has; upper and lower case count as one."""
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[-80:] or "clip"
        self._names[plain.lower()] += 1
        times = self._names[plain.lower()]
        return f"{plain}.html" if times == 1 else self._file_name(f"{plain}-{times}")


def write_reports(folder: Path, title: str, clips: Iterable[ReportClip]) -> Path:
    """Pages of all clips, and their index, whose path is returned.

    Raises:
        UserError: an index.html lies there that is none of ours.
    """
    report = Report(folder)
    for clip in clips:
        report.add(clip)
    index = report.close(title)
    assert index is not None
    return index


def write_page(path: Path, page: str) -> Path:
    """Writes a page, atomically."""
    with atomic_write(path) as tmp:
        tmp.write_text(page, encoding="utf-8")
    return path


def _entry(clip: ReportClip) -> dict[str, Any]:
    """What the index shows of a clip."""
    verdicts = Counter(judged.verdict for judged, *_ in clip.judged)
    answer = clip.answer
    known = (verdicts["supported"], verdicts["contradicted"])
    return {
        "name": line(clip.name),
        "corpus": clip.corpus and line(clip.corpus),
        "actor": clip.actor and line(clip.actor),
        "action": clip.action and line(clip.action),
        "truth": clip.truth and line(clip.truth),
        "emotion": answer and line(answer.emotion),
        "probability": answer and answer.probability,
        "text": " ".join([*clip.texts, *(answer.explanations if answer else [])]) or None,
        "claims": [*known, verdicts.total() - sum(known)] if verdicts else None,
        "seconds": clip.motion.seconds,
        "layout": clip.motion.layout.name,
        "poses": base64.b64encode(thumbnail(clip.motion).tobytes()).decode("ascii"),
    }


def thumbnail(motion: Motion) -> np.ndarray:
    """Poses from begin to end beside each other, as seen from the front.

    Shape:
        -> (THUMBNAIL_POSES, V, 2) uint8: right, down
    """
    frames = np.linspace(0, len(motion.positions) - 1, 2 * THUMBNAIL_POSES + 1)[1::2].round().astype(int)
    poses = motion.positions[frames]  # (P, V, 3)
    turn = np.radians(VIEW_DEGREES)
    x, z = poses[..., 0], poses[..., 2]
    right = np.cos(turn) * x - np.sin(turn) * z  # (P, V)
    right -= right[:, [motion.layout.landmarks["pelvis"]]]
    across = right * UNITS_PER_METRE + POSE_WIDTH * (np.arange(THUMBNAIL_POSES)[:, None] + 0.5)
    down = THUMBNAIL_HEIGHT - 2 - poses[..., 1] * UNITS_PER_METRE
    return np.stack([across, down], axis=-1).round().clip(0, 255).astype(np.uint8)


def _bones(layout: Layout) -> list[list[int]]:
    return [[parent, joint] for joint, parent in enumerate(layout.parents) if parent not in (-1, layout.landmarks["head"])]
