"""TensorBoard: one writer, on the first rank, always against optimizer steps.

scalars, texts, figures of a step  ->  <run>/tensorboard
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emotion_llm.console import is_first_rank


class Board:
    """Writes to TensorBoard on the first rank and does nothing on the others."""

    def __init__(self, run: Path, first_step: int = 0) -> None:
        """
        Args:
            first_step: steps from here on are written anew; what an interrupted run had written beyond is hidden.
        """
        self._writer = None
        if is_first_rank():
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=first_step or None)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def text(self, name: str, text: str, step: int) -> None:
        if self._writer is not None:
            self._writer.add_text(name, text, step)

    def figure(self, name: str, figure: object, step: int) -> None:
        if self._writer is not None:
            self._writer.add_figure(name, figure, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
