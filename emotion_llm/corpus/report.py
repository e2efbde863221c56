"""The report of an import, for people and for programs.

Scan, readings  ->  Report  ->  text (report.txt), JSON (report.json); pictures are in report_pictures.py
"""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from emotion_llm.corpus.definition import CorpusDefinition
from emotion_llm.corpus.reading import Reading
from emotion_llm.corpus.scan import LeftOut, Scan, SourceFile
from emotion_llm.corpus.store import natural_order
from emotion_llm.runtime.files import atomic_write, write_json
from emotion_llm.runtime.output import printable

MAX_EXAMPLES = 3  # Files named per reason in the text; the JSON names all
MAX_LINES, MAX_ROWS = 12, 40  # Lines per list and rows per table in the text
BAR_WIDTH = 24
VARIES = re.compile(r"(?<!emotion )'[\w .:+-]+'|\d+(\.\d+)?")
"""What differs between texts of one kind: numbers, and names in quotes such as a joint's; an unknown emotion is a kind of its own."""


@dataclass(frozen=True)
class Group:
    """The clips that share a label."""

    word: str
    clips: int
    seconds: float
    shortest: float  # Seconds, as are the next two
    median: float
    longest: float


@dataclass(frozen=True)
class Report:
    """What an import found."""

    name: str
    title: str
    licence: str
    note: str
    layout: str
    joints: int
    frames_per_second: float
    data_hash: str  # Empty where the corpus was only checked
    all: Group
    emotions: tuple[Group, ...]  # In label order, including emotions without clips
    actors: tuple[Group, ...]  # By name; empty if the corpus has no actors
    actions: tuple[Group, ...]
    described_clips: int  # Clips that people have described
    left_out: tuple[LeftOut, ...]
    missing: tuple[str, ...]  # What a table lists but the source does not hold
    duplicates: tuple[tuple[str, ...], ...]  # Clips that hold the same movement, by name
    suspicious: tuple[tuple[str, str], ...]  # (clip, finding); these clips are in the corpus
    narrated_clips: int = 0  # Clips with a generated description

    @property
    def faults(self) -> int:
        """Number of files and table rows that need attention; if it is not 0, neither is the exit status."""
        return sum(not item.by_rule for item in self.left_out) + len(self.missing)


def make_report(
    definition: CorpusDefinition, scan: Scan, readings: Mapping[str, Reading], frames_per_second: float, data_hash: str = ""
) -> Report:
    """readings: path -> reading, of every file of the scan."""
    kept = [(file, readings[file.path]) for file in scan.files if readings[file.path].error is None]
    unread = [LeftOut(file.path, error, by_rule=False) for file in scan.files if (error := readings[file.path].error) is not None]
    clips = [(file, reading.frames / frames_per_second) for file, reading in kept]
    same: dict[str, list[str]] = {}
    for file, reading in kept:
        same.setdefault(reading.movement, []).append(file.name)
    return Report(
        name=definition.name,
        title=printable(definition.title),
        licence=printable(definition.licence),
        note=printable(definition.note),
        layout=definition.layout.name,
        joints=definition.layout.joints,
        frames_per_second=frames_per_second,
        data_hash=data_hash,
        all=_group("all", [seconds for _, seconds in clips]),
        emotions=_groups(clips, "emotion", definition.emotions),
        actors=_groups(clips, "actor"),
        actions=_groups(clips, "action"),
        described_clips=sum(bool(file.texts) for file, _ in clips),
        left_out=tuple(sorted((*scan.left_out, *unread), key=lambda item: item.path)),
        missing=scan.missing,
        duplicates=tuple(tuple(names) for names in same.values() if len(names) > 1),
        suspicious=tuple((file.name, finding) for file, reading in kept for finding in reading.findings),
    )


def report_to_dict(report: Report) -> dict:
    """As plain JSON values."""
    return asdict(report) | {"faults": report.faults}


def write_report(report: Report, folder: Path) -> None:
    """Writes report.json and report.txt."""
    write_json(folder / "report.json", report_to_dict(report))
    with atomic_write(folder / "report.txt") as tmp:
        tmp.write_text(report_text(report), encoding="utf-8")


