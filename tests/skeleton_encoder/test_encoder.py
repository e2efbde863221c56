import copy
import dataclasses
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import options_of_the_command_line, validate_record
from emotion_llm.skeleton_encoder.batch import MotionBatch, collate, joint_inputs
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings
from emotion_llm.skeleton_encoder.graph import adjacency_subsets
from emotion_llm.skeleton_encoder.layers import Group, Rows
from emotion_llm.skeleton_encoder.pooling import pool
from emotion_llm.skeleton_encoder.settings import EncoderSettings
from emotion_llm.skeleton_encoder.st_gcn import FixedGraphConvolution, StGcnSettings


def padded(batch: MotionBatch, frames: int, joints: int) -> MotionBatch:
    """The batch with that much more padding, full of rubbish: masks alone say what is real."""
    n, t, v, _ = batch.positions.shape
    positions = torch.full((n, t + frames, v + joints, 3), 7.0)
    positions[:, :t, :v] = batch.positions
    frame_mask, joint_mask = torch.zeros(n, t + frames, dtype=torch.bool), torch.zeros(n, v + joints, dtype=torch.bool)
    frame_mask[:, :t], joint_mask[:, :v] = batch.frame_mask, batch.joint_mask
    return replace(batch, positions=positions, frame_mask=frame_mask, joint_mask=joint_mask)


@pytest.mark.parametrize("training", [False, True])
def test_padding_never_changes_an_answer(encoder, layouts, motion, training):
    batch = collate([motion(layouts[0], 13), motion(layouts[1], 9), motion(layouts[0], 1)], [0, 1, 0], 30.0)
    answers = []
    for form in (batch, padded(batch, frames=11, joints=6)):
        fresh = copy.deepcopy(encoder).train(training)
        encoded = fresh(form)
        features, semantic = encoded.features, pool(encoded).semantic
        ((features * torch.linspace(-1, 1, features.shape[1])[:, None, None]).sum() + semantic.sum()).backward()
        gradients = [parameter.grad for parameter in fresh.parameters()]
        statistics = [buffer for name, buffer in fresh.named_buffers() if "running" in name]
        answers.append((features, [semantic], gradients, statistics))
    (short, *short_rest), (long, *long_rest) = answers
    assert torch.allclose(short, long[:, :, : short.shape[2], : short.shape[3]], atol=1e-5)
    assert (long[:, :, short.shape[2] :] == 0).all() and (long[:, :, :, short.shape[3] :] == 0).all()
    for one, other in zip(chain(*short_rest), chain(*long_rest), strict=True):
        assert torch.allclose(one, other, atol=1e-4, rtol=1e-4)


