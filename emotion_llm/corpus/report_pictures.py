"""Pictures of a corpus: counts and durations, and some of its movements.

Report, Corpus  ->  matplotlib figures  ->  PNG files beside report.txt, and TensorBoard (page "Images")
"""

from __future__ import annotations

import shutil
import time
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
from emotion_llm.corpus.store import Corpus

INK, FAINT, BAR = "#22303c", "#b8c1c9", "#4c7fa6"
PART_COLOURS = {
    "trunk": INK, "head": INK, "left_arm": "#d1603d", "left_leg": "#e29a7c", "right_arm": "#2f7f86", "right_leg": "#7fb5b2"
}  # fmt: skip
"""The body's left is warm, its right cool; arms are dark, legs light."""
DOTS_PER_INCH = 100
MAX_BARS = 16
STRIPS, POSES = 8, 9  # Clips per picture, poses per clip
STRIP_INCHES, HEADING_INCHES = 1.9, 0.45
POSE_SPACING = 1.15  # Metres between two poses of a strip
HEAD_METRES = 0.16  # Diameter that heads are drawn with
VIEW_DEGREES = 28.0  # The camera stands in front of the body's start, turned this far to its left
PICTURES = ("report_labels.png", "report_movements.png")


def write_pictures(report: Report, corpus: Corpus, folder: Path) -> None:
    """Writes PICTURES to the corpus's folder, and one TensorBoard run to `folder`, which replaces an older one.

    TensorBoard's own writer is used: importing a corpus does not need torch, which takes seconds to load.
    """
    values = [_text("corpus/report", report_text(report))]
    figures = (histogram_figure(report, corpus), strip_figure(corpus))
    for tag, name, figure in zip(("corpus/1 labels and durations", "corpus/2 movements"), PICTURES, figures, strict=True):
        figure.savefig(corpus.folder / name, dpi=DOTS_PER_INCH)
        values.append(_image(tag, (corpus.folder / name).read_bytes(), figure))
    shutil.rmtree(folder, ignore_errors=True)
    writer = EventFileWriter(str(folder))
    writer.add_event(Event(wall_time=time.time(), summary=Summary(value=values)))
    writer.close()


def histogram_figure(report: Report, corpus: Corpus) -> Figure:
    """Clips per emotion, actor and action, and the distribution of their durations."""
    seconds = np.asarray(corpus.clips["frames"]) / corpus.frames_per_second
    panels = {name: groups for name in ("emotion", "actor", "action") if (groups := getattr(report, f"{name}s"))}
    mosaic = {
        1: [["emotion", "duration"]],
        2: [["emotion", list(panels)[-1]], ["duration", list(panels)[-1]]],
        3: [["emotion", "duration"], ["actor", "action"]],
    }[len(panels)]
    bars = {name: min(MAX_BARS, max(6, len(groups))) for name, groups in panels.items()}
    heights = [max(bars.get(name, 6) for name in row) for row in (mosaic if len(panels) != 2 else [["emotion"], ["duration"]])]
    figure = Figure(figsize=(12, 0.9 + sum(0.26 * height + 0.55 for height in heights)), layout="constrained", facecolor="white")
    figure.suptitle(f"{report.title}\n", color=INK, fontsize=13, x=0.012, ha="left", fontweight="bold")
    axes: dict[str, Axes] = figure.subplot_mosaic(mosaic, height_ratios=heights)  # type: ignore[arg-type]  # its stub wants another list
    _durations(axes["duration"], seconds)
    for name, groups in panels.items():
        _bars(axes[name], f"clips per {name}", groups)
    return figure


def strip_figure(corpus: Corpus) -> Figure:
    """One clip of each of the first emotions, drawn as evenly spaced poses from its first frame to its last."""
    shown = _examples(corpus)
    figure = Figure(figsize=(12, HEADING_INCHES + STRIP_INCHES * len(shown)), facecolor="white")
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1 - HEADING_INCHES / figure.get_figheight(), hspace=0.04)
    figure.text(
        0.012,
        1 - 0.1 / figure.get_figheight(),
        f"{corpus.name}: body's left warm, right cool; seconds below",
        color=INK,
        fontsize=12,
        va="top",
        fontweight="bold",
    )
    heights = np.concatenate([corpus.positions(index)[..., 1].ravel() for index in shown])
    for row, index in zip(np.atleast_1d(figure.subplots(len(shown), 1)), shown, strict=True):
        _strip(row, corpus, index, floor=float(heights.min()), top=float(heights.max()))
    return figure


def _image(tag: str, png: bytes, figure: Figure) -> Summary.Value:
    width, height = (round(side * DOTS_PER_INCH) for side in figure.get_size_inches())
    return Summary.Value(tag=tag, image=Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=4))


