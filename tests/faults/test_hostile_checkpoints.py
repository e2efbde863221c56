"""Checkpoints made to harm: everything that is not ours is refused in one line, and nothing of it is ever run."""

import contextlib
import json
import os
import pickle
import random
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from emotion_llm.inference.trained_model import load
from emotion_llm.pretraining import trained_encoder as trained
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import file_hash
from emotion_llm.runtime.validation import validate_record
from emotion_llm.training.checkpoint import ADAPTER, MOMENT_FILE, RECORD, TOKENIZER, content_checksum, read_checkpoint
from tests.helpers.hostile import Payload, mutated


@pytest.fixture
def folder(finished_run, tmp_path) -> Path:
    """A checkpoint that may be tampered with, in a whole run folder."""
    return shutil.copytree(finished_run, tmp_path / "run") / "checkpoints" / "step-00000006"


def seal(folder: Path, change=lambda content: None) -> None:
    """Makes all checksums right again, as an attacker would."""
    content = json.loads((folder / RECORD).read_text())
    content["sha256"] = {name: file_hash(folder / name) for name in content["sha256"] if (folder / name).is_file()}
    change(content)
    content.pop("checksum", None)
    (folder / RECORD).write_text(json.dumps(content | {"checksum": content_checksum(content)}))


def opened(folder: Path):
    """The model that evaluation makes of it."""
    return load(folder, None, torch.device("cpu"), torch.float32)


def test_an_honest_checkpoint_that_was_sealed_again_opens(folder):
    seal(folder)
    assert opened(folder).checkpoint.step == 6


@pytest.mark.parametrize("name", [ADAPTER, TOKENIZER, MOMENT_FILE])
def test_a_pickle_under_a_name_of_ours_is_never_unpickled(folder, name, tmp_path):
    (folder / name).write_bytes(pickle.dumps(Payload(tmp_path / "proof")))
    seal(folder)
    with pytest.raises(UserError, match=r"cannot be read"):
        opened(folder) if name != MOMENT_FILE else read_checkpoint(folder).engine_state({})
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("name", ["adapter/adapter_model.bin", "pytorch_model.bin", "optimizer.pt", "random_states.pkl"])
def test_a_pickle_beside_our_files_is_not_even_looked_at(folder, name, tmp_path):
    torch.save(Payload(tmp_path / "proof"), folder / name)
    assert opened(folder).checkpoint.step == 6
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("name", ["../../encoder/encoder.json", "/etc/passwd", "adapter/../../../x", "evil.bin", "", "adapter"])
def test_a_file_outside_or_unknown_is_refused_by_name(folder, name):
    seal(folder, lambda content: content["sha256"].update({name: "0" * 64}))
    with pytest.raises(UserError, match=r"checkpoint.json names the file .* which no checkpoint has; do not use this checkpoint"):
        opened(folder)


@pytest.mark.parametrize("name", [RECORD, ADAPTER, TOKENIZER, MOMENT_FILE, "adapter/adapter_config.json"])
def test_a_link_is_refused(folder, name, tmp_path):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=rf"{Path(name).name} is a link; do not use this checkpoint"):
        opened(folder)


def test_a_linked_adapter_folder_is_refused(folder, tmp_path):
    shutil.move(folder / "adapter", tmp_path / "adapter")
    (folder / "adapter").symlink_to(tmp_path / "adapter")
    with pytest.raises(UserError, match=r"adapter/.* is a link; do not use this checkpoint"):
        opened(folder)


def test_a_pipe_in_place_of_a_file_does_not_make_us_wait(folder):
    (folder / TOKENIZER).unlink()
    os.mkfifo(folder / TOKENIZER)
    with pytest.raises(UserError, match=r"skeleton_tokenizer.safetensors is missing"):
        opened(folder)


def test_an_endless_record_is_not_read(folder):
    with (folder / RECORD).open("r+b") as file:
        file.truncate(2**40)  # a terabyte of nothing
    with pytest.raises(UserError, match=r"checkpoint.json has 1,099,511,627,776 bytes; do not use this checkpoint"):
        opened(folder)


def test_a_bottomless_record_is_refused(folder):
    (folder / RECORD).write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"checkpoint.json cannot be read \(RecursionError"):
        opened(folder)


