import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.corpus.store import open_corpus
from emotion_llm.kinematics.descriptors import describe
from emotion_llm.motion.layout import known_layouts, read_layout
from emotion_llm.motion.motion import Motion
from emotion_llm.pretraining.data import PretrainingData, check_alike, mirror, mirror_order, set_input_statistics
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings


@pytest.fixture
def data(two_corpora) -> PretrainingData:
    return PretrainingData(
        two_corpora, [SplitSettings().of(corpus) for corpus in two_corpora], window_frames=16, mirror_probability=0.5, seed=3
    )


def test_corpora_are_joined_into_one_list_of_layouts_and_words(data):
    assert data.emotions == ("anger", "joy", "sadness")
    assert [layout.name for layout in data.layouts] == ["kinect_v2_25", "emilya_28"]
    batch = data.batch(data.epoch(0), range(40))
    for n, name in enumerate(batch.names):
        corpus = data.corpora[name.startswith("two/")]
        assert {word for word, here in zip(data.emotions, batch.candidates[n], strict=True) if here} == set(corpus.emotions)
        assert batch.candidates[n, batch.emotion[n]]
        assert batch.motions.joint_mask[n].sum() == corpus.layout.joints


def test_a_clip_is_met_once_per_window_in_every_epoch_and_held_out_clips_never(data):
    for epoch in range(2):
        order = data.epoch(epoch)
        assert sorted(order.items) == list(range(len(data.items)))
    for index, (corpus, split) in enumerate(zip(data.corpora, data.splits, strict=True)):
        clips, counts = np.unique(data.items[data.items[:, 0] == index, 1], return_counts=True)
        assert clips.tolist() == list(split.train)
        assert counts.tolist() == [-(-int(corpus.clips["frames"][clip]) // 16) for clip in clips]


def test_every_training_window_brings_the_descriptors_of_its_own_clip(data):
    order = data.epoch(0)
    batch = data.batch(order, range(12))
    for n, item in enumerate(order.items[:12]):
        index, clip, start = data.items[item]
        corpus = data.corpora[index]
        window = corpus.positions(clip)[start : start + 16]
        expected = describe(Motion(corpus.layout, window, corpus.frames_per_second))
        np.testing.assert_allclose(batch.motions.descriptors[n], expected, rtol=1e-6)


def test_an_epoch_follows_from_seed_and_number_alone(data):
    one, again, next_one = data.epoch(4), data.epoch(4), data.epoch(5)
    assert all(np.array_equal(getattr(one, name), getattr(again, name)) for name in ("items", "place", "mirrored"))
    assert not np.array_equal(one.items, next_one.items)


def test_the_processes_parts_of_a_step_are_together_the_step_of_one_process(data):
    order = data.epoch(0)
    whole, parts = data.batch(order, range(8)), [data.batch(order, range(start, start + 4)) for start in (0, 4)]
    assert whole.names == parts[0].names + parts[1].names
    assert torch.equal(whole.emotion, torch.cat([part.emotion for part in parts]))
    for n in range(8):
        part = parts[n // 4].motions
        frames, joints = int(part.frame_mask[n % 4].sum()), int(part.joint_mask[n % 4].sum())
        assert torch.equal(whole.motions.positions[n, :frames, :joints], part.positions[n % 4, :frames, :joints])


def test_windows_are_cut_anywhere_in_the_clip_but_never_beyond_it(data):
    starts = set()
    for epoch in range(20):
        for name in data.batch(data.epoch(epoch), range(20)).names:
            corpus_name, rest = name.split("/")
            clip, cut = rest.rstrip("]").split("[")
            start, stop = map(int, cut.split(":"))
            corpus = data.corpora[corpus_name == "two"]
            frames = int(corpus.clips["frames"][list(corpus.names).index(clip)])
            assert 0 <= start < stop <= frames and stop - start == min(16, frames)
            starts.add(start)
    assert len(starts) > 10


def test_windows_are_mirrored_with_their_probability_and_labels_stay(data):
    mirrored = 0
    for number in range(10):
        epoch = data.epoch(number)
        batch = data.batch(epoch, range(20))
        mirrored += int(epoch.mirrored[:20].sum())
        for n, name in enumerate(batch.names):
            corpus_name, clip, start, stop = re.fullmatch(r"(.*)/(.*)\[(\d+):(\d+)\]", name).groups()
            corpus = data.corpora[corpus_name == "two"]
            clip = list(corpus.names).index(clip)
            window = corpus.positions(clip)[int(start) : int(stop)]
            shown = mirror(window, mirror_order(corpus.layout)) if epoch.mirrored[n] else window
            assert np.array_equal(batch.motions.positions[n, : len(window), : corpus.layout.joints], shown)
            assert data.emotions[batch.emotion[n]] == corpus.clip(clip).emotion
    assert 70 <= mirrored <= 130  # 200 windows


@pytest.mark.parametrize("name", known_layouts())
def test_mirroring_twice_changes_nothing_and_once_exchanges_left_and_right(name, motion):
    layout = read_layout(name)
    order, positions = mirror_order(layout), motion(layout, 5)
    once = mirror(positions, order)
    assert np.array_equal(mirror(once, order), positions)
    left, right = layout.landmarks["left_wrist"], layout.landmarks["right_wrist"]
    assert np.array_equal(once[:, left], positions[:, right] * [-1, 1, 1])


@pytest.mark.parametrize("mirror_probability", [0.0, 0.5, 1.0])
def test_inputs_are_normalised_by_what_training_shows_of_their_layout(data, mirror_probability):
    encoder = CtrGcnSettings((8,), (4,)).build(data.layouts)
    data.mirror_probability = mirror_probability
    set_input_statistics(encoder, data)
    corpus, shown = data.corpora[1], []
    for clip in data.splits[1].train:
        plain = corpus.positions(clip)
        mirrored = mirror(plain, mirror_order(corpus.layout))
        shown += [mirrored, mirrored] if mirror_probability == 1 else [plain, mirrored] if mirror_probability else [plain, plain]
    centred = np.concatenate([track - track[:, [corpus.layout.landmarks["pelvis"]]] for track in shown]).astype(np.float64)  # (T, V, 3)
    assert np.allclose(encoder.input_mean_1[:3], centred.mean(0).T, atol=1e-5)
    assert np.allclose(encoder.input_std_1[:3], np.maximum(centred.std(0).T, 0.01), atol=1e-5)


def test_corpora_that_do_not_go_together_are_refused(two_corpora, make_corpus):
    one, two = two_corpora
    with pytest.raises(UserError, match=r"'one' and 'two' differ in frames_per_second \(30.0, 25.0\)"):
        check_alike([one, replace(two, frames_per_second=25.0)])
    with pytest.raises(UserError, match="'one' and 'two' differ in canonical"):
        check_alike([one, replace(two, canonical={"heading": "recorded"})])
    other_layout = replace(one.layout, parts=("head", *one.layout.parts[1:]))
    with pytest.raises(UserError, match="'one' and 'third' differ in their layout 'kinect_v2_25'; prepare one of them again"):
        check_alike([one, two, replace(one, name="third", layout=other_layout)])


def test_actors_can_be_left_out_instead_of_random_clips(two_corpora):
    corpus = two_corpora[0]
    split = SplitSettings(kind="leave-actors-out", folds=4).of(corpus)
    sides = [{corpus.clip(clip).actor for clip in side} for side in (split.train, split.held_out)]
    assert not sides[0] & sides[1]
    assert SplitSettings().of(open_corpus(corpus.folder)).held_out == SplitSettings().of(corpus).held_out
    assert json.loads(json.dumps(split.split_hash)) == split.split_hash
