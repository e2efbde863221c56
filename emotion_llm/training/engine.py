"""The only module that imports DeepSpeed: ZeRO-2 on one or many processes, on GPUs or CPU.

model, settings, ds_configs/<stage>.json  ->  Engine: backward, step, state by parameter name

All other modules use ordinary single-device models. State is gathered and set per parameter, so checkpoints do not depend on the number
of processes.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from emotion_llm.language.model import EmotionLLM
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import bf16_is_fast_on_cpu, process_count, process_rank, start_processes
from emotion_llm.runtime.validation import read_json_object
from emotion_llm.training.checkpoint import MOMENTS


@dataclass(frozen=True)
class ProcessShare:
    """How a step's global batch is divided; the product of the three numbers is the global batch."""

    processes: int
    micro_batch: int
    """Motions per process and micro-step."""
    accumulation: int
    """Micro-steps per step."""


def divide_batch(global_batch: int, processes: int, largest_micro_batch: int) -> ProcessShare:
    """The largest micro-batch that the DeepSpeed configuration allows and that divides the process's part of the batch.

    Raises:
        UserError: the global batch is no multiple of the number of processes.
    """
    if global_batch % processes:
        fitting = ", ".join(str(count) for count in range(1, global_batch + 1) if global_batch % count == 0)
        raise UserError(
            f"the global batch of {global_batch} motions cannot be divided among {processes} processes; "
            f"start as many as divide it ({fitting}), or change --global-batch"
        )
    part = global_batch // processes
    micro_batch = max(size for size in range(1, min(part, largest_micro_batch) + 1) if part % size == 0)
    return ProcessShare(processes, micro_batch, part // micro_batch)


class Engine:
    """A model under training."""

    def __init__(self, model: EmotionLLM, weight_decay: float, gradient_clipping: float, global_batch: int, ds_config: Path) -> None:
        """
        Args:
            model: its trainable parameters are those with requires_grad.
            ds_config: hardware only: precision, ZeRO stage, largest micro-batch.
        """
        config = read_ds_config(ds_config)
        self.device = start_processes()
        self.dtype = _choose_dtype(config, self.device)
        """The precision of the matrix products."""
        self.rank = process_rank()
        self.share = divide_batch(global_batch, process_count(), config["train_micro_batch_size_per_gpu"])
        config |= {
            "train_batch_size": global_batch,
            "train_micro_batch_size_per_gpu": self.share.micro_batch,
            "gradient_clipping": gradient_clipping,
        }
        self.model = model.to(self.device)
        parameters = list(self.trainable().values())
        optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=weight_decay, fused=self.device.type == "cuda")
        os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists on it, without a launcher too
        deepspeed = _import_deepspeed()
        # DeepSpeed sees only what trains: it would broadcast the frozen weights too, and so write to pages that all processes share.
        self._engine, *_ = deepspeed.initialize(model=nn.ParameterList(parameters), optimizer=optimizer, config=config)

    def backward(self, loss_share: Tensor) -> None:
        """Adds the gradient of this micro-batch's share of the step's loss.

        `loss_share` is the micro-batch's sum divided by the count of the *whole step*: the shares add up to the step's mean loss. DeepSpeed
        divides by the number of processes and micro-steps; the factor undoes that, so a step's gradient does not depend on how the batch
        is divided. A non-finite loss makes the gradient non-finite too, and the update is skipped on all processes.
        """
        share = loss_share.detach()
        one_or_nan = torch.where(share.isfinite(), 1.0, torch.nan).to(share.dtype)  # on the device: no synchronisation
        self._engine.backward(loss_share * (self.share.processes * self.share.accumulation) * one_or_nan)

    def step(self) -> None:
        """Ends a micro-step; the last one of a step updates the weights."""
        self._engine.step()

    @property
    def precision(self) -> str:
        """Its short name."""
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"

    @property
    def learning_rate(self) -> float:
        """The rate that the optimizer holds; set before each step (training/schedule.py)."""
        return self._engine.optimizer.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate

    @property
    def gradient_norm(self) -> float:
        """Norm of the last step's gradient before clipping."""
        return float(self._engine.get_global_grad_norm())

    @property
    def last_update_was_skipped(self) -> bool:
        """True if the last step's gradient was not finite, so that the weights did not change."""
        return bool(self._engine.optimizer.overflow)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of everything that trains."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def gather_state(self) -> dict[str, dict[str, Tensor]]:
        """fp32 weights and moments of every trainable parameter, whole, copied to the first rank's CPU. Every rank must call it.

        Returns:
            {"weight" | "exp_avg" | "exp_avg_sq": {parameter name: tensor}}; moments are absent before the first update. On the other
            ranks there are no names.
        """
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        kinds = ("weight", *MOMENTS) if self.updates else ("weight",)
        state: dict[str, dict[str, Tensor]] = {kind: {} for kind in kinds}
        for name, parameter in self.trainable().items():
            for kind in state:
                whole = safe_get_full_fp32_param(parameter) if kind == "weight" else safe_get_full_optimizer_state(parameter, kind)
                if is_first_rank():
                    state[kind][name] = whole.cpu()  # already a copy, assembled from all ranks' parts
        return state

    def set_state(self, state: dict[str, dict[str, Tensor]], updates: int) -> None:
        """The inverse of `gather_state`, at any number of processes.

        Args:
            updates: how many updates the moments have seen (AdamW's own step count).
        """
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        zero = self._engine.optimizer
        if updates > 0:
            for flat in zero.single_partition_of_fp32_groups:
                count = torch.tensor(float(updates), device=flat.device if zero.optimizer.defaults["fused"] else "cpu")
                zero.optimizer.state[flat] = {"step": count, **{moment: torch.zeros_like(flat) for moment in MOMENTS}}
            zero._hp_optimizer_states_linked = False  # link the parameters to these new moments
            zero._lazy_init_hp_params_optimizer_state()
        with torch.no_grad():
            for name, parameter in self.trainable().items():
                weight = state["weight"][name].to(self.device)
                parameter.copy_(weight)
                safe_set_full_fp32_param(parameter, weight)
                for moment in MOMENTS if updates > 0 else ():
                    safe_set_full_optimizer_state(parameter, state[moment][name].to(self.device), moment)

    @property
    def updates(self) -> int:
        """Updates so far: steps minus those skipped for a non-finite gradient."""
        zero = self._engine.optimizer
        return int(zero.optimizer.state.get(zero.single_partition_of_fp32_groups[0], {}).get("step", 0))


