"""TensorBoard: all tags of the project, and the writer of the first rank.

scalars, texts and figures of an optimizer step  ->  <run>/tensorboard
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from emotion_llm.runtime.console import say
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.output import printable

if TYPE_CHECKING:  # takes a second to import, which only the first rank needs
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

MAX_POINTS = 10_000  # Points per scalar and run: 800,000 steps with every point would fill 0.7 GB


class Tag(StrEnum):
    """Every tag that is written, by pre-training, fine-tuning and evaluation."""

    LOSS = "train/loss"
    CLASSIFICATION_LOSS = "train/classification_loss"
    CONTRASTIVE_LOSS = "train/contrastive_loss"
    LEARNING_RATE = "train/learning_rate"
    GRADIENT_NORM = "train/gradient_norm"
    SKIPPED_UPDATES = "train/skipped_updates"
    SAMPLES_PER_SECOND = "speed/samples_per_second"
    TOKENS_PER_SECOND = "speed/tokens_per_second"
    SECONDS_PER_STEP = "speed/seconds_per_step"
    SECONDS_IN = "speed/seconds_in"  # Followed by _<phase>
    MFU = "speed/mfu"
    PEAK_MEMORY_GB = "speed/peak_memory_gb"
    CHECKPOINT_SECONDS = "speed/checkpoint_stop_seconds"
    SAMPLES_SEEN = "progress/samples_seen"
    EPOCHS = "progress/epochs"
    HELD_OUT_ACCURACY = "held_out_accuracy"  # Followed by /<corpus>, as are the next five
    CONFUSION = "confusion"
    RELIABILITY = "reliability"
    ACCURACY = "evaluation/accuracy"
    MACRO_F1 = "evaluation/macro_f1"
    CALIBRATION_ERROR = "evaluation/calibration_error"
    SUPPORTED = "explanations/supported"  # Followed by /<corpus>/<method>, as are the next two: shares of the checkable claims
    CONTRADICTED = "explanations/contradicted"
    ABOVE_SHUFFLED = "explanations/supported_above_shuffled"
    TRAINING_SAMPLE = "sample/training"
    HELD_OUT_ANSWER = "sample/held_out_answer"
    WARNINGS = "warnings"

    def of(self, corpus: str) -> str:
        return f"{self}/{printable(corpus, keep='')}"


class TensorBoardWriter:
    """Writes to TensorBoard on the first rank and does nothing on the others.

    A full disk loses points, not the run: one warning is printed, and the next `flush` tries again.
    """

    def __init__(self, run: Path, steps_done: int = 0, total_steps: int = 0) -> None:
        """
        Args:
            steps_done: points of an interrupted run after this step are hidden.
            total_steps: steps of the whole run; above MAX_POINTS, `step_scalars` keeps every n-th step only.
        """
        self._folder = run / "tensorboard"
        self._interval = max(1, -(-total_steps // MAX_POINTS))
        self._not_written: dict[int, dict[str, float]] = {}
        self._writer: SummaryWriter | None = None
        self._open(steps_done)

    def step_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Scalars that exist at every step: at most about MAX_POINTS steps are written, evenly spaced, and the last one in any case."""
        if step % self._interval == 0:
            self.scalars(values, step)
            self._not_written.clear()
        else:
            self._not_written = {step: self._not_written.get(step, {}) | dict(values)}

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        def write(writer: "SummaryWriter") -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        self._write(write)

    def text(self, name: str, text: str, step: int) -> None:
        self._write(lambda writer: writer.add_text(name, printable(text), step))

    def figure(self, name: str, figure: "Figure", step: int) -> None:
        self._write(lambda writer: writer.add_figure(name, figure, step))

    def flush(self, step: int) -> None:
        """Writes everything up to this step to disk."""
        if self._writer is None:
            self._open(step)
        self._write(lambda writer: writer.flush())

    def close(self) -> None:
        for step, values in self._not_written.items():
            self.scalars(values, step)
        self._write(lambda writer: writer.close())

    def _open(self, steps_done: int) -> None:
        if is_first_rank():
            from torch.utils.tensorboard import SummaryWriter

            try:
                self._writer = SummaryWriter(str(self._folder), purge_step=steps_done + 1)
            except OSError as error:
                self._warn(error)

    def _write(self, write: Callable[["SummaryWriter"], object]) -> None:
        if self._writer is not None:
            try:
                write(self._writer)
            except OSError as error:
                self._writer = None  # the error has ended its thread
                self._warn(error)

    def _warn(self, error: OSError) -> None:
        say(f"warning: TensorBoard not written ({error}); training continues; check {self._folder} and its disk")
