"""A new layout joins a trained trunk; what both encoders know is taken over exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from emotion_llm.pretraining.data import open_data
from emotion_llm.pretraining.model import build_model
from emotion_llm.pretraining.trained_encoder import load_encoder
from emotion_llm.pretraining.transfer import take_over
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_encoder.batch import collate
from launch.pretrain_encoder import pretrain


@pytest.fixture
def first(two_corpora, settings):
    """An encoder that knows the first corpus alone."""
    alone = replace(settings, run=settings.run.with_name("first"), corpora=("one",))
    pretrain(alone)
    return alone.run


def test_the_new_model_reads_known_layouts_as_the_trained_one_and_the_rest_starts_anew(first, two_corpora, settings):
    trained, data = load_encoder(first), open_data(settings)
    model = build_model(settings, data).eval()
    head = model.classifier.head.weight.detach().clone()
    said = take_over(model, data.emotions, trained)
    assert said == "layouts kinect_v2_25; emotions anger, joy"
    corpus = two_corpora[0]
    batch = collate([np.array(corpus.positions(0))], [data.layouts.index(corpus.layout)], 30.0)
    with torch.no_grad():
        torch.testing.assert_close(model.encoder(batch).features, trained.encoder(replace(batch, layout_index=torch.tensor([0]))).features)
    rows = [data.emotions.index(emotion) for emotion in ("anger", "joy")]
    assert torch.equal(model.classifier.head.weight[rows], trained.model.classifier.head.weight)
    assert torch.equal(model.classifier.head.weight[data.emotions.index("sadness")], head[data.emotions.index("sadness")])
    new = model.encoder.statistics.joints(data.layouts.index(two_corpora[1].layout))
    assert model.encoder.statistics.weight[new].abs().max() == 0


def test_a_new_layout_joins_a_trained_trunk_with_one_command(first, settings, capsys):
    pretrain(replace(settings, start_from=first))
    assert f"starts from {first}: layouts kinect_v2_25; emotions anger, joy" in capsys.readouterr().out
    held_out = load_encoder(settings.run).record.held_out
    assert held_out.keys() == {"one", "two"} and held_out["one"]["accuracy"] >= 0.8


def test_another_architecture_is_refused(first, settings):
    other = replace(settings, start_from=first, encoder=replace(settings.encoder, network_share=0.5))
    with pytest.raises(
        UserError, match=r"--start-from: the trained encoder has network_share = 0.3, here 0.5; give the same encoder settings"
    ):
        pretrain(other)