def _text(tag: str, text: str) -> Summary.Value:
    lines = "    " + text.replace("\n", "\n    ")  # indented: TensorBoard renders Markdown, and this keeps the columns aligned
    tensor = TensorProto(dtype="DT_STRING", string_val=[lines.encode()])
    return Summary.Value(tag=tag, tensor=tensor, metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")))


def _bars(axes: Axes, title: str, groups: tuple[Group, ...]) -> None:
    _quiet(axes, title)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    shown = groups if len(groups) <= MAX_BARS else groups[: MAX_BARS - 1]
    words, clips = [group.word for group in shown], [group.clips for group in shown]
    if len(shown) < len(groups):
        words.append(f"{len(groups) - len(shown)} others")
        clips.append(sum(group.clips for group in groups[len(shown) :]))
    axes.barh(range(len(words)), clips, height=0.68, color=[BAR] * len(shown) + [FAINT])
    for place, count in enumerate(clips):
        axes.text(count, place, f" {count:,}", va="center", color=INK, fontsize=9)
    axes.set_yticks(range(len(words)), words)
    axes.set_ylim(max(len(words), 6) - 0.4, -0.6)
    axes.set_xlim(0, 1.1 * max(max(clips), 1))


def _durations(axes: Axes, seconds: np.ndarray) -> None:
    _quiet(axes, "clips by duration, seconds")
    most = float(np.quantile(seconds, 0.99))
    shortest = float(seconds.min())
    axes.hist(np.minimum(seconds, most), bins=30, range=(min(shortest, 0.9 * most), max(most, shortest + 0.1)), color=BAR, rwidth=0.86)
    median = float(np.median(seconds))
    axes.axvline(median, color=PART_COLOURS["left_arm"], linewidth=1.2)
    axes.text(
        median, 0.97, f" median {median:.1f} s", transform=axes.get_xaxis_transform(), color=PART_COLOURS["left_arm"], fontsize=9, va="top"
    )
    if seconds.max() > most:
        axes.text(
            0.995,
            0.97,
            f"longest {seconds.max():.1f} s, in the last bin",
            transform=axes.transAxes,
            color=FAINT,
            fontsize=8,
            va="top",
            ha="right",
        )


def _quiet(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)


def _examples(corpus: Corpus) -> list[int]:
    """One clip per emotion, of median duration; emotions without clips are skipped."""
    emotions, frames = np.asarray(corpus.clips["emotion"]), np.asarray(corpus.clips["frames"])
    shown = []
    for emotion in range(len(corpus.emotions)):
        clips = np.flatnonzero(emotions == emotion)
        if len(clips):
            shown.append(int(clips[np.argsort(frames[clips], kind="stable")[len(clips) // 2]]))
    return shown[:STRIPS]


def _strip(axes: Axes, corpus: Corpus, index: int, floor: float, top: float) -> None:
    clip, positions = corpus.clip(index), np.asarray(corpus.positions(index), dtype=np.float64)
    frames = np.linspace(0, len(positions) - 1, min(POSES, len(positions))).round().astype(int)
    drawn = _seen(positions[frames], corpus)  # (POSES, V, 2)
    drawn[..., 0] += POSE_SPACING * np.arange(len(frames))[:, None]
    axes.axhline(floor, color=FAINT, linewidth=0.8)
    layout = corpus.layout
    joints = [joint for joint in layout.parents_first if layout.parents[joint] >= 0]
    parents = [layout.parents[joint] for joint in joints]
    colours = [PART_COLOURS[layout.parts[joint]] for joint in joints]
    widths = [2.2 if layout.bone_lengths[joint] > 0.06 else 0.9 for joint in joints]  # fingers are thin
    head = layout.landmarks["head"]
    heads = drawn[:, [head, *(joint for joint, parent in enumerate(layout.parents) if parent == head)]].mean(axis=1)  # (POSES, 2)
    axes.add_collection(
        EllipseCollection(HEAD_METRES, HEAD_METRES, 0, units="xy", offsets=heads, offset_transform=axes.transData, color=INK)
    )
    for pose in drawn:
        axes.add_collection(
            LineCollection(list(np.stack([pose[parents], pose[joints]], axis=1)), colors=colours, linewidths=widths, capstyle="round")
        )
    for place, frame in enumerate(frames):
        axes.text(
            POSE_SPACING * place, floor - 0.07, f"{frame / corpus.frames_per_second:.1f}", color=FAINT, fontsize=8, ha="center", va="top"
        )
    metadata = " · ".join(word for word in (clip.actor, clip.action) if word)
    axes.text(-0.95, top, clip.emotion, color=INK, fontsize=11, fontweight="bold", ha="right", va="top")
    axes.text(-0.95, top - 0.3, metadata, color=INK, fontsize=8, ha="right", va="top", wrap=True)
    axes.set_xlim(-2.6, POSE_SPACING * (POSES - 1) + 0.8)
    axes.set_ylim(floor - 0.25, top + HEAD_METRES / 2 + 0.02)
    axes.set_aspect("equal")
    axes.axis("off")


def _seen(positions: np.ndarray, corpus: Corpus) -> np.ndarray:
    """(T, V, 3) -> (T, V, 2): the camera's view, every pose centred."""
    centred = positions - corpus.layout.landmark(positions, "pelvis")[:, None, :] * (1, 0, 1)
    angle = np.radians(VIEW_DEGREES)
    across = np.cos(angle) * centred[..., 0] - np.sin(angle) * centred[..., 2]
    return np.stack([across, centred[..., 1]], axis=-1)
