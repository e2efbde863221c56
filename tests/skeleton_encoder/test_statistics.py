"""Movement statistics: of real frames only, of any body size, and learnt beside the network."""

import numpy as np
import pytest
import torch

from emotion_llm.kinematics.descriptors import describe
from emotion_llm.motion.motion import Motion
from emotion_llm.skeleton_encoder.batch import collate
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings
from emotion_llm.skeleton_encoder.pooling import pool
from emotion_llm.skeleton_encoder.statistics import FLOORS, STATISTICS, describe_windows, movement_statistics

PARENTS = (-1, 0, 1)


def walk(frames: int) -> torch.Tensor:
    """A chain of three joints that swings; (1, T, 3, 3)."""
    t = torch.arange(frames) / 30.0
    swing = torch.stack([0.3 * torch.sin(4 * t), -torch.cos(0.3 * torch.sin(4 * t)), 0 * t], dim=1)
    return torch.stack([0 * swing, swing, 2 * swing], dim=1)[None]


def test_of_a_still_body_the_logarithms_are_those_of_their_floors():
    still = walk(1).expand(1, 20, 3, 3)
    values = movement_statistics(still, torch.ones(1, 20, dtype=torch.bool), PARENTS, 30.0)[:, 0]
    of_direction, of_speed, of_acceleration = FLOORS
    expected = torch.tensor([of_direction] * 3 + [of_speed] * 2 + [of_acceleration]).log()
    torch.testing.assert_close(values[3:], expected[:, None].expand(6, 3))


def test_descriptors_are_those_of_each_window_at_the_given_rate_without_padded_joints(layouts, motion):
    windows = [motion(layouts[0], 30), motion(layouts[1], 9)]
    padded = [np.pad(window, ((0, 0), (0, 4), (0, 0)), constant_values=7.0) for window in windows]
    expected = np.stack([describe(Motion(layout, window, 24.0)) for layout, window in zip(layouts, windows, strict=True)])
    np.testing.assert_allclose(describe_windows(padded, layouts, 24.0), expected, rtol=1e-5, atol=1e-6)


def test_padded_frames_do_not_count():
    positions, mask = walk(20), torch.ones(1, 20, dtype=torch.bool)
    padded = torch.cat([positions, torch.full((1, 9, 3, 3), 7.0)], dim=1)
    long = movement_statistics(padded, torch.cat([mask, torch.zeros(1, 9, dtype=torch.bool)], dim=1), PARENTS, 30.0)
    torch.testing.assert_close(long, movement_statistics(positions, mask, PARENTS, 30.0))


def test_directions_do_not_depend_on_size_and_speeds_grow_with_it():
    mask = torch.ones(1, 40, dtype=torch.bool)
    small, large = (movement_statistics(scale * walk(40), mask, PARENTS, 30.0)[:, 0] for scale in (1.0, 1.5))
    torch.testing.assert_close(small[:6], large[:6])
    assert (large[6:, 1:] > small[6:, 1:]).all()
    assert (small[:3, 0] == 0).all()  # the root has no bone


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_windows_have_finite_statistics(frames):
    values = movement_statistics(walk(frames), torch.ones(1, frames, dtype=torch.bool), PARENTS, 30.0)
    assert values.shape == (STATISTICS, 1, 3)
    assert values.isfinite().all()


def test_statistics_and_descriptors_are_part_of_every_real_feature_and_told_apart_in_their_mean(layouts, motion):
    encoder = CtrGcnSettings((4, 8), (2, 2)).build(layouts).eval()
    batch = collate([motion(layouts[0], 30), motion(layouts[1], 9)], [0, 1], 30.0)
    before = encoder(batch)
    assert all((part == 0).all() for part in before.parts[1:])
    torch.nn.init.normal_(encoder.statistics.weight)
    torch.nn.init.normal_(encoder.descriptors.weight)
    after = encoder(batch)
    network, statistics, descriptors = after.parts
    share = encoder.settings.network_share
    torch.testing.assert_close(pool(after).semantic, share * network + statistics + descriptors, rtol=1e-4, atol=1e-4)
    assert statistics.abs().min() > 0 and descriptors.abs().min() > 0
    with torch.no_grad():
        encoder.statistics.weight.zero_()
    added = (encoder(batch).features - before.features)[0, :, :, : layouts[0].joints]  # (C, T', V)
    torch.testing.assert_close(added, descriptors[0, :, None, None].expand_as(added), rtol=1e-4, atol=1e-4)
    assert (after.features[1, :, 3:] == 0).all() and (after.features[0, :, :, layouts[0].joints :] == 0).all()
    assert CtrGcnSettings((4, 8), (2, 2), statistics=False).build(layouts)(batch).parts is None


def test_descriptors_are_standardised_within_their_layout_and_known_ones_are_not_measured_again(layouts, motion):
    encoder = CtrGcnSettings((4, 8), (2, 2)).build(layouts).eval()
    torch.nn.init.normal_(encoder.descriptors.weight)
    windows = [motion(layouts[0], 30), motion(layouts[1], 9)]
    measured = describe_windows(windows, layouts, 30.0)
    for index in (0, 1):
        encoder.descriptors.set_statistics(index, measured[index] - 1, torch.full_like(measured[index], 2.0))
    expected = 0.5 * encoder.descriptors.weight.sum(1)
    for descriptors in (None, measured):
        mapped = encoder(collate(windows, [0, 1], 30.0, descriptors)).parts[2]
        torch.testing.assert_close(mapped, expected.expand(2, -1), rtol=1e-3, atol=1e-3)
    assert encoder(collate(windows, [0, 1], 30.0, measured + 1)).parts[2].allclose(2 * mapped, rtol=1e-3, atol=1e-3)


def test_a_value_far_from_all_training_is_bounded(layouts, motion):
    encoder = CtrGcnSettings((4, 8), (2, 2)).build(layouts).eval()
    torch.nn.init.ones_(encoder.statistics.weight)
    wild = encoder(collate([1e6 * motion(layouts[0], 30)], [0], 30.0)).parts[1].abs().max()
    assert wild.isfinite()
    assert wild <= 4.0 * STATISTICS * layouts[0].joints ** 0.5
