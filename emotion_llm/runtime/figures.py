"""Pictures of results for TensorBoard.

confusion counts (K, K)  ->  figure
confidences and shares of right answers  ->  figure
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure


def confusion_figure(counts: Sequence[Sequence[int]] | np.ndarray, emotions: Sequence[str], title: str) -> Figure:
    """A confusion matrix: rows are the truth, columns the answer; shading is the share of the row, numbers are clips. counts (K, K)"""
    table = np.asarray(counts)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    side = 2.2 + 0.55 * len(emotions)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*table.shape):
        if table[row, column]:
            axes.text(
                column, row, str(table[row, column]), ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black"
            )
    axes.set_xticks(range(len(emotions)), emotions, rotation=40, ha="right")
    axes.set_yticks(range(len(emotions)), emotions)
    axes.set_xlabel("answered")
    axes.set_ylabel("expressed")
    axes.set_title(f"{title}, accuracy {np.trace(table) / max(table.sum(), 1):.0%}")
    return figure


def reliability_figure(curves: Mapping[str, Sequence[Mapping[str, float]]], title: str) -> Figure:
    """How often answers are right (vertical) that a method gives with a certain confidence (horizontal); the area of a point is the number
    of clips. On the diagonal, confidences are as large as they are right; below it, the method is too sure.

    Args:
        curves: method -> entries with `clips`, `confidence`, `accuracy`.
    """
    figure = Figure(figsize=(5.2, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color="0.7", linewidth=1, label="calibrated")
    for method, entries in curves.items():
        x, y = ([entry[name] for entry in entries] for name in ("confidence", "accuracy"))
        total = sum(entry["clips"] for entry in entries)
        error = sum(entry["clips"] * abs(entry["confidence"] - entry["accuracy"]) for entry in entries) / max(total, 1)
        (line,) = axes.plot(x, y, linewidth=1, label=f"{method}, calibration error {error:.2f}")
        axes.scatter(x, y, [20 + 400 * entry["clips"] / max(total, 1) for entry in entries], color=line.get_color(), alpha=0.6)
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="share of right answers", title=title)
    axes.legend(loc="upper left", frameon=False)
    return figure
