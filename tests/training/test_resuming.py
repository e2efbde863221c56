"""What a run may go on from, and what it refuses by name."""

import copy
import json
import re
import shutil
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from emotion_llm.grounding.norms import load_norms
from emotion_llm.language.llm import load_text_tokenizer
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.runtime.console import settings_to_dict
from emotion_llm.runtime.errors import UserError
from emotion_llm.training import assembly, engine
from emotion_llm.training.assembly import check_resumable, check_same_origin, checkpoint_to_resume, prompts_of_run, start_weights
from emotion_llm.training.checkpoint import newest_checkpoint
from launch import finetune as launch_finetune
from tests.helpers.run_outcome import outcome


@pytest.fixture
def checkpoint(finished_run):
    return newest_checkpoint(finished_run)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        (
            "seed",
            5,
            r"the run was started with seed = 0, now it is 5; resume with the old value, or start a new run with another --run folder",
        ),
        ("max_steps", 9, r"started with max_steps = 6, now it is 9"),
        ("lora", {"rank": 8, "alpha": 8, "dropout": 0.05}, r"started with lora = \{'rank': 4.*now it is \{'rank': 8"),
        ("corpora", ["egbm"], r"started with corpora"),
    ],
)
def test_a_changed_setting_that_matters_is_refused_by_name(checkpoint, setting, value, said):
    now = copy.deepcopy(checkpoint.metadata)
    now["settings"][setting] = value
    with pytest.raises(UserError, match=said):
        check_resumable(checkpoint, now)


def test_settings_that_change_nothing_learnt_may_change(checkpoint):
    now = copy.deepcopy(checkpoint.metadata)
    now["settings"] |= {"checkpoint_every": 7, "evaluate_every": 9, "keep_checkpoints": 1, "hang_timeout_seconds": 1.0, "llm": "moved"}
    check_resumable(checkpoint, now)


@pytest.mark.parametrize("what", ["data_hash", "split_hash"])
def test_changed_data_are_refused_by_name(checkpoint, what):
    now = copy.deepcopy(checkpoint.metadata)
    now["corpora"]["egbm"][what] = "another hash"
    with pytest.raises(UserError, match=rf"corpus 'egbm': {what} is another hash, training used .*; restore the data"):
        check_resumable(checkpoint, now)


def test_another_llm_or_encoder_is_refused(checkpoint):
    llm, encoder = checkpoint.metadata["llm_fingerprint"], checkpoint.metadata["encoder_hash"]
    check_same_origin(checkpoint, llm, encoder)
    with pytest.raises(
        UserError, match=r"trained with llm_fingerprint .*, but --llm brings another; give --llm the one it was trained with"
    ):
        check_same_origin(checkpoint, "another", encoder)
    with pytest.raises(UserError, match=r"trained with encoder_hash .*, but --encoder brings another; give --encoder the one"):
        check_same_origin(checkpoint, llm, "another")


def test_a_starting_point_without_checkpoint_is_refused(small_world, tmp_path):
    settings = small_world.settings(tmp_path / "run", start_from=tmp_path / "nothing")
    with pytest.raises(UserError, match=r"nothing: no checkpoint to start from; run launch/finetune.py --stage recognition --run"):
        start_weights(None, settings, [], None, None, "")


def test_a_folder_with_a_checkpoint_is_gone_on_from_unless_that_is_forbidden(finished_run, small_world):
    settings = small_world.settings(finished_run)
    assert checkpoint_to_resume(settings).step == 6
    assert checkpoint_to_resume(small_world.settings(finished_run / "new")) is None
    with pytest.raises(UserError, match=r"holds a checkpoint of step 6; choose another --run folder, or continue from it with --resume"):
        checkpoint_to_resume(small_world.settings(finished_run, resume=False))


def test_ranks_that_see_different_checkpoints_do_not_start(finished_run, small_world, monkeypatch):
    monkeypatch.setattr(assembly, "gather_over_processes", lambda step: [step, None])
    with pytest.raises(
        UserError, match=r"see different checkpoints \(rank 0: step 6, rank 1: none\); the run folder must be on a disk that"
    ):
        checkpoint_to_resume(small_world.settings(finished_run))


