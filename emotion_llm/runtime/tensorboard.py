"""TensorBoard: all tags of the project, and the writer of the first rank.

scalars, texts, figures, settings and features of an optimizer step  ->  <run>/tensorboard
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from emotion_llm.runtime.console import say
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.output import printable

if TYPE_CHECKING:  # takes a second to import, which only the first rank needs
    from matplotlib.figure import Figure
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

MAX_POINTS = 10_000  # Points per scalar and run: 800,000 steps with every point would fill 0.7 GB


class Tag(StrEnum):
    """Every tag that is written; each group answers a question."""

    # What is the corpus like?
    CORPUS_REPORT = "corpus/report"
    CORPUS_CLIPS = "corpus/clips"  # Followed by /durations and /per_<label>
    CORPUS_MOVEMENTS = "corpus/movements"  # Followed by /<emotion>
    # Is it learning?
    LOSS = "learning/loss"
    CLASSIFICATION_LOSS = "learning/classification_loss"
    CONTRASTIVE_LOSS = "learning/contrastive_loss"
    HELD_OUT_ACCURACY = "learning/held_out_accuracy"  # Followed by /<corpus>, as are CONFUSION, RELIABILITY, FAITHFULNESS and EXAMPLES
    # Is it healthy?
    LEARNING_RATE = "health/learning_rate"
    GRADIENT_NORM = "health/gradient_norm"
    SKIPPED_UPDATES = "health/skipped_updates"
    WARNINGS = "health/warnings"
    # Is it fast?
    SAMPLES_PER_SECOND = "speed/samples_per_second"
    TOKENS_PER_SECOND = "speed/tokens_per_second"
    SECONDS_IN = "speed/seconds_in"  # Followed by _<phase>
    MFU = "speed/mfu"
    PEAK_MEMORY_GB = "speed/peak_memory_gb"
    CHECKPOINT_SECONDS = "speed/checkpoint_stop_seconds"
    # How good is it? The scalars are means over the corpora; the page HPARAMS compares runs by them
    ACCURACY = "results/held_out_accuracy"
    SUPPORTED = "results/claims_supported"
    CONTRADICTED = "results/claims_contradicted"
    TABLE = "results/by_corpus"
    CONFUSION = "confusion"
    RELIABILITY = "reliability"
    FAITHFULNESS = "faithfulness"
    # What does it read, and say?
    TRAINING_SAMPLE = "examples/training_sample"
    ANSWERS = "examples/held_out_answers"
    EXAMPLES = "examples"
    FEATURES = "semantic_features"

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

    def hyperparameters(self, settings: Mapping[str, str | bool | float], results: Mapping[str, float], step: int) -> None:
        """A row of the page HPARAMS; call it last."""

        def write(writer: "SummaryWriter") -> None:
            writer.flush()  # add_hparams opens a file of its own; with this name, in the same run
            writer.add_hparams(dict(settings), dict(results), run_name=".", global_step=step)

        self._write(write)

    def embedding(self, name: str, features: "Tensor", columns: Mapping[str, Sequence[str]], step: int) -> None:
        """Points of the page PROJECTOR.

        Args:
            columns: what is known of each point; the first is its name.

        Shape:
            features (N, C); columns: N texts each
        """
        rows = [[printable(value, keep="") for value in row] for row in zip(*columns.values(), strict=True)]
        self._write(lambda writer: writer.add_embedding(features, rows, global_step=step, tag=name, metadata_header=list(columns)))

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
