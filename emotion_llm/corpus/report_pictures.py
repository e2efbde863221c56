"""Pictures of a corpus: counts and durations, and some of its movements.

Report, Corpus  ->  matplotlib figures  ->  PNG files beside report.txt, and TensorBoard (page "Images")
"""

import io
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from emotion_llm.corpus.report import Group, Report, report_text
from emotion_llm.corpus.store import Clip, Corpus
from emotion_llm.runtime import figures
from emotion_llm.runtime.tensorboard import Tag

INK, FAINT, BAR = "#22303c", "#b8c1c9", "#4c7fa6"
PART_COLOURS = {
    "trunk": INK, "head": INK, "left_arm": "#d1603d", "left_leg": "#e29a7c", "right_arm": "#2f7f86", "right_leg": "#7fb5b2"
}  # fmt: skip
"""The body's left is warm, its right cool; arms are dark, legs light."""
DOTS_PER_INCH = 100
MAX_BARS = 16
STRIPS, POSES = 8, 9  # clips per picture, poses per clip
STRIP_INCHES, HEADING_INCHES = 1.9, 0.45
POSE_SPACING = 1.15  # metres between two poses of a strip
HEAD_METRES = 0.16  # diameter that heads are drawn with
VIEW_DEGREES = 28.0  # the camera stands in front of the body's start, turned this far to its left
PICTURES = ("report_labels.png", "report_movements.png")
BOARD_POSES, BOARD_STRIP_INCHES, LINE_INCHES = 8, 0.8, 0.145
"""Of a small picture: poses, height of their row and of a line below it."""


def write_pictures(report: Report, corpus: Corpus, folder: Path) -> None:
    """Writes PICTURES to the corpus's folder, and one TensorBoard run to `folder`, which replaces an older one.

    TensorBoard's own writer is used: importing a corpus does not need torch, which takes seconds to load.
    """
    lines = "    " + report_text(report).replace("\n", "\n    ")  # indented: in TensorBoard's Markdown this keeps the columns aligned
    text = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    values = [Summary.Value(tag=Tag.CORPUS_REPORT, tensor=TensorProto(dtype="DT_STRING", string_val=[lines.encode()]), metadata=text)]
    for name, figure in zip(PICTURES, (histogram_figure(report, corpus), strip_figure(corpus)), strict=True):
        figure.savefig(corpus.folder / name, dpi=DOTS_PER_INCH)
    for tag, figure in board_figures(report, corpus):
        png = io.BytesIO()
        figure.savefig(png)
        width, height = (round(side * figure.dpi) for side in figure.get_size_inches())
        image = Summary.Image(encoded_image_string=png.getvalue(), width=width, height=height, colorspace=4)
        values.append(Summary.Value(tag=tag, image=image))
    shutil.rmtree(folder, ignore_errors=True)
    writer = EventFileWriter(str(folder))
    writer.add_event(Event(wall_time=time.time(), summary=Summary(value=values)))
    writer.close()


def board_figures(report: Report, corpus: Corpus) -> Iterator[tuple[str, Figure]]:
    """Tag and figure of the same, one thing in each, for the size at which TensorBoard shows them."""
    figure, axes = figures.small_figure(2.2)
    _durations(axes, corpus)
    yield f"{Tag.CORPUS_CLIPS}/durations", figure
    for name in ("emotion", "actor", "action"):
        if groups := getattr(report, f"{name}s"):
            figure, axes = figures.small_figure(0.6 + 0.17 * max(6, min(len(groups), MAX_BARS)))
            _bars(axes, f"clips per {name}", groups)
            yield f"{Tag.CORPUS_CLIPS}/per_{name}", figure
    for index in _examples(corpus):
        clip = corpus.clip(index)
        yield Tag.CORPUS_MOVEMENTS.of(clip.emotion), poses_figure(corpus, index, clip.emotion, [_who(clip)])


