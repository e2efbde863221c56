import torch

from emotion_llm.motion.layout import known_layouts, read_layout
from emotion_llm.skeleton_encoder.graph import SUBSETS, adjacency_subsets


def test_a_joint_takes_from_itself_from_its_children_and_from_its_parent():
    adjacency = adjacency_subsets((-1, 0, 0, 1))  # 0 has the children 1 and 2; 3 hangs on 1
    itself, inward, outward = adjacency
    assert torch.equal(itself, torch.eye(4))
    assert torch.equal(inward, torch.tensor([[0, 0.5, 0.5, 0], [0, 0, 0, 1.0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    assert torch.equal(outward, torch.tensor([[0, 0, 0, 0], [1.0, 0, 0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0]]))


def test_rows_sum_to_one_where_there_are_neighbours_and_to_zero_elsewhere():
    for name in known_layouts():
        layout = read_layout(name)
        adjacency = adjacency_subsets(layout.parents)
        assert adjacency.shape == (SUBSETS, layout.joints, layout.joints)
        sums = adjacency.sum(-1)
        assert ((sums - 1).abs() < 1e-6).logical_or(sums == 0).all()
        assert (sums[2] == 0).sum() == 1  # only the root has no parent


def test_parents_may_come_after_their_children():
    in_order, reversed_order = adjacency_subsets((-1, 0, 1)), adjacency_subsets((1, 2, -1))
    assert torch.equal(in_order.flip(1, 2), reversed_order)
