"""TensorBoard: one writer, on the first rank, always against optimizer steps.

scalars, texts, figures of a step  ->  <run>/tensorboard
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from emotion_llm.runtime.console import say
from emotion_llm.runtime.launcher import is_first_rank


class TensorBoardWriter:
    """Writes to TensorBoard on the first rank and does nothing on the others.

    A full disk costs points of the curves, not the training: it is said once, and writing begins anew at the next `flush`.
    """

    def __init__(self, run: Path, steps_done: int = 0) -> None:
        """
        Args:
            first_step: steps already done; what an interrupted run had written beyond is hidden.
        """
        self._folder = run / "tensorboard"
        self._writer = None
        self._open(steps_done)

    def _open(self, steps_done: int) -> None:
        if is_first_rank():
            from torch.utils.tensorboard import SummaryWriter

            self._try(lambda: setattr(self, "_writer", SummaryWriter(str(self._folder), purge_step=steps_done + 1)))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._try(lambda name=name, value=value: self._writer and self._writer.add_scalar(name, value, step))

    def text(self, name: str, text: str, step: int) -> None:
        self._try(lambda: self._writer and self._writer.add_text(name, text, step))

    def figure(self, name: str, figure: object, step: int) -> None:
        self._try(lambda: self._writer and self._writer.add_figure(name, figure, step))

    def flush(self, step: int) -> None:
        """Everything up to this step is on disk."""
        if self._writer is None:
            self._open(step)
        self._try(lambda: self._writer and self._writer.flush())

    def close(self) -> None:
        self._try(lambda: self._writer and self._writer.close())

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            self._writer = None  # its thread has ended with the error
            say(f"warning: TensorBoard not written ({error}); training goes on; free some space in {self._folder}")
