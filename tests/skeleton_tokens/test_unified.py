"""The unified form (UST): one slot for every token, whatever the layout and the length."""

from dataclasses import replace

import pytest
import torch

from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import options_of_the_command_line
from emotion_llm.skeleton_tokens.unified import SEMANTIC, SPATIAL, TEMPORAL, MotionFeatures, Slots, whole_motion


def test_a_token_has_the_same_slot_in_every_motion():
    slots = Slots(spatial=72, temporal=32)
    kinect, neuron = slots.of_motion(25, 10), slots.of_motion(72, 32)
    assert kinect[0] == neuron[0] == 0
    assert torch.equal(kinect[1:26], neuron[1:26])
    assert torch.equal(kinect[26:], neuron[73:83])
    assert neuron.tolist() == list(range(slots.total))


def test_no_two_tokens_share_a_slot():
    slots = Slots(5, 4)
    for joints in range(1, 6):
        for time_steps in range(1, 5):
            taken = slots.of_motion(joints, time_steps)
            assert len(set(taken.tolist())) == 1 + joints + time_steps
            assert int(taken.max()) < slots.total


@pytest.mark.parametrize(("spatial", "temporal"), [(0, 4), (4, 0)])
def test_a_form_without_slots_is_refused(spatial, temporal):
    with pytest.raises(UserError, match=r"--(spatial|temporal) 0: must be at least 1"), options_of_the_command_line():
        Slots(spatial=spatial, temporal=temporal)


def test_features_must_have_a_row_per_token():
    with pytest.raises(ValueError, match="5 feature rows for 2 joints and 3 time steps"):
        MotionFeatures(torch.zeros(5, 8), 2, 3)


def test_a_removed_token_leaves_the_others_their_slots_and_granularities():
    whole, slots = MotionFeatures(torch.arange(24.0).view(6, 4), 3, 2), Slots(5, 4)
    part = whole.keep([4, 2, 2])
    assert torch.equal(part.rows, whole.rows[[2, 4]])
    assert torch.equal(part.in_slots(slots), whole.in_slots(slots)[[2, 4]])
    assert torch.equal(part.granularities, whole.granularities[[2, 4]])
    assert whole.keep([]).rows.shape == (0, 4)
    assert torch.equal(part.keep([3, 4]).rows, whole.rows[[4]]), "a removed token cannot come back"
    assert torch.equal(part.keep([3, 4]).in_slots(slots), whole.in_slots(slots)[[4]])


def test_a_whole_motion_is_the_mean_of_its_windows_and_its_temporal_tokens_divide_all_of_it():
    windows = [MotionFeatures(torch.randn(1 + 3 + 4, 5), 3, 4) for _ in range(2)]
    whole, (first, second) = whole_motion(windows), windows
    torch.testing.assert_close(whole.rows[:4], (first.rows[:4] + second.rows[:4]) / 2)  # semantic and spatial
    expected = [first.rows[4:6].mean(0), first.rows[6:].mean(0), second.rows[4:6].mean(0), second.rows[6:].mean(0)]
    torch.testing.assert_close(whole.rows[4:], torch.stack(expected))
    assert (whole.joints, whole.time_steps) == (3, 4)
    assert whole_motion([first]) is first


def test_a_motion_in_words_stays_as_it_is():
    words = replace(MotionFeatures(torch.zeros(6, 4), 3, 2).keep([]), words="fast")
    assert whole_motion([words, words]).words == "fast"


@pytest.mark.parametrize(
    ("joints", "time_steps", "message"),
    [
        (6, 4, r"a motion has 6 joints but there are 5 spatial slots; set --slots.spatial 6"),
        (5, 5, r"a motion has 5 time steps but there are 4 temporal slots; set --slots.temporal 5"),
    ],
)
def test_one_joint_or_time_step_more_than_there_are_slots_is_refused(joints, time_steps, message):
    assert len(Slots(5, 4).of_motion(5, 4)) == 10
    with pytest.raises(UserError, match=message):
        Slots(5, 4).of_motion(joints, time_steps)


def test_the_granularities_follow_the_order_of_the_rows():
    features = MotionFeatures(torch.zeros(6, 8), joints=3, time_steps=2)
    assert features.granularities.tolist() == [SEMANTIC, SPATIAL, SPATIAL, SPATIAL, TEMPORAL, TEMPORAL]
