"""Properties of splits and windows: nothing of a held-out clip, movement or actor is ever trained on."""

import numpy as np
import pytest

from emotion_llm.corpus.splits import SplitSettings, leave_out, random_split
from emotion_llm.corpus.windows import random_window, windows
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import options_of_the_command_line


@pytest.fixture
def corpus(make_corpus):
    return make_corpus([(f"clip{index:02}", "anger" if index % 2 else "joy", f"Actor{index % 7}", None) for index in range(50)])


@pytest.mark.parametrize("seed", range(5))
def test_a_random_split_holds_out_the_asked_share_and_puts_every_clip_on_one_side(corpus, seed):
    split = random_split(corpus, seed)
    assert len(split.held_out) == 10
    assert sorted(split.train + split.held_out) == list(range(50))


def test_a_split_depends_on_its_seed_alone(corpus):
    assert random_split(corpus, 3) == random_split(corpus, 3)
    assert random_split(corpus, 3).split_hash != random_split(corpus, 4).split_hash
    assert len({random_split(corpus, seed).held_out for seed in range(5)}) == 5
    assert len({leave_out(corpus, "actor", 0, 3, seed).held_out for seed in range(5)}) > 1


def test_the_split_hash_covers_names_kind_seed_and_fold(corpus, make_corpus):
    renamed = make_corpus([(f"other{index:02}", "anger", f"Actor{index % 7}", None) for index in range(50)], name="renamed")
    hashes = {
        random_split(corpus, 0).split_hash, random_split(renamed, 0).split_hash, random_split(corpus, 1).split_hash,
        random_split(corpus, 0, 0.5).split_hash, leave_out(corpus, "actor", 0, 3, 0).split_hash, leave_out(corpus, "actor", 1, 3, 0).split_hash,
    }  # fmt: skip
    assert len(hashes) == 6


def test_copies_of_a_movement_never_straddle_a_split(make_corpus):
    tracks = np.random.default_rng(1).normal(size=(10, 4, 25, 3))
    corpus = make_corpus([(f"clip{index:02}", "anger", None, tracks[index % 10]) for index in range(40)])
    for seed in range(10):
        split = random_split(corpus, seed)
        assert not {index % 10 for index in split.train} & {index % 10 for index in split.held_out}
        assert len(split.held_out) == 8


def test_every_actor_is_held_out_in_exactly_one_fold_and_never_trained_on_in_it(corpus):
    seen = []
    for fold in range(3):
        split = leave_out(corpus, "actor", fold, 3, seed=0)
        train, held_out = ({corpus.clip(index).actor for index in side} for side in (split.train, split.held_out))
        assert not train & held_out
        assert train | held_out == set(corpus.actors)
        seen += sorted(held_out)
    assert sorted(seen) == sorted(corpus.actors)


@pytest.mark.parametrize("seed", range(10))
def test_folds_are_balanced_in_clips_even_where_some_actors_have_many_more_than_others(make_corpus, seed):
    clips_of_actor = [30, 1, 1] * 4
    corpus = make_corpus([(f"{a}/{n}", "joy", f"Actor{a:02}", None) for a, clips in enumerate(clips_of_actor) for n in range(clips)])
    sizes = [len(leave_out(corpus, "actor", fold, 3, seed).held_out) for fold in range(3)]
    assert sum(sizes) == len(corpus)
    assert max(sizes) - min(sizes) <= 30  # the clips of one actor; actors dealt out in turn differ by 116


def test_actions_are_left_out_like_actors(make_corpus):
    corpus = make_corpus([(f"{n}", "joy", "Ann", None, f"action{n % 4}") for n in range(20)])
    seen = []
    for fold in range(2):
        split = SplitSettings("leave-actions-out", fold=fold, folds=2).of(corpus)
        train, held_out = ({corpus.clip(index).action for index in side} for side in (split.train, split.held_out))
        assert not train & held_out and train | held_out == set(corpus.actions)
        seen += sorted(held_out)
    assert sorted(seen) == sorted(corpus.actions)
    with pytest.raises(UserError, match="1 of 1 clips have no action"):
        leave_out(make_corpus([("a", "joy", "Ann", None)], name="without"), "action", 0, 2, 0)


def test_the_settings_choose_the_split(corpus):
    assert SplitSettings().of(corpus) == random_split(corpus, 0)
    assert SplitSettings("leave-actors-out", seed=3, fold=1, folds=3).of(corpus) == leave_out(corpus, "actor", 1, 3, 3)


def test_leaving_actors_out_is_refused_where_nobody_says_who_acts(make_corpus):
    corpus = make_corpus([("a", "joy", "Ann", None), ("b", "joy", None, None), ("c", "joy", "Bob", None)])
    with pytest.raises(UserError, match=r"corpus 'toy': 1 of 3 clips have no actor \(for example b\).*use a random split"):
        leave_out(corpus, "actor", 0, 2, 0)


def test_impossible_splits_are_refused_in_words(corpus, make_corpus):
    with pytest.raises(UserError, match="8 folds over 7 actors; choose from 2 to 7"):
        leave_out(corpus, "actor", 0, 8, 0)
    with pytest.raises(UserError, match="fold 3: there are folds 0 to 2"):
        leave_out(corpus, "actor", 3, 3, 0)
    with pytest.raises(UserError, match=r"--held-out-fraction 1.5: must be below 1"), options_of_the_command_line():
        SplitSettings(held_out_fraction=1.5)
    with pytest.raises(UserError, match="a random split of 1 clips leaves one side empty"):
        random_split(make_corpus([("a", "joy", None, None)], name="one"), 0)


@pytest.mark.parametrize("frames", [1, 2, 63, 64, 65, 127, 128, 129, 1000])
def test_windows_cover_a_clip_from_first_to_last_frame_and_stay_inside(frames):
    cut = windows(frames, 64)
    covered = {frame for start, length in cut for frame in range(start, start + length)}
    assert covered == set(range(frames))
    assert all(length == min(frames, 64) for _, length in cut)
    assert len(cut) == -(-frames // 64)


def test_windows_are_evenly_spaced():
    starts = np.diff([start for start, _ in windows(1000, 64)])
    assert starts.max() - starts.min() <= 1


def test_a_window_without_frames_is_a_defect():
    with pytest.raises(ValueError, match="both are at least 1"):
        windows(10, 0)


def test_every_window_of_a_clip_can_be_drawn_the_last_one_too():
    drawn = {random_window(70, 64, chance) for chance in np.linspace(0, np.nextafter(1, 0), 50)}
    assert drawn == {(start, 64) for start in range(7)}
    assert random_window(70, 64, np.nextafter(1, 0)) == (6, 64)
    assert random_window(64, 64, 0.999) == (0, 64)
    assert random_window(10, 64, 0.999) == (0, 10)