def test_a_motion_has_the_same_features_alone_and_in_company(encoder, layouts, motion):
    motions, index = [motion(layouts[0], 30), motion(layouts[1], 5), motion(layouts[0], 2), motion(layouts[1], 17)], [0, 1, 0, 1]
    together = encoder(collate(motions, index, 30.0))
    for n, positions in enumerate(motions):
        alone = encoder(collate([positions], [index[n]], 30.0)).features[0]
        _, steps, joints = alone.shape
        assert torch.allclose(together.features[n, :, :steps, :joints], alone, atol=1e-5)
        assert together.frame_mask[n].sum() == steps and together.joint_mask[n].sum() == joints
        assert (together.features[n, :, steps:] == 0).all() and (together.features[n, :, :, joints:] == 0).all()


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 8, 9, 64])
def test_one_feature_frame_stands_for_four_frames(encoder, layouts, motion, frames):
    encoded = encoder(collate([motion(layouts[0], frames)], [0], 30.0))
    assert encoded.features.shape == (1, encoder.width, -(-frames // 4), 25)
    assert encoded.frame_mask.shape == (1, -(-frames // 4)) and encoded.frame_mask.all()


def test_joints_in_another_order_give_the_same_features_in_that_order(encoder, layouts, motion):
    layout, positions = layouts[0], motion(layouts[0], 12)
    order = np.random.default_rng(1).permutation(layout.joints)  # new joint j is old joint order[j]
    place = np.argsort(order)
    other = replace(
        layout,
        joint_names=tuple(layout.joint_names[old] for old in order),
        parents=tuple(int(place[layout.parents[old]]) if layout.parents[old] >= 0 else -1 for old in order),
        parts=tuple(layout.parts[old] for old in order),
        bone_lengths=tuple(layout.bone_lengths[old] for old in order),
        mirror_pairs=tuple((int(place[left]), int(place[right])) for left, right in layout.mirror_pairs),
        landmarks={word: int(place[joint]) for word, joint in layout.landmarks.items()},
    )
    permuted = encoder.settings.build([other, layouts[1]]).eval()
    state = encoder.state_dict()
    for name in ("input_mean_0", "input_std_0"):
        state[name] = state[name][:, order]
    permuted.load_state_dict(state)
    expected = encoder(collate([positions], [0], 30.0)).features[..., order]
    assert torch.allclose(permuted(collate([positions[:, order]], [0], 30.0)).features, expected, atol=1e-5)


def test_where_a_motion_takes_place_does_not_matter(encoder, layouts, motion):
    positions = motion(layouts[0], 20)
    moved = positions + np.array([3, 1, -2], dtype=np.float32)
    one, other = (encoder(collate([x], [0], 30.0)).features for x in (positions, moved))
    assert torch.allclose(one, other, atol=1e-3)


def test_travel_is_the_velocity_of_the_pelvis(layouts):
    walk = np.zeros((4, 25, 3), dtype=np.float32)
    walk[:, :, 2] = np.arange(4)[:, None] * 0.05  # 5 cm per frame
    x = joint_inputs(torch.from_numpy(walk)[None], torch.ones(1, 4, dtype=torch.bool), layouts[0].landmarks["pelvis"], 30.0)  # (6, N, V, T)
    assert (x[:3] == 0).all()
    assert torch.allclose(x[5], torch.full((1, 25, 4), 1.5)), "metres per second, from the first frame on"


def test_the_gradient_reaches_every_parameter(encoder, layouts, motion):
    encoder.train()
    batch = collate([motion(layouts[0], 16), motion(layouts[1], 12)], [0, 1], 30.0)
    encoded = encoder(batch)
    (encoded.features.square().sum() + pool(encoded).semantic.sum()).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_encoder_of_the_paper_preset_has_the_size_of_ctr_gcn(layouts):
    count = sum(parameter.numel() for parameter in CtrGcnSettings(statistics=False).build(layouts).parameters())
    assert count == 1_433_822


def test_only_adjacency_and_input_normalisation_belong_to_a_layout(layouts):
    one, two = (CtrGcnSettings((8,), (4,)).build(these) for these in (layouts[:1], layouts))
    assert [name for name, _ in one.named_parameters()] == [name for name, _ in two.named_parameters()]
    assert two.state_dict().keys() - one.state_dict().keys() == {"input_mean_1", "input_std_1"}


def test_an_input_that_hardly_varies_is_not_blown_up(encoder):
    encoder.set_input_statistics(0, torch.zeros(6, 25), torch.zeros(6, 25))
    assert (encoder.input_std_0[:3] == 0.01).all() and torch.allclose(encoder.input_std_0[3:], torch.tensor(0.05))


@pytest.mark.parametrize(
    ("widths", "strides", "message"),
    [
        ((8, 8), (4,), "2 widths and 1 strides; give one of each per block"),
        ((8, 6), (2, 2), "each must be a positive multiple of 4"),
        ((8, 8), (2, 1), "must multiply to 4"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused(widths, strides, message):
    with pytest.raises(UserError, match=message), options_of_the_command_line():
        CtrGcnSettings(widths, strides)
    with pytest.raises(UserError, match="--reduction 0: must be at least 1"), options_of_the_command_line():
        CtrGcnSettings(reduction=0)
    with pytest.raises(UserError, match="3 channels per topology; give a number that divides the widths"), options_of_the_command_line():
        CtrGcnSettings(channels_per_topology=3)


def test_a_second_encoder_takes_one_file_and_one_entry_in_the_union(layouts, motion):
    settings = StGcnSettings(widths=(8, 12), strides=(2, 2), kernel=5)
    assert validate_record(EncoderSettings, dataclasses.asdict(settings), "encoder.json") == settings
    assert validate_record(EncoderSettings, dataclasses.asdict(CtrGcnSettings()), "encoder.json") == CtrGcnSettings()
    encoder = settings.build(layouts).eval()
    motions = [motion(layouts[0], 30), motion(layouts[1], 11)]
    together = encoder(collate(motions, [0, 1], 30.0))
    assert together.features.shape == (2, 12, 8, 28)
    for index, positions in enumerate(motions):  # padding and neighbours in the batch change nothing
        alone = encoder(collate([positions], [index], 30.0)).features[0]
        assert torch.allclose(together.features[index, :, : alone.shape[1], : alone.shape[2]], alone, atol=1e-5)
        assert (together.features[index, :, alone.shape[1] :] == 0).all()
    x, edges = torch.randn(3, 25, 4), adjacency_subsets(layouts[0].parents)
    convolution = FixedGraphConvolution(3, 5)
    rows = Rows((Group(0, torch.tensor([0]), 25, 25, edges),), torch.ones(25, 4), torch.tensor(100.0))
    weight = convolution.value.weight.view(3, 5, 3)
    assert torch.allclose(convolution(x, rows), torch.einsum("kvu,kdc,cut->dvt", edges, weight, x), atol=1e-5)
