"""What an interrupted pre-training needs to go on: weights, momentum, and what run it was.

after every epoch  ->  <run>/pretraining_state.safetensors  ->  the next epoch to train
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from emotion_llm.corpus.provenance import data_differences
from emotion_llm.runtime.errors import UserError

STATE = "pretraining_state.safetensors"
FREE_TO_CHANGE = ("run", "data", "evaluate_every")
"""Settings that a continued run may change; the data is compared by its hashes instead."""


def save_state(run: Path, model: nn.Module, optimizer: torch.optim.SGD, epochs_done: int, metadata: dict) -> None:
    """Writes aside, then renames: the file is whole or is the one before."""
    run.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"momentum.{name}": optimizer.state[parameter]["momentum_buffer"] for name, parameter in model.named_parameters()}
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    tmp = run / (STATE + ".aside")
    tmp.write_bytes(save(tensors, metadata={"epochs_done": str(epochs_done), "metadata": json.dumps(metadata)}))
    tmp.replace(run / STATE)


def load_state(run: Path, model: nn.Module, optimizer: torch.optim.SGD, metadata: dict) -> int:
    """Takes up the run folder's state and returns how many epochs are done; 0 where there is none.

    Raises:
        UserError: a state that cannot be read, or one of a run with other settings or other data.
    """
    path = run / STATE
    if not path.is_file():
        return 0
    try:
        with safe_open(path, "pt") as file:
            saved = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        _check_same_run(path, json.loads(saved["metadata"]), json.loads(json.dumps(metadata)))
        model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")})
        for name, parameter in model.named_parameters():
            optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum.{name}"].to(parameter.device)
        return int(saved["epochs_done"])
    except (SafetensorError, json.JSONDecodeError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]}); delete it to start anew") from None


def _check_same_run(path: Path, before: dict, now: dict) -> None:
    old, new = before["pretraining"], now["pretraining"]
    for name in sorted(old.keys() | new.keys()):
        if name not in FREE_TO_CHANGE and old.get(name) != new.get(name):
            raise UserError(
                f"{path}: the run was started with {name} = {old.get(name)}, now it is {new.get(name)}; "
                "go on with the old value, or start a new run with another --run folder"
            )
    differences = data_differences(before["corpora"], now["corpora"])
    if differences:
        raise UserError(f"{path}: {'; '.join(differences)}; restore the data, or start a new run with another --run folder")
