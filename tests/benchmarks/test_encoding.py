from dataclasses import replace

import pytest
import torch

from emotion_llm.benchmarks.encoding import baseline_features, draw_motions, encoder_features, measure, train_step
from emotion_llm.benchmarks.workload import TINY
from emotion_llm.motion.layout import read_layout
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings

SMALL_ENCODER = CtrGcnSettings((8, 16, 16), (2, 1, 2), channels_per_topology=2, statistics=False)


@pytest.mark.parametrize("training", [True, False])
def test_the_baseline_computes_the_same_features_and_gradients(training):
    encoder = SMALL_ENCODER.build([read_layout("emilya_28")]).double()
    for block in encoder.blocks:
        torch.nn.init.normal_(block.graph.strength)
        torch.nn.init.normal_(block.temporal_norm.running_mean, std=0.1)
    batch = draw_motions(encoder, (0,), 3, 21)
    batch = replace(batch, positions=batch.positions.double())
    encoder.train(training)
    ours, theirs = encoder(batch).features, baseline_features(encoder.train(training), batch)
    torch.testing.assert_close(ours, theirs)
    if training:
        gradients = []
        for forward in (encoder_features, baseline_features):
            encoder.zero_grad()
            train_step(encoder, batch, forward)
            gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)


def test_three_measurements_come_out():
    measurements = measure(SMALL_ENCODER, llm=TINY, motions=3, frames=16, repeats=1)
    assert [m.name for m in measurements] == ["encoder block, one layout", "encoder block, three layouts", "encode once"]
    assert all(0 < m.low <= m.ratio <= m.high and m.unit == "seconds" for m in measurements)
    assert "padded to 72" in measurements[1].compared
