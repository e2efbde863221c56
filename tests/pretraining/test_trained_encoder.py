import json
from dataclasses import replace

import pytest
import torch

from emotion_llm.kinematics.descriptors import DESCRIPTORS
from emotion_llm.pretraining.model import PretrainingModel
from emotion_llm.pretraining.text_alignment import TextAlignment
from emotion_llm.pretraining.trained_encoder import ABOUT, WEIGHTS, load_encoder, save_encoder
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_encoder.batch import collate
from emotion_llm.skeleton_encoder.pooling import EmotionClassifier
from emotion_llm.skeleton_encoder.st_gcn import StGcnSettings


@pytest.fixture
def model(encoder) -> PretrainingModel:
    alignment = TextAlignment(encoder.width, torch.nn.functional.normalize(torch.randn(3, 5), dim=1), temperature=0.1)
    return PretrainingModel(encoder, EmotionClassifier(encoder.width, 3), alignment)


@pytest.fixture
def run(tmp_path, model):
    metadata = {
        "emotions": ("anger", "joy", "sadness"), "frames_per_second": 30.0, "window_frames": 24, "split": {},
        "corpora": {"one": {"data_hash": "d" * 64, "split_hash": "s" * 64}},
    }  # fmt: skip
    save_encoder(tmp_path / "run", model, metadata)
    return tmp_path / "run"


@pytest.mark.parametrize("aligned", [True, False])
def test_a_saved_encoder_comes_back_from_its_folder_alone(run, model, layouts, motion, aligned):
    if not aligned:
        model.alignment = None
        save_encoder(run, model, json.loads((run / ABOUT).read_text()) | {"temperature": None})
    trained = load_encoder(run)
    batch = collate([motion(layouts[0], 20), motion(layouts[1], 9)], [trained.layout_index(layout) for layout in layouts], 30.0)
    assert torch.equal(trained.encoder(batch).features, model.encoder(batch).features)
    assert (
        (trained.encoder.width, trained.channels) == (16, 16 + len(DESCRIPTORS))
        and trained.record.window_frames == 24
        and (trained.model.alignment is not None) == aligned
    )
    assert not trained.model.training and not any(parameter.requires_grad for parameter in trained.model.parameters())


def test_the_encoder_hash_covers_weights_and_what_decides_an_answer_but_not_the_rest(run, model):
    first = load_encoder(run).encoder_hash
    metadata = json.loads((run / ABOUT).read_text())
    assert save_encoder(run, model, metadata).encoder_hash == first
    assert save_encoder(run, model, metadata | {"held_out": {"one": {"accuracy": 1.0}}}).encoder_hash == first
    assert save_encoder(run, model, metadata | {"window_frames": 25}).encoder_hash != first
    with torch.no_grad():
        model.classifier.head.bias[0] += 1
    assert save_encoder(run, model, metadata).encoder_hash != first


def test_probabilities_are_over_the_emotions_that_are_asked_for(run, model):
    trained, semantic = load_encoder(run), torch.randn(2, 16)
    probabilities = trained.probabilities(semantic, ("sadness", "anger"))
    expected = model.classifier.head(semantic)[:, [2, 0]].double().softmax(1)
    assert torch.allclose(probabilities, expected)
    with pytest.raises(UserError, match="emotion 'pride' is not known to the encoder; it was trained on anger, joy, sadness"):
        trained.probabilities(semantic, ("joy", "pride"))


def test_a_layout_that_the_encoder_does_not_know_is_refused(run, layouts):
    trained = load_encoder(run)
    other = replace(layouts[0], name="martian")
    with pytest.raises(UserError, match=r"layout 'martian' \(25 joints\) is not known to the encoder; it knows kinect_v2_25, emilya_28"):
        trained.layout_index(other)
    changed = replace(layouts[0], parts=("head", *layouts[0].parts[1:]))
    with pytest.raises(UserError, match="layout 'kinect_v2_25' is not the one of that name that the encoder was trained on"):
        trained.layout_index(changed)


