"""Checkpoint management: saved in the background while training continues; the newest few and the best are kept.

Engine, step, held-out accuracies  ->  <run>/checkpoints/step-.../, <run>/checkpoints/best.json

Training stops only while all ranks copy what trains; a background thread of the first rank writes the copy. best.json names the step
with the highest mean held-out accuracy over the corpora, and records the results of all evaluations.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from peft import PeftModel

from emotion_llm.runtime.console import say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import write_json
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes
from emotion_llm.training.checkpoint import BEST, Snapshot, checkpoint_folder, checkpoint_folders, remove_leftovers, write_checkpoint
from emotion_llm.training.engine import Engine


class CheckpointManager(AbstractContextManager["CheckpointManager"]):
    """Saves and deletes the checkpoints of a run while it trains. Every rank has one; only the first writes."""

    def __init__(self, run: Path, engine: Engine, metadata: dict, keep: int, steps_done: int) -> None:
        """
        Args:
            steps_done: the step that the run continues from; newer checkpoints were skipped as damaged and are renamed to damaged-...
        """
        self._run, self._engine, self._metadata, self._keep = run, engine, metadata, keep
        self.saved_step = steps_done
        """The newest step with a complete checkpoint (on the first rank; a save in progress does not count)."""
        self._requested_step = steps_done
        self._thread: threading.Thread | None = None
        self._evaluations: dict[int, dict[str, float]] = {}
        if is_first_rank():
            run.mkdir(parents=True, exist_ok=True)
            remove_leftovers(run)
            self._move_damaged(steps_done)
            self._evaluations = {step: found for step, found in read_evaluations(run).items() if step <= steps_done}
        self._evaluations = gather_over_processes(self._evaluations)[0]

    def __exit__(self, *_: object) -> None:
        self.wait()  # after an error too: a copy already taken is written

    def save(self, step: int) -> float:
        """Copies what trains and starts writing it. Every rank must call it.

        A full disk fails the save, not the training: older checkpoints stay, and the next save tries again.

        Returns:
            Seconds for which training was blocked.

        Raises:
            UserError: the run folder was deleted.
        """
        begin = time.perf_counter()
        self.wait()
        if is_first_rank() and not self._run.is_dir():
            raise UserError(f"{self._run}: the run folder was deleted while the run was training; start again in a new one")
        snapshot = take_snapshot(self._engine, step, self._metadata)
        self._requested_step = step
        if is_first_rank():
            self._thread = threading.Thread(target=self._write, args=[snapshot], name="checkpoint")
            self._thread.start()
        return time.perf_counter() - begin

    def wait(self, at_most: float | None = None) -> None:
        """Blocks until the current write ends, or for at most so many seconds."""
        if self._thread is not None:
            self._thread.join(at_most)

    def finish(self) -> None:
        """Waits until the last save is on disk. Every rank must call it.

        Raises:
            UserError: it failed.
        """
        self.wait()
        if gather_over_processes(self.saved_step)[0] != self._requested_step:
            raise UserError(
                f"the checkpoint of step {self._requested_step} could not be written (see above); {self.describe_newest()}; "
                f"free some space in {self._run}, then run the same command again"
            )

    def describe_newest(self) -> str:
        """For error messages; waits for a save in progress. Every rank must call it."""
        self.wait()
        saved = gather_over_processes(self.saved_step)[0]
        return f"the newest checkpoint is of step {saved}" if saved else "there is no checkpoint yet"

    def is_evaluated(self, step: int) -> bool:
        return step in self._evaluations

    def note_accuracy(self, step: int, accuracies: Mapping[str, float]) -> None:
        """Records an evaluation of a step that was just saved; the best such step is never deleted."""
        self.wait()
        self._evaluations[step] = dict(accuracies)
        if is_first_rank():
            try:
                if (best := best_step(self._run, self._evaluations)) is not None:
                    evaluations = {str(step): self._evaluations[step] for step in sorted(self._evaluations)}
                    record = {"step": best, "mean_accuracy": mean_accuracy(self._evaluations[best]), "evaluations": evaluations}
                    write_json(self._run / "checkpoints" / BEST, record)
                self._delete_old()
            except OSError as error:
                say(f"warning: {self._run / 'checkpoints' / BEST} not written ({error})")

    def _write(self, snapshot: Snapshot) -> None:
        try:
            write_checkpoint(self._run, snapshot)
        except OSError as error:
            say(
                f"warning: checkpoint of step {snapshot.step} not written ({error}); training continues, older checkpoints are intact; "
                f"free some space in {self._run}"
            )
        else:
            self.saved_step = snapshot.step
            self._delete_old()

    def _delete_old(self) -> None:
        best = best_step(self._run, self._evaluations)
        for old in checkpoint_folders(self._run)[: -self._keep]:
            if best is None or old != checkpoint_folder(self._run, best):
                shutil.rmtree(old, ignore_errors=True)

    def _move_damaged(self, steps_done: int) -> None:
        newest = checkpoint_folder(self._run, steps_done)
        folders = checkpoint_folders(self._run)
        for folder in folders[folders.index(newest) + 1 :] if newest in folders else []:
            target = folder.with_name(f"damaged-{folder.name}")
            shutil.rmtree(target, ignore_errors=True)
            folder.rename(target)


def take_snapshot(engine: Engine, step: int, metadata: dict) -> Snapshot:
    """Gathers what trains from all ranks. Every rank must call it."""
    model = engine.model
    statistics = {name: value.detach().cpu().clone() for name, value in model.skeleton_tokenizer.named_buffers()}
    assert isinstance(model.llm, PeftModel)
    return Snapshot(step, engine.updates, metadata, model.llm.peft_config["default"], engine.gather_state(), statistics)


def best_step(run: Path, evaluations: Mapping[int, Mapping[str, float]]) -> int | None:
    """The step with the highest mean accuracy over the corpora (the earliest of equals) among those whose checkpoint exists."""
    there = [step for step in sorted(evaluations) if checkpoint_folder(run, step).is_dir()]
    return max(there, key=lambda step: mean_accuracy(evaluations[step]), default=None)


def mean_accuracy(accuracies: Mapping[str, float]) -> float:
    return sum(accuracies.values()) / len(accuracies)


def read_evaluations(run: Path) -> dict[int, dict[str, float]]:
    """Step -> corpus -> accuracy, from best.json. A damaged file gives a warning; the next evaluation rewrites it."""
    path = run / "checkpoints" / BEST
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["evaluations"]
        return {int(step): {str(name): float(value) for name, value in accuracies.items()} for step, accuracies in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        say(f"warning: {path}: cannot be read ({type(error).__name__}); the best checkpoint is chosen among those to come")
        return {}
