"""Pictures of results for TensorBoard.

confusion counts (K, K)  ->  figure
confidences and shares of right answers  ->  figure
probabilities while tokens are removed  ->  figure
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

WIDTH_INCHES, DOTS_PER_INCH = 3.5, 200
"""TensorBoard shows pictures 350 pixels wide: 100 to the inch, with two dots for each pixel of a sharp screen."""
STYLE = {
    "font.size": 7.5, "axes.titlesize": 8.5, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.edgecolor": "0.6",
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "xtick.major.size": 0, "ytick.major.size": 0,
    "lines.linewidth": 1, "lines.markersize": 4, "text.parse_math": False,
    "axes.prop_cycle": cycler(color=["#0072b2", "#d55e00", "#009e73"], marker=["o", "s", "^"], linestyle=["-", "--", ":"]),
}  # fmt: skip
"""Curves have the colours of Okabe and Ito, each with a marker and a line of its own."""
LEAST_SHARE = 0.1
"""Of all clips, in a point of the reliability curve: bins with fewer are joined, because one clip alone is right or wrong."""


@style.context(STYLE)
def confusion_figure(counts: Sequence[Sequence[int]] | np.ndarray, emotions: Sequence[str], title: str) -> Figure:
    """A confusion matrix: rows are the truth, columns the answer; shading is the share of the row, numbers are clips. counts (K, K)"""
    table = np.asarray(counts)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    figure, axes = small_figure(1.0 + 0.17 * len(emotions))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(table):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{table[row, column]:,}", ha="center", va="center_baseline", color=colour)
    axes.set_xticks(range(len(emotions)), emotions, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(emotions)), emotions)
    axes.set_xlabel("answered (rows: label)")
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(emotions) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(emotions) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.set_title(f"{title}, accuracy {np.trace(table) / max(table.sum(), 1):.0%}")
    return figure


@style.context(STYLE)
def reliability_figure(curves: Mapping[str, Sequence[Mapping[str, float]]], title: str) -> Figure:
    """How often answers are right (vertical) that a method gives with a certain confidence (horizontal); the area of a point is the number
    of clips. On the diagonal, confidences are as large as they are right; below it, the method is too sure.

    Args:
        curves: method -> entries with `clips`, `confidence`, `accuracy`, the least confident first.
    """
    figure, axes = small_figure(3.1)
    axes.axline((0, 0), (1, 1), color="0.7", linewidth=0.8, label="calibrated")
    for method, entries in curves.items():
        total = sum(entry["clips"] for entry in entries)
        error = sum(entry["clips"] * abs(entry["confidence"] - entry["accuracy"]) for entry in entries) / max(total, 1)
        points = joined(entries, LEAST_SHARE * total)
        x, y = ([entry[name] for entry in points] for name in ("confidence", "accuracy"))
        (line,) = axes.plot(x, y, label=f"{method}, calibration error {error:.2f}")
        areas = [200 * entry["clips"] / max(total, 1) for entry in points]
        axes.scatter(x, y, areas, color=line.get_color(), marker=line.get_marker(), alpha=0.35, linewidths=0)
    axes.set(xlim=(0, 1.03), ylim=(0, 1.05), xlabel="confidence", ylabel="share of right answers", title=title)
    figure.legend(loc="outside lower center", frameon=False)
    return figure


@style.context(STYLE)
def removal_figure(removed: Sequence[float], curves: Mapping[str, Sequence[float]], title: str) -> Figure:
    """The answer's probability (vertical) while more and more skeleton tokens are removed (horizontal): the further the curve of the largest
    weights lies below the others, the better the weights tell what the answer rests on.

    Args:
        curves: order of removal -> one probability per share in `removed`.
    """
    figure, axes = small_figure(3.1)
    for order, values in curves.items():
        axes.plot(removed, values, label=order)
    axes.set(xlim=(0, 1.03), ylim=(0, 1.05), xlabel="share of skeleton tokens removed", ylabel="probability of the answer", title=title)
    figure.legend(loc="outside lower center", frameon=False)
    return figure


def joined(entries: Sequence[Mapping[str, float]], least: float) -> list[dict[str, float]]:
    """Neighbouring bins of a reliability curve joined until each holds at least `least` clips; means are over clips."""
    points: list[dict[str, float]] = []
    for entry in entries:
        if points and points[-1]["clips"] < least:
            points[-1] = _together(points[-1], entry)
        else:
            points.append(dict(entry))
    if len(points) > 1 and points[-1]["clips"] < least:
        points[-2:] = [_together(*points[-2:])]
    return points


def _together(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    clips = one["clips"] + other["clips"]
    means = {name: (one["clips"] * one[name] + other["clips"] * other[name]) / clips for name in ("confidence", "accuracy")}
    return {"clips": clips, **means}


def small_figure(height: float) -> tuple[Figure, Axes]:
    """An empty figure of this height in inches, as wide as TensorBoard shows it."""
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")
    return figure, figure.subplots()