def poses_figure(corpus: Corpus, index: int, heading: str, lines: Sequence[str]) -> Figure:
    """A small picture: poses from the clip's begin to its end, and text below them."""
    height = BOARD_STRIP_INCHES + LINE_INCHES * (len(lines) + 1.9)
    figure = Figure(figsize=(figures.WIDTH_INCHES, height), dpi=figures.DOTS_PER_INCH, facecolor="white")
    axes = figure.add_axes((0, 1 - BOARD_STRIP_INCHES / height, 1, BOARD_STRIP_INCHES / height))
    draw_poses(axes, corpus, index, BOARD_POSES, line_width=1.1)
    axes.set_xlim(-POSE_SPACING / 2, POSE_SPACING * (BOARD_POSES - 0.5))
    below = 1 - (BOARD_STRIP_INCHES + 0.03) / height
    figure.text(0.02, below, heading, color=INK, fontsize=7.5, fontweight="bold", va="top", parse_math=False)
    text = "\n".join(lines)
    figure.text(0.02, below - LINE_INCHES * 1.2 / height, text, color=INK, fontsize=7, va="top", linespacing=1.35, parse_math=False)
    return figure


def histogram_figure(report: Report, corpus: Corpus) -> Figure:
    """The distribution of the clips' durations, and clips per emotion, actor and action."""
    figure = Figure(figsize=(12, 8), layout="constrained", facecolor="white")
    figure.suptitle(report.title, color=INK, fontsize=13, x=0.012, ha="left", fontweight="bold")
    panels = figure.subplots(2, 2).ravel()
    _durations(panels[0], corpus)
    for axes, name in zip(panels[1:], ("emotion", "actor", "action"), strict=True):
        groups = getattr(report, f"{name}s")
        axes.set_visible(bool(groups))
        if groups:
            _bars(axes, f"clips per {name}", groups)
    return figure


def strip_figure(corpus: Corpus) -> Figure:
    """One clip of each of the first emotions, drawn as evenly spaced poses from its first frame to its last."""
    shown = _examples(corpus)
    figure = Figure(figsize=(12, HEADING_INCHES + STRIP_INCHES * len(shown)), facecolor="white")
    height = figure.get_figheight()
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1 - HEADING_INCHES / height, hspace=0.04)
    heading = f"{corpus.name}: body's left warm, right cool; seconds below"
    figure.text(0.012, 1 - 0.1 / height, heading, color=INK, fontsize=12, va="top", fontweight="bold")
    heights = np.concatenate([corpus.positions(index)[..., 1].ravel() for index in shown])
    for axes, index in zip(np.atleast_1d(figure.subplots(len(shown), 1)), shown, strict=True):
        _strip(axes, corpus, index, floor=float(heights.min()), top=float(heights.max()))
    return figure


def _bars(axes: Axes, title: str, groups: tuple[Group, ...]) -> None:
    _quiet(axes, title)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    shown = groups if len(groups) <= MAX_BARS else groups[: MAX_BARS - 1]
    words, clips = [group.word for group in shown], [group.clips for group in shown]
    if others := groups[len(shown) :]:
        words.append(f"{len(others)} others")
        clips.append(sum(group.clips for group in others))
    bars = axes.barh(words, clips, height=0.68, color=[BAR] * len(shown) + [FAINT])
    axes.bar_label(bars, [f" {count:,}" for count in clips], color=INK, fontsize=9)
    axes.set_ylim(max(len(words), 6) - 0.4, -0.6)


def _durations(axes: Axes, corpus: Corpus) -> None:
    _quiet(axes, "clips by duration, seconds")
    seconds = np.asarray(corpus.clips["frames"]) / corpus.frames_per_second
    shortest, median, most, longest = np.quantile(seconds, (0, 0.5, 0.99, 1)).tolist()
    axes.hist(np.minimum(seconds, most), bins=30, range=(min(shortest, 0.9 * most), max(most, shortest + 0.1)), color=BAR, rwidth=0.86)
    axes.margins(y=0.2)  # room for the words
    accent = PART_COLOURS["left_arm"]
    axes.axvline(median, color=accent, linewidth=1.2)
    axes.text(median, 0.97, f" median {median:.1f} s", transform=axes.get_xaxis_transform(), color=accent, fontsize=9, va="top")
    if longest > most:
        note = f"longest {longest:.1f} s, in the last bin"
        axes.text(0.995, 0.97, note, transform=axes.transAxes, color=FAINT, fontsize=8, va="top", ha="right")


