"""Checkpoints: what they hold, how they are found, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from emotion_llm.inference.trained_model import load
from emotion_llm.language import prompts
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import file_hash
from emotion_llm.training.checkpoint import (
    ADAPTER,
    MOMENT_FILE,
    RECORD,
    TOKENIZER,
    checkpoint_folders,
    content_checksum,
    find_checkpoint,
    load_trainable,
    newest_checkpoint,
    read_checkpoint,
)


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy that may be damaged: checkpoints of steps 3, 4 and 6."""
    return shutil.copytree(finished_run, tmp_path / "run")


def sealed_again(folder, change=None) -> None:
    """All checksums made right again, as one would who changes a checkpoint on purpose."""
    content = json.loads((folder / RECORD).read_text())
    if change is not None:
        change(content)
    content["sha256"] = {name: file_hash(folder / name) if (folder / name).is_file() else old for name, old in content["sha256"].items()}
    content.pop("checksum")
    (folder / RECORD).write_text(json.dumps(content | {"checksum": content_checksum(content)}))


def test_a_checkpoint_holds_what_trains_and_nothing_else(run):
    checkpoint = newest_checkpoint(run)
    names = checkpoint.weights().keys()
    assert all("lora_" in name or name.startswith("skeleton_tokenizer.") for name in names)
    trainable = sum(value.numel() for name, value in checkpoint.weights().items() if "feature_" not in name)
    # At this size the headers weigh more than the weights; of the numbers themselves there are 12 bytes per trainable parameter.
    moments = load_file(checkpoint.folder / MOMENT_FILE)
    assert sum(value.numel() for value in moments.values()) == 2 * trainable
    assert {value.dtype for value in [*moments.values(), *checkpoint.weights().values()]} == {torch.float32}


@pytest.fixture
def written(parts, tmp_path) -> Path:
    """A checkpoint of a model that has not been trained."""
    from emotion_llm.training.checkpoint import write_checkpoint
    from emotion_llm.training.checkpoint_manager import take_snapshot

    made = parts()
    write_checkpoint(tmp_path / "written", take_snapshot(made.engine, 1, made.metadata))
    return newest_checkpoint(tmp_path / "written").folder


def test_the_adapters_configuration_is_the_same_bytes_whatever_order_sets_have_in_this_process(written):
    config = json.loads((written / "adapter" / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"])
    assert len(config["target_modules"]) == 14  # two layers


def test_whoever_may_read_the_run_may_read_its_checkpoints(written):
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in written.rglob("*.*"))


def test_a_checkpoint_takes_at_most_a_tenth_more_than_16_bytes_per_trainable_parameter(parts, tmp_path):
    from emotion_llm.language.llm import LoraSettings
    from emotion_llm.training.checkpoint import write_checkpoint
    from emotion_llm.training.checkpoint_manager import take_snapshot

    made = parts(lora=LoraSettings(rank=32, alpha=8, dropout=0.0))
    made.engine.set_state(
        made.engine.gather_state() | {name: made.engine.gather_state()["weight"] for name in ("exp_avg", "exp_avg_sq")}, 1
    )
    folder = write_checkpoint(tmp_path, take_snapshot(made.engine, 1, made.metadata))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    trainable = sum(value.numel() for value in made.engine.trainable().values())
    assert size <= 1.1 * 16 * trainable


def test_peft_opens_the_adapter_and_it_answers_as_ours_does(run, small_world):
    base = AutoModelForCausalLM.from_pretrained(small_world.llm)
    opened = PeftModel.from_pretrained(base, run / "checkpoints" / "step-00000006" / "adapter").eval()
    trained = load(run, None, torch.device("cpu"), torch.float32)
    tokens = torch.arange(1, 12)[None]
    trained.model.base_llm.set_attn_implementation("sdpa")  # plain text has no packed row
    theirs, ours = opened(input_ids=tokens).logits, trained.model.llm(input_ids=tokens).logits
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    with opened.disable_adapter():
        assert not torch.allclose(theirs, opened(input_ids=tokens).logits, atol=1e-4)


def test_a_run_folder_means_its_newest_checkpoint_and_best_json_its_best(run):
    assert find_checkpoint(run).step == 6
    best = json.loads((run / "checkpoints" / "best.json").read_text())
    assert find_checkpoint(run / "checkpoints" / "best.json").step == best["step"]
    assert find_checkpoint(run / "checkpoints" / "step-00000004").step == 4
    (run / "checkpoints" / "best.json").write_text("{}")
    with pytest.raises(UserError, match=r"best.json: cannot be read \(step is None\); give one of the step-... folders beside it"):
        find_checkpoint(run / "checkpoints" / "best.json")
    with pytest.raises(UserError, match=r"nowhere: no checkpoint here; give the run folder of launch/finetune.py"):
        find_checkpoint(run / "nowhere")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", [RECORD, ADAPTER, TOKENIZER, MOMENT_FILE, "adapter/adapter_config.json"])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_taken(run, capsys, name, damage):
    damage(run / "checkpoints" / "step-00000006" / name)
    assert newest_checkpoint(run).step == 4
    said = capsys.readouterr().out
    assert "step-00000006" in said
    assert "looking for an older one" in said


def test_a_missing_newest_checkpoint_means_the_one_before(run):
    shutil.rmtree(run / "checkpoints" / "step-00000006")
    assert newest_checkpoint(run).step == 4


def test_where_all_checkpoints_are_damaged_nothing_is_begun_anew(run):
    for folder in (run / "checkpoints").glob("step-*"):
        truncate(folder / ADAPTER)
    with pytest.raises(
        UserError, match=r"all 3 checkpoints are damaged; restore one from a copy, or start a new run in another --run folder"
    ):
        newest_checkpoint(run)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (ADAPTER, truncate, r"adapter/adapter_model.safetensors is damaged \(its checksum differs from the one in checkpoint.json\)"),
        (TOKENIZER, lambda path: path.unlink(), r"skeleton_tokenizer.safetensors is missing"),
        (RECORD, truncate, r"checkpoint.json cannot be read \(JSONDecodeError"),
        (RECORD, lambda path: path.write_text(path.read_text().replace('"step": 6', '"step": 7')), r"checkpoint.json is damaged"),
    ],
)
def test_what_is_damaged_is_said(run, name, damage, message):
    folder = run / "checkpoints" / "step-00000006"
    damage(folder / name)
    with pytest.raises(UserError, match=message):
        read_checkpoint(folder)


