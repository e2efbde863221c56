"""Settings are validated when they are created."""

import json
from dataclasses import replace

import pytest

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import options_of_the_command_line
from emotion_llm.training.engine import read_ds_config
from emotion_llm.training.settings import PRESETS, FinetuneSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_steps": 0}, r"--max-steps 0: must be at least 1"),
        ({"keep_checkpoints": 0}, r"--keep-checkpoints 0: must be at least 1"),
        ({"max_skipped_in_a_row": 0}, r"--max-skipped-in-a-row 0: must be at least 1"),
        ({"peak_learning_rate": 0.0}, r"--peak-learning-rate 0.0: must be above 0"),
        ({"peak_learning_rate": float("nan")}, r"--peak-learning-rate nan: must be a finite number"),
        ({"gradient_clipping": float("inf")}, r"--gradient-clipping inf: must be a finite number"),
        ({"gradient_clipping": 0.0}, r"--gradient-clipping 0.0: must be above 0"),
        ({"hang_timeout_seconds": 0.0}, r"--hang-timeout-seconds 0.0: must be above 0"),
        ({"warmup_steps": -1}, r"--warmup-steps -1: must be at least 0"),
        ({"weight_decay": -0.1}, r"--weight-decay -0.1: must be at least 0"),
        ({"rehearsal": 1.0}, r"--rehearsal 1.0: must be below 1"),
        ({"corpora": ()}, r"--corpora \(\): needs at least 1"),
    ],
)
def test_a_setting_out_of_range_is_named(changes, message):
    with pytest.raises(UserError, match=message), options_of_the_command_line():
        replace(FinetuneSettings(), **changes)


def test_every_checkpoint_of_an_evaluation_can_be_the_best_one():
    for presets in PRESETS.values():
        for settings in presets.values():
            assert settings.evaluate_every <= settings.max_steps
            assert settings.checkpoint_every <= settings.evaluate_every


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", r"ds.json: not a JSON file"),
        ({"train_batch_size": 64}, r"train_batch_size is 64; it belongs to the settings \(--global-batch\), write \"auto\" here"),
        ({"gradient_clipping": 2.0}, r"gradient_clipping is 2.0; it belongs to the settings \(--gradient-clipping\)"),
        ({"optimizer": {}}, r"optimizer, scheduler and gradient_accumulation_steps belong to the settings; remove them here"),
        ({"gradient_accumulation_steps": 2}, r"gradient_accumulation_steps belong to the settings"),
        ({}, r"train_micro_batch_size_per_gpu is None; write the largest number of motions that a device holds"),
        ({"train_micro_batch_size_per_gpu": 0}, r"train_micro_batch_size_per_gpu is 0; write"),
        ({"train_micro_batch_size_per_gpu": "auto"}, r"train_micro_batch_size_per_gpu is 'auto'; write"),
    ],
)
def test_a_deepspeed_configuration_holds_hardware_only(tmp_path, config, message):
    (tmp_path / "ds.json").write_text(config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(UserError, match=message):
        read_ds_config(tmp_path / "ds.json")


def test_a_missing_deepspeed_configuration_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none.json: no such DeepSpeed configuration; ds_configs/ holds one per stage"):
        read_ds_config(tmp_path / "none.json")