def _quiet(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)


def _examples(corpus: Corpus) -> list[int]:
    """One clip per emotion, of median duration; emotions without clips are skipped."""
    emotions, frames = np.asarray(corpus.clips["emotion"]), np.asarray(corpus.clips["frames"])
    of_emotion = [np.flatnonzero(emotions == emotion) for emotion in np.unique(emotions)[:STRIPS]]
    return [int(clips[np.argsort(frames[clips], kind="stable")[len(clips) // 2]]) for clips in of_emotion]


def _strip(axes: Axes, corpus: Corpus, index: int, floor: float, top: float) -> None:
    clip = corpus.clip(index)
    frames = draw_poses(axes, corpus, index, POSES)
    axes.axhline(floor, color=FAINT, linewidth=0.8)
    for x, seconds in zip(POSE_SPACING * np.arange(len(frames)), frames / corpus.frames_per_second, strict=True):
        axes.text(x, floor - 0.07, f"{seconds:.1f}", color=FAINT, fontsize=8, ha="center", va="top")
    axes.text(-0.95, top, clip.emotion, color=INK, fontsize=11, fontweight="bold", ha="right", va="top")
    axes.text(-0.95, top - 0.3, _who(clip), color=INK, fontsize=8, ha="right", va="top", wrap=True)
    axes.set_xlim(-2.6, POSE_SPACING * (POSES - 1) + 0.8)
    axes.set_ylim(floor - 0.25, top + HEAD_METRES / 2 + 0.02)


def _who(clip: Clip) -> str:
    return " · ".join(word for word in (clip.actor, clip.action) if word)


def draw_poses(axes: Axes, corpus: Corpus, index: int, poses: int, line_width: float = 2.2) -> np.ndarray:
    """Draws evenly spaced poses of a clip, POSE_SPACING metres apart, on axes in metres; returns their frames."""
    layout = corpus.layout
    positions = np.asarray(corpus.positions(index), dtype=np.float64)
    frames = np.linspace(0, len(positions) - 1, min(poses, len(positions))).round().astype(int)
    drawn = _seen(positions[frames], corpus)  # (POSES, V, 2)
    drawn[..., 0] += POSE_SPACING * np.arange(len(frames))[:, None]
    joints = [joint for joint in layout.parents_first if layout.parents[joint] >= 0]
    bones = np.stack([drawn[:, [layout.parents[joint] for joint in joints]], drawn[:, joints]], axis=2)  # (POSES, bones, 2 ends, 2)
    colours = [PART_COLOURS[layout.parts[joint]] for joint in joints] * len(frames)
    widths = [line_width if layout.bone_lengths[joint] > 0.06 else 0.4 * line_width for joint in joints] * len(frames)  # fingers are thin
    head = layout.landmarks["head"]
    heads = drawn[:, [head, *(joint for joint, parent in enumerate(layout.parents) if parent == head)]].mean(axis=1)  # (POSES, 2)
    axes.add_collection(
        EllipseCollection(HEAD_METRES, HEAD_METRES, 0, units="xy", offsets=heads, offset_transform=axes.transData, color=INK)
    )
    axes.add_collection(LineCollection(list(bones.reshape(-1, 2, 2)), colors=colours, linewidths=widths, capstyle="round"))
    axes.set_aspect("equal")
    axes.axis("off")
    return frames


def _seen(positions: np.ndarray, corpus: Corpus) -> np.ndarray:
    """(T, V, 3) -> (T, V, 2): the camera's view, every pose centred."""
    centred = positions - corpus.layout.landmark(positions, "pelvis")[:, None, :] * (1, 0, 1)
    angle = np.radians(VIEW_DEGREES)
    across = np.cos(angle) * centred[..., 0] - np.sin(angle) * centred[..., 2]
    return np.stack([across, centred[..., 1]], axis=-1)
