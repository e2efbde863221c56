"""The state of an interrupted pre-training: weights, momentum, batch-norm statistics, position in the data, and what the run is.

after every epoch, and when a stop is requested  ->  <run>/pretraining_state.safetensors  ->  steps already done
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from emotion_llm.corpus.provenance import corpus_record, data_differences
from emotion_llm.pretraining.data import PretrainingData
from emotion_llm.pretraining.settings import PretrainSettings
from emotion_llm.runtime.console import settings_to_dict
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import atomic_write
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes, process_count, process_rank
from emotion_llm.runtime.validation import check_same_settings, validate_record
from emotion_llm.skeleton_encoder.norm import running_statistics, set_running_statistics

STATE = "pretraining_state.safetensors"
FREE_TO_CHANGE = ("run", "data", "evaluate_every", "hang_timeout_seconds")
"""Settings that a resumed run may change; the data is compared by its hashes instead."""


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class StartedRun:
    """The part of a run's metadata that must not change."""

    pretraining: dict[str, Any]
    corpora: dict[str, dict[str, Any]]


def describe(settings: PretrainSettings, data: PretrainingData) -> dict[str, Any]:
    """What the run is, as JSON values: compared when it resumes, and kept in encoder.json."""
    metadata = {
        "emotions": data.emotions,
        "frames_per_second": data.frames_per_second,
        "window_frames": data.window_frames,
        "split": asdict(settings.split),
        "canonical": data.corpora[0].canonical,
        "corpora": {corpus.name: corpus_record(corpus, split) for corpus, split in zip(data.corpora, data.splits, strict=True)},
        "pretraining": settings_to_dict(settings),
    }
    return json.loads(json.dumps(metadata))


def save_state(
    run: Path, model: nn.Module, optimizer: torch.optim.SGD, steps_done: int, steps_per_epoch: int, metadata: dict[str, Any]
) -> None:
    """Writes the state. Every rank must call it: each has its own batch-norm statistics."""
    epoch, step_in_epoch = divmod(steps_done, steps_per_epoch)
    statistics = torch.stack(gather_over_processes(running_statistics(model).cpu()))  # (processes, statistics)
    if is_first_rank():
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()} | {"running_statistics": statistics}
        tensors |= {f"momentum.{name}": optimizer.state[parameter]["momentum_buffer"] for name, parameter in model.named_parameters()}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with atomic_write(run / STATE) as tmp:
            save_file(tensors, tmp, {"epoch": str(epoch), "step_in_epoch": str(step_in_epoch), "metadata": json.dumps(metadata)})


def load_state(run: Path, model: nn.Module, optimizer: torch.optim.SGD, metadata: dict[str, Any], steps_per_epoch: int) -> int:
    """Restores the run folder's state and returns the number of steps done; 0 if there is none.

    Raises:
        UserError: the state cannot be read, or it is of a run with other settings or other data.
    """
    path = run / STATE
    if not path.is_file():
        return 0
    try:
        with safe_open(path, "pt") as file:
            saved = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        steps_done = int(saved["epoch"]) * steps_per_epoch + int(saved["step_in_epoch"])
        started = validate_record(StartedRun, json.loads(saved["metadata"]), str(path))
        check_same_settings(path, started.pretraining, metadata["pretraining"], FREE_TO_CHANGE)
        if differences := data_differences(started.corpora, metadata["corpora"]):
            raise UserError(f"{path}: {'; '.join(differences)}; restore the data, or start a new run with another --run folder")
        model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")})
        for name, parameter in model.named_parameters():
            optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum.{name}"].to(parameter.device)
        statistics = tensors["running_statistics"]  # of another number of processes: their mean
        set_running_statistics(model, statistics[process_rank()] if len(statistics) == process_count() else statistics.mean(0))
        return steps_done
    except (SafetensorError, ValueError, KeyError, IndexError, TypeError, RuntimeError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({(str(error).splitlines() or [''])[0]}); delete it to start again") from None