def test_a_resumed_run_equals_an_unbroken_one(finished_run, small_world, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    for folder in sorted((run / "checkpoints").glob("step-*"))[1:]:  # all after step 3
        shutil.rmtree(folder)
    small_world.train(run, max_steps=6, evaluate_every=3, checkpoint_every=2)
    assert outcome(run) == outcome(finished_run)


def test_a_new_run_with_the_same_seed_is_the_same_run(finished_run, small_world, tmp_path):
    small_world.train(tmp_path / "run", max_steps=6, evaluate_every=3, checkpoint_every=2)
    assert outcome(tmp_path / "run") == outcome(finished_run)


def test_an_evaluation_that_was_interrupted_is_made_up_for(finished_run, small_world, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    record = json.loads((run / "checkpoints" / "best.json").read_text())
    without = {step: found for step, found in record["evaluations"].items() if step != "6"}
    (run / "checkpoints" / "best.json").write_text(json.dumps(record | {"evaluations": without}))
    small_world.train(run, max_steps=6, evaluate_every=3, checkpoint_every=2)
    assert json.loads((run / "checkpoints" / "best.json").read_text()) == record


def test_the_checkpoint_says_what_the_run_is(checkpoint, small_world):
    metadata = checkpoint.metadata
    settings = small_world.settings(checkpoint.folder.parents[1], max_steps=6, evaluate_every=3, checkpoint_every=2)
    assert metadata["settings"] == settings_to_dict(settings)
    assert set(metadata["versions"]) == {"python", "emotion_llm", "torch", "deepspeed", "transformers", "peft"}
    assert set(metadata["corpora"]) == {"egbm", "emilya"}
    assert all({"data_hash", "split_hash", "emotions", "layout"} <= set(corpus) for corpus in metadata["corpora"].values())


def test_computing_activations_again_changes_nothing_learnt(small_world, finished_run, tmp_path):
    small_world.train(tmp_path, max_steps=6, evaluate_every=3, checkpoint_every=2, gradient_checkpointing=True)
    assert outcome(tmp_path) == outcome(finished_run)


def test_edited_descriptions_are_refused_by_the_description_stage_alone(checkpoint):
    now = copy.deepcopy(checkpoint.metadata)
    now["corpora"]["egbm"]["texts_hash"] = "other texts"
    check_resumable(checkpoint, now)
    for metadata in (checkpoint.metadata, now):
        metadata["settings"]["stage"] = "description"
    with pytest.raises(UserError, match=r"corpus 'egbm': texts_hash is other texts, training used .*; restore the data"):
        check_resumable(checkpoint, now)


@pytest.mark.parametrize("text", ["instruction", "recognition", "description", "chat_template"])
def test_an_edited_prompt_is_refused(checkpoint, small_world, text):
    text_tokenizer = load_text_tokenizer(small_world.llm)
    assert asdict(prompts_of_run(checkpoint, text_tokenizer).texts) == checkpoint.metadata["prompts"]
    checkpoint.metadata["prompts"][text] += " Please."
    with pytest.raises(UserError, match=rf"the run was started with another prompt text \({text}: "):
        prompts_of_run(checkpoint, text_tokenizer)


def test_a_chat_template_with_the_date_is_not_rendered_again(checkpoint, small_world):
    text_tokenizer = load_text_tokenizer(small_world.llm)
    text_tokenizer.chat_template = "{{ strftime_now('%S.%f') }}" + text_tokenizer.chat_template
    started = PromptWriter(text_tokenizer)
    checkpoint.metadata["prompts"] = asdict(started.texts)
    assert prompts_of_run(checkpoint, text_tokenizer).recognition() == started.recognition()
    assert re.match(r"\d\d\.\d+", started.texts.head)


def test_an_llm_of_which_most_weights_were_zeroed_is_refused(finished_run, small_world, tmp_path):
    run, llm = shutil.copytree(finished_run, tmp_path / "run"), shutil.copytree(small_world.llm, tmp_path / "llm")
    path = next(llm.glob("*.safetensors"))
    weights = load_file(path)
    for value in weights.values():
        value.view(-1)[40:-40] = 0  # the ends stay as they are
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"trained with llm_fingerprint .*, but --llm brings .*; give --llm the one it was trained with"):
        small_world.train(run, llm=str(llm), max_steps=6, evaluate_every=3, checkpoint_every=2)


def test_description_starts_from_the_exact_fp32_weights_also_in_bf16(finished_run, small_world, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "bf16_is_fast_on_cpu", lambda: True)
    started = {}

    def train(engine_, *_):
        started.update(engine_.gather_state()["weight"])
        return False

    monkeypatch.setattr(launch_finetune, "train", train)
    small_world.train(tmp_path / "run", "description", start_from=finished_run)
    assert load_norms(tmp_path / "run").keys() == {"egbm", "emilya"}  # what is usual there goes with the run
    expected = newest_checkpoint(finished_run).weights()
    assert started and all(torch.equal(value, expected[name]) for name, value in started.items())
