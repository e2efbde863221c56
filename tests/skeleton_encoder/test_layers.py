"""The layers against plain loops over motions, joints, subsets and frames."""

import pytest
import torch

from emotion_llm.skeleton_encoder.ctr_gcn import GraphConvolution, TemporalConvolution
from emotion_llm.skeleton_encoder.graph import SUBSETS, adjacency_subsets
from emotion_llm.skeleton_encoder.layers import Group, Rows

PARENTS = ((-1, 0, 1, 1), (-1, 0, 0))
SAMPLES = (2, 3)
FRAMES = 6


def rows_of_two_layouts() -> Rows:
    groups, real = [], []
    for index, (parents, samples) in enumerate(zip(PARENTS, SAMPLES, strict=True)):
        joints = len(parents)
        groups.append(Group(index, torch.arange(samples), samples * joints, joints, adjacency_subsets(parents)))
        for sample in range(samples):
            frames = torch.zeros(FRAMES)
            frames[: FRAMES - sample] = 1  # motions of different lengths
            real += [frames] * joints
    real = torch.stack(real)
    return Rows(tuple(groups), real, real.sum())


def refined_layer(channels_per_topology: int) -> GraphConvolution:
    layer = GraphConvolution(5, 8, 8, channels_per_topology)
    torch.nn.init.normal_(layer.strength)
    return layer


@pytest.mark.parametrize("channels_per_topology", [1, 4])
def test_the_graph_convolution_equals_a_loop(channels_per_topology):
    rows, layer = rows_of_two_layouts(), refined_layer(channels_per_topology)
    x = torch.randn(5, len(rows.real), FRAMES) * rows.real
    y, row = layer(x, rows), 0
    weight = layer.value.weight.view(SUBSETS, 8, 5)
    for group in rows.groups:
        for _ in range(group.size // group.joints):
            joints = x[:, row : row + group.joints]  # (C_in, V, T)
            length = int(rows.real[row].sum())
            for v in range(group.joints):
                expected = torch.zeros(8, FRAMES)
                for k in range(SUBSETS):
                    for u in range(group.joints):
                        topology = group.adjacency[k, v, u] + layer.strength[k] * refinement(layer, joints, length, k, v, u)  # (C,)
                        expected += topology[:, None] * (weight[k] @ joints[:, u])
                assert torch.allclose(y[:, row + v], expected, atol=1e-5)
            row += group.joints
    assert row == len(rows.real)


def refinement(layer: GraphConvolution, joints: torch.Tensor, length: int, k: int, v: int, u: int) -> torch.Tensor:
    """(C,): joints v and u compared frame by frame, averaged over the real frames, as CTR-GCN writes it."""
    part = slice(k * layer.compared, (k + 1) * layer.compared)
    query = torch.stack([layer.query(joints[:, v, t])[part] for t in range(length)]).mean(0)
    key = torch.stack([layer.key(joints[:, u, t])[part] for t in range(length)]).mean(0)
    return torch.tanh(query - key) @ layer.refine[k].repeat_interleave(layer.sharing, dim=0).T


def test_the_gradient_of_the_graph_convolution_is_that_of_finite_differences():
    rows, layer = rows_of_two_layouts(), refined_layer(2).double()
    groups = tuple(Group(g.layout, g.samples, g.size, g.joints, g.adjacency.double()) for g in rows.groups)
    rows = Rows(groups, rows.real.double(), rows.count.double())
    x = torch.randn(5, len(rows.real), FRAMES, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x * rows.real, rows).sum(1), (x,))


def test_the_temporal_convolution_equals_a_loop():
    rows = rows_of_two_layouts()
    for stride in (1, 2):
        layer = TemporalConvolution(8, stride).eval()
        x = torch.randn(8, len(rows.real), FRAMES).relu() * rows.real
        y = layer(x, rows)
        row = 4 + 1  # a joint of the second motion, one frame shorter than the longest
        length = int(rows.real[row].sum())
        mixed = torch.relu(layer.mix_norm(layer.mix(x[None])[0], rows.real, rows.count))[:, row, :length]  # (C, T)
        for step in range(-(-FRAMES // stride)):
            frame = step * stride
            expected = torch.zeros(8)
            if frame < length:
                for tap in range(5):
                    for part, spacing, layer_part in ((slice(0, 2), 1, layer.near), (slice(2, 4), 2, layer.far)):
                        seen = frame + (tap - 2) * spacing
                        if 0 <= seen < length:
                            expected[part] += layer_part.weight[:, :, 0, tap] @ mixed[part, seen]
                expected[4:6] = mixed[4:6, max(0, frame - 1) : frame + 2].amax(1)
                expected[6:8] = mixed[6:8, frame]
            assert torch.allclose(y[:, row, step], expected, atol=1e-5)
