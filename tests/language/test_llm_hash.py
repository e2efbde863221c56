"""The hash of an LLM covers all of its weights, its configuration and its vocabulary."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from emotion_llm.language.llm import llm_hash
from emotion_llm.runtime.errors import UserError
from tests.helpers.families import write_small_llm


@pytest.fixture
def folder(tmp_path):
    return write_small_llm(tmp_path / "llm")


def test_a_copy_has_the_same_hash(folder, tmp_path):
    assert llm_hash(str(shutil.copytree(folder, tmp_path / "copy"))) == llm_hash(str(folder))


def test_one_weight_in_the_middle_changes_it(folder):
    before = llm_hash(str(folder))
    path = next(folder.glob("*.safetensors"))
    weights = load_file(path)
    next(value for value in weights.values() if value.dim() == 2).view(-1)[1000] += 1
    save_file(weights, path, metadata={"format": "pt"})
    assert llm_hash(str(folder)) != before


@pytest.mark.parametrize(("field", "value", "same"), [("rope_theta", 5.0, False), ("transformers_version", "0", True)])
def test_a_changed_configuration_changes_it_but_not_the_version_that_wrote_it(folder, field, value, same):
    before = llm_hash(str(folder))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {field: value}))
    assert (llm_hash(str(folder)) == before) is same


def test_an_unreadable_llm_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--llm .*nowhere: cannot be read \(.*\); fetch the LLM again"):
        llm_hash(str(tmp_path / "nowhere"))