def test_weights_that_do_not_fit_the_model_are_refused_by_name(run, parts):
    model, weights = parts().engine.model, newest_checkpoint(run).weights()
    name = next(iter(weights))
    with pytest.raises(UserError, match=r"does not fit the model: 1 weights missing .*first: \['llm"):
        load_trainable(model, {other: value for other, value in weights.items() if other != name})
    with pytest.raises(UserError, match=r"does not fit the model: 0 weights missing .* 1 unknown \(first: \['more'\]\)"):
        load_trainable(model, weights | {"more": torch.zeros(1)})
    with pytest.raises(UserError, match=r"has shape \(1,\), expected \(.*\); use the encoder, the LLM and the --lora settings"):
        load_trainable(model, weights | {name: torch.zeros(1)})


def test_moments_that_do_not_fit_the_model_are_refused(run, parts):
    folder = run / "checkpoints" / "step-00000006"
    moments = load_file(folder / MOMENT_FILE)
    moments.pop(next(iter(moments)))
    save_file(moments, folder / MOMENT_FILE)
    sealed_again(folder)
    with pytest.raises(UserError, match=r"does not fit the model: 1 weights missing"):
        read_checkpoint(folder).engine_state(parts().engine.trainable())


def test_a_copied_checkpoint_folder_is_ignored_and_kept(run):
    for name in ("step-00000006.bak", "step-00000010.bak"):
        copy = shutil.copytree(run / "checkpoints" / "step-00000004", run / "checkpoints" / name)
    assert [folder.name for folder in checkpoint_folders(run)] == ["step-00000003", "step-00000004", "step-00000006"]
    assert newest_checkpoint(run).step == 6
    assert copy.is_dir()


@pytest.mark.parametrize("path", ["step-00000004", "best.json", ".."])
def test_a_path_relative_to_the_checkpoints_folder_finds_the_run_and_its_encoder(run, monkeypatch, path):
    monkeypatch.chdir(run / "checkpoints")
    trained = load(Path(path), None, torch.device("cpu"), torch.float32)
    assert trained.checkpoint.run.resolve() == run


def test_every_file_of_a_checkpoint_and_its_folders_are_flushed_to_disk(parts, tmp_path, monkeypatch):
    from emotion_llm.training import checkpoint
    from emotion_llm.training.checkpoint_manager import take_snapshot

    flushed = []
    monkeypatch.setattr(checkpoint, "flush", lambda path: flushed.append(path.name))
    made = parts()
    checkpoint.write_checkpoint(tmp_path, take_snapshot(made.engine, 1, made.metadata))
    assert {"adapter_model.safetensors", "adapter_config.json", TOKENIZER, "adapter", ".step-00000001.tmp", "checkpoints"} <= set(flushed)


@pytest.mark.parametrize("text", ["INSTRUCTION", "RECOGNITION_QUESTION", "DESCRIPTION_QUESTION", "KNOWN_EMOTION"])
def test_an_edited_prompt_is_refused_when_a_run_is_evaluated_or_asked(run, monkeypatch, text):
    monkeypatch.setattr(prompts, text, "Which emotion is it? {emotion}")
    with pytest.raises(
        UserError, match=r"the run was started with another prompt text \(.*Which emotion is it\?.*\); restore it, or start a"
    ):
        load(run, None, torch.device("cpu"), torch.float32)