def report_text(report: Report) -> str:
    """The report for people: what was imported, what was not, and what looks wrong."""
    all_clips = report.all
    lines = [text for text in (report.title, report.licence, report.note) if text]
    lines += [
        "",
        f"clips        {all_clips.clips:,} of {all_clips.clips + len(report.left_out):,} motion files",
        f"duration     {_long(all_clips.seconds)}; a clip {all_clips.shortest:.1f} to {all_clips.longest:.1f} s, half under {all_clips.median:.1f} s",
        f"skeleton     {report.layout}, {report.joints} joints, {report.frames_per_second:g} frames per second",
        f"labels       {len(report.emotions)} emotions, {len(report.actors) or 'no'} actors, {len(report.actions) or 'no'} actions",
        f"descriptions {report.described_clips:,} clips are described in words by people",
    ]
    if report.narrated_clips:
        lines.append(f"narration    {report.narrated_clips:,} clips have GENERATED descriptions (narration.csv): nobody wrote them")
    if report.data_hash:
        lines.append(f"data hash    {report.data_hash[:16]}")
    for heading, groups in (("emotion", report.emotions), ("actor", report.actors), ("action", report.actions)):
        lines += _table(heading, groups)
    for heading, by_rule in (("left out by rule", True), ("left out, something is wrong", False)):
        lines += _grouped(heading, [(item.reason, item.path) for item in report.left_out if item.by_rule == by_rule])
    lines += _listing("missing", report.missing)
    lines += _listing("the same movement more than once", [" = ".join(names) for names in report.duplicates])
    lines += _grouped("suspicious, but kept", [(finding, clip) for clip, finding in report.suspicious])
    return printable("\n".join(lines)) + "\n"


def _groups(clips: list[tuple[SourceFile, float]], label: str, words: Iterable[str] = ()) -> tuple[Group, ...]:
    seconds: dict[str, list[float]] = {word: [] for word in words}
    for file, duration in clips:
        word = getattr(file, label)
        if word is not None:
            seconds.setdefault(word, []).append(duration)
    order = seconds if words else sorted(seconds, key=natural_order)
    return tuple(_group(word, seconds[word]) for word in order)


def _group(word: str, seconds: list[float]) -> Group:
    values = sum(seconds), min(seconds, default=0), statistics.median(seconds or [0]), max(seconds, default=0)
    return Group(word, len(seconds), *(round(value, 3) for value in values))


def _table(heading: str, groups: tuple[Group, ...]) -> list[str]:
    """One line per group, with a bar for its number of clips."""
    if not groups:
        return []
    width = max(len(heading), *(len(group.word) for group in groups))
    most = max(group.clips for group in groups) or 1
    lines = ["", f"{heading:{width}}  {'clips':>7}  {'minutes':>7}  {'shortest':>8}  {'median':>6}  {'longest':>7}"]
    for group in groups[:MAX_ROWS]:
        std = f"{group.shortest:6.1f} s  {group.median:4.1f} s  {group.longest:5.1f} s"
        bar = "█" * round(BAR_WIDTH * group.clips / most)
        lines.append(f"{group.word:{width}}  {group.clips:7,}  {group.seconds / 60:7.1f}  {std}  {bar}".rstrip())
    return [*lines, f"... and {len(groups) - MAX_ROWS:,} more, in report.json"] if len(groups) > MAX_ROWS else lines


def _grouped(heading: str, items: list[tuple[str, str]]) -> list[str]:
    """One line per kind of (text, file or clip), the most frequent first. Texts of one kind differ only in numbers and joint names."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for text, name in items:
        kinds.setdefault(VARIES.sub("0", text), []).append((text, name))
    lines = []
    for group in sorted(kinds.values(), key=lambda group: -len(group)):
        more = f" and {len(group) - MAX_EXAMPLES:,} more" if len(group) > MAX_EXAMPLES else ""
        lines.append(f"{len(group):,} × {group[0][0]}: {', '.join(name for _, name in group[:MAX_EXAMPLES])}{more}")
    return _listing(heading, lines, len(items))


def _listing(heading: str, lines: Sequence[str], count: int | None = None) -> list[str]:
    shown = lines if len(lines) <= MAX_LINES else [*lines[:MAX_LINES], f"... and {len(lines) - MAX_LINES:,} more, in report.json"]
    return ["", f"{heading}: {len(lines) if count is None else count:,}", *(f"  {line}" for line in shown)] if lines else []


def _long(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{seconds / 60:.1f} min"
