"""Pictures of results for TensorBoard.

confusion counts (K, K)  ->  figure
"""

from collections.abc import Sequence

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