def test_a_folder_without_an_encoder_is_refused(tmp_path, run):
    with pytest.raises(UserError, match=r"no trained encoder here; train one with: python launch/pretrain_encoder.py --run"):
        load_encoder(tmp_path)
    (run / WEIGHTS).unlink()
    with pytest.raises(UserError, match="no trained encoder here"):
        load_encoder(run)


def test_files_that_do_not_belong_together_are_refused(run):
    weights = bytearray((run / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (run / WEIGHTS).write_bytes(weights)
    with pytest.raises(UserError, match=r"do not match \(their hash differs\); run launch/pretrain_encoder.py"):
        load_encoder(run)


@pytest.mark.parametrize("damage", ["{", '{"encoder_hash": 1}', "[]", "[" * 100_000])
def test_a_record_that_cannot_be_read_is_refused(run, damage):
    (run / ABOUT).write_text(damage)
    with pytest.raises(UserError, match=r"run/encoder.json: .*; run launch/pretrain_encoder.py --run .* again, or restore both files"):
        load_encoder(run)


@pytest.mark.parametrize(
    "change",
    [
        {"window_frames": 25}, {"frames_per_second": 60.0}, {"emotions": ["joy", "anger", "sadness"]}, {"split": {"seed": 1}},
        {"corpora": {"one": {"data_hash": "e" * 64, "split_hash": "s" * 64}}}, {"canonical": {"heading": "recorded"}}, {"temperature": 0.2},
    ],
)  # fmt: skip
def test_an_edited_record_is_refused(run, change):
    record = json.loads((run / ABOUT).read_text())
    (run / ABOUT).write_text(json.dumps(record | change))
    with pytest.raises(UserError, match=r"do not match \(their hash differs\)"):
        load_encoder(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window_frames": "many"}, "field 'window_frames' is 'many'"),
        ({"window_frames": 0}, "field 'window_frames' is '0'; must be at least 1"),
        ({"frames_per_second": float("nan")}, "field 'frames_per_second'"),
        ({"emotions": []}, "field 'emotions' is "),
        ({"emotions": [""]}, "field 'emotions.0' is ''; must not be empty"),
        ({"layouts": [5]}, "field 'layouts.0' is '5'"),
        ({"settings": {"kind": "evil"}}, "field 'settings' is "),
        ({"settings": None}, "field 'settings'"),
        ({"corpora": {"one": 5}}, "field 'corpora.one' is '5'"),
        ({"split": {"folds": -1}}, "field 'split.folds' is '-1'; must be at least 2"),
        ({"surprise": 1}, "field 'surprise' is not a known field"),
    ],
)
def test_a_record_with_wrong_values_is_one_line_that_names_the_field(run, change, message):
    record = json.loads((run / ABOUT).read_text())
    (run / ABOUT).write_text(json.dumps(record | change))
    with pytest.raises(UserError) as error:
        load_encoder(run)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_missing_weights_are_refused_even_where_the_hash_fits(run, model):
    metadata = json.loads((run / ABOUT).read_text())
    model.classifier = torch.nn.Identity()
    save_encoder(run, model, metadata)
    with pytest.raises(UserError, match=r"encoder.json describes another encoder than skeleton_encoder.safetensors holds; run launch"):
        load_encoder(run)


def test_an_encoder_of_another_kind_comes_back_too(tmp_path, run, layouts):
    encoder = StGcnSettings(widths=(8, 8), strides=(2, 2)).build(layouts)
    save_encoder(tmp_path / "other", PretrainingModel(encoder, EmotionClassifier(8, 3), None), json.loads((run / ABOUT).read_text()))
    assert json.loads((tmp_path / "other" / ABOUT).read_text())["settings"]["kind"] == "st-gcn"
    assert load_encoder(tmp_path / "other").encoder.settings == encoder.settings


def test_the_files_are_on_the_disk_before_they_replace_others(run, model, fsynced):
    save_encoder(run, model, json.loads((run / ABOUT).read_text()))
    assert [path.name.split(".")[1] for path in fsynced if path.suffix == ".tmp"] == ["skeleton_encoder", "encoder"]