def read_ds_config(path: Path) -> dict:
    """A DeepSpeed configuration: hardware only.

    Raises:
        UserError: no such file, no JSON, or it holds a number that belongs to the settings.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such DeepSpeed configuration; ds_configs/ holds one per stage")
    config = read_json_object(path, "ds_configs/ holds one per stage")
    for key, setting in (("train_batch_size", "--global-batch"), ("gradient_clipping", "--gradient-clipping")):
        if config.get(key, "auto") != "auto":
            raise UserError(f'{path}: {key} is {config[key]!r}; it belongs to the settings ({setting}), write "auto" here')
    if "optimizer" in config or "scheduler" in config or "gradient_accumulation_steps" in config:
        raise UserError(f"{path}: optimizer, scheduler and gradient_accumulation_steps belong to the settings; remove them here")
    micro = config.get("train_micro_batch_size_per_gpu")
    if not isinstance(micro, int) or micro < 1:
        raise UserError(f"{path}: train_micro_batch_size_per_gpu is {micro!r}; write the largest number of motions that a device holds")
    return config


def model_dtype(ds_config: Path) -> torch.dtype:
    """The precision in which to load the LLM: what the configuration asks for and the machine can do."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return _choose_dtype(read_ds_config(ds_config), device)


def _choose_dtype(config: dict, device: torch.device) -> torch.dtype:
    """bf16 or fp32; on a CPU without bf16 instructions, it is fp32 and the configuration is changed accordingly."""
    if not config.get("bf16", {}).get("enabled"):
        return torch.float32
    if device.type == "cpu" and not bf16_is_fast_on_cpu():
        config["bf16"] = {"enabled": False}
        config.pop("data_types", None)
        return torch.float32
    return torch.bfloat16


def _import_deepspeed():
    logger = logging.getLogger("DeepSpeed")
    logger.setLevel(logging.WARNING)
    logger.addFilter(lambda record: "Setting accelerator to CPU" not in record.getMessage())
    import deepspeed.ops

    # A CPU extension: compiling it takes a minute at the first start, and if that is interrupted, later starts hang.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