@pytest.mark.parametrize("name", [ADAPTER, TOKENIZER, MOMENT_FILE])
@pytest.mark.parametrize("shape", [[2**40, 2**20], [10**9, 10**9], [2**63, 1], [-1, 4], [2**62, 4, 0]])
def test_a_gigantic_declared_shape_allocates_nothing(folder, name, shape):
    header = json.dumps({"x.lora_A.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, 16]}}).encode()
    (folder / name).write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    seal(folder)
    with pytest.raises(UserError):
        opened(folder) if name != MOMENT_FILE else read_checkpoint(folder).engine_state({})


def test_a_gigantic_header_length_allocates_nothing(folder):
    (folder / TOKENIZER).write_bytes(struct.pack("<Q", 2**62) + b"{}")
    seal(folder)
    with pytest.raises(UserError, match=r"cannot be read"):
        opened(folder)


def test_a_rank_that_would_fill_the_memory_is_refused_before_a_model_is_built(folder):
    seal(folder, lambda content: content["metadata"]["settings"]["lora"].update(rank=10**9))
    with pytest.raises(UserError, match=r"the adapter's rank is 1000000000 in checkpoint.json but \[4\] in its file"):
        opened(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8, torch.bfloat16])
def test_numbers_of_another_type_are_refused(folder, dtype):
    save_file({name: value.to(dtype) for name, value in load_file(folder / TOKENIZER).items()}, folder / TOKENIZER)
    seal(folder)
    with pytest.raises(UserError, match=rf"is of type {dtype}, expected float32"):
        opened(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(step="6"),
        lambda content: content.update(step=True),
        lambda content: content.update(updates=-1),
        lambda content: content.update(updates=7),
        lambda content: content["metadata"].update(settings=[]),
        lambda content: content["metadata"].update(corpora={"egbm": {}}),
        lambda content: content["metadata"].update(corpora={"egbm": "x"}),
        lambda content: content["metadata"]["corpora"].pop("egbm"),
        lambda content: content["metadata"]["settings"].update(stage="sleep"),
        lambda content: content["metadata"]["settings"].update(llm=5),
        lambda content: content["metadata"]["settings"].update(llm=None),
        lambda content: content["metadata"]["settings"].update(llm="models/llm\x1b[31m"),
        lambda content: content["metadata"]["settings"]["lora"].update(rank="4"),
        lambda content: content["metadata"]["settings"]["lora"].update(alpha=float("nan")),
        lambda content: content["metadata"]["settings"]["lora"].update(target_modules="evil"),
        lambda content: content["metadata"]["settings"]["slots"].update(spatial=10**30),
        lambda content: content["metadata"]["settings"]["slots"].update(more=1),
        lambda content: content["metadata"]["corpora"]["egbm"].update(canonical={"more": 1}),
        lambda content: content.update(sha256=None),
        lambda content: content.pop("metadata"),
    ],
)
def test_a_record_of_other_kinds_of_values_is_refused(folder, change):
    seal(folder, change)
    with pytest.raises(UserError, match=r"step-00000006: "):
        opened(folder)


def test_an_adapter_configuration_that_names_code_is_not_followed(folder, tmp_path):
    """Ours is written for PEFT's users; we ourselves take rank and layers from our own record."""
    evil = tmp_path / "evil_module.py"
    evil.write_text(f"open({str(tmp_path / 'proof')!r}, 'w')")
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    config |= {
        "auto_mapping": {"base_model_class": "Evil", "parent_library": "evil_module"},
        "base_model_name_or_path": str(tmp_path),
        "auto_map": {"AutoModel": "evil_module.Evil"},
        "peft_type": "NO_SUCH_TYPE",
        "r": 10**9,
    }
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    seal(folder)
    assert opened(folder).checkpoint.step == 6
    assert not (tmp_path / "proof").exists()


def encoder_of(folder: Path, change=lambda metadata: None, weights: bytes | None = None) -> Path:
    """The run's copy of the encoder, changed and sealed again."""
    encoder = folder.parents[1] / "encoder"
    metadata = json.loads((encoder / trained.ABOUT).read_text())
    change(metadata)
    if weights is not None:
        (encoder / trained.WEIGHTS).write_bytes(weights)
    with contextlib.suppress(UserError):  # a record of other kinds of values has no hash
        record = validate_record(trained.EncoderRecord, metadata, "")
        metadata["encoder_hash"] = trained._hash(encoder / trained.WEIGHTS, record)
    (encoder / trained.ABOUT).write_text(json.dumps(metadata))
    return encoder


@pytest.mark.parametrize(
    "change",
    [
        lambda metadata: metadata["settings"].update(widths=[10**9, 10**9]),
        lambda metadata: metadata["settings"].update(widths=[8] * 10**5, strides=[4] + [1] * (10**5 - 1)),
        lambda metadata: metadata["settings"].update(widths=["8", "16"]),
        lambda metadata: metadata["settings"].update(widths=[]),
        lambda metadata: metadata["settings"].update(reduction=None),
        lambda metadata: metadata.update(emotions=5),
        lambda metadata: metadata.update(layouts=[]),
        lambda metadata: metadata["layouts"][0].update(joints=[]),
        lambda metadata: metadata["layouts"].append("kinect"),
    ],
)
def test_an_encoder_that_its_weights_do_not_bear_out_is_refused(folder, change):
    with pytest.raises(UserError):
        trained.load_encoder(encoder_of(folder, change))


def test_an_encoder_that_is_a_pickle_is_never_unpickled(folder, tmp_path):
    encoder = encoder_of(folder, weights=pickle.dumps(Payload(tmp_path / "proof")))
    with pytest.raises(UserError, match=r"the trained encoder cannot be read"):
        trained.load_encoder(encoder)
    assert not (tmp_path / "proof").exists()


WORDS = (b"[", b"{", b'"', b"null", b"1e999", b"-1", b"99999999999999999999", b"\xff\xfe", b"\\u0000")
"""Of JSON and safetensors."""


def fuzz(folder: Path, rounds: int, seed: int) -> int:
    """Reads so many mutated checkpoints, half of them with right checksums; returns how many were refused."""
    dice, refused = random.Random(seed), 0
    whole = {name: (folder / name).read_bytes() for name in (RECORD, ADAPTER, TOKENIZER, MOMENT_FILE, "adapter/adapter_config.json")}
    trainable = {name: value for name, value in read_checkpoint(folder).weights().items() if ".feature_" not in name}
    for _ in range(rounds):
        name = dice.choice(list(whole))
        (folder / name).write_bytes(mutated(whole[name], dice, WORDS))
        if dice.random() < 0.5:
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):  # no JSON of ours any more: it stays unsealed
                seal(folder)
        try:
            read_checkpoint(folder).engine_state(trainable)
        except UserError:
            refused += 1
        for other, content in whole.items():
            (folder / other).write_bytes(content)
    return refused


def test_mutated_checkpoints_give_nothing_but_user_errors(folder):
    assert fuzz(folder, rounds=300, seed=0) > 150


@pytest.mark.slow
def test_thousands_of_mutated_checkpoints_give_nothing_but_user_errors(folder):
    assert fuzz(folder, rounds=5_000, seed=1) > 2_500
