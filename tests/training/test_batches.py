"""Which motions a step learns from, and how they are divided."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from emotion_llm.grounding.claims import QUALITIES
from emotion_llm.kinematics.descriptors import DESCRIPTORS
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_tokens.unified import SEMANTIC
from emotion_llm.training.batches import Prefetch, TrainingData, micro_batches, prepare_step
from emotion_llm.training.efficiency import FlopCount
from emotion_llm.training.engine import ProcessShare, divide_batch


@pytest.mark.parametrize(
    ("processes", "largest", "expected"), [(1, 16, (16, 4)), (4, 16, (16, 1)), (8, 16, (8, 1)), (2, 5, (4, 8)), (64, 9, (1, 1))]
)
def test_accumulation_follows_from_the_number_of_processes(processes, largest, expected):
    share = divide_batch(64, processes, largest)
    assert (share.micro_batch, share.accumulation) == expected
    assert share.processes * share.micro_batch * share.accumulation == 64


def test_a_batch_that_does_not_divide_is_refused_with_the_remedy():
    remedy = r"start as many as divide it \(1, 2, 4, 8, 16\), or change --global-batch"
    with pytest.raises(UserError, match=r"the global batch of 16 motions cannot be divided among 3 processes; " + remedy):
        divide_batch(16, 3, 4)


@pytest.mark.parametrize("share", [ProcessShare(1, 8, 2), ProcessShare(2, 4, 2), ProcessShare(4, 4, 1), ProcessShare(16, 1, 1)])
def test_the_processes_together_compute_every_motion_of_a_step_once(share):
    items = list("abcdefghijklmnop")
    lengths = [7, 3, 9, 3, 1, 4, 4, 8, 2, 6, 5, 5, 9, 1, 2, 7]
    parts = [micro_batches(items, lengths, share, rank) for rank in range(share.processes)]
    assert sorted(item for part in parts for micro_batch in part for item in micro_batch) == items
    assert all(len(part) == share.accumulation and all(len(one) == share.micro_batch for one in part) for part in parts)
    of_item = dict(zip(items, lengths, strict=True))
    for micro_step in range(share.accumulation - 1):  # neighbours in length go together
        assert max(of_item[i] for part in parts for i in part[micro_step]) <= min(
            of_item[i] for part in parts for i in part[micro_step + 1]
        )


def test_the_motions_of_a_step_follow_from_the_seed_and_the_step_alone(parts):
    one, other = parts(), parts(micro_batch=2)
    assert [one.data.draw(step) for step in (1, 7, 800_000)] == [other.data.draw(step) for step in (1, 7, 800_000)]
    assert one.data.draw(7) == one.data.draw(7) != one.data.draw(8)
    reseeded = TrainingData(one.corpora, one.data.prompts, replace(one.settings, seed=1))
    assert reseeded.draw(7) != one.data.draw(7)


@pytest.mark.parametrize("stage", ["recognition", "description"])
def test_no_held_out_motion_is_ever_drawn(parts, stage):
    made = parts(stage=stage)
    held_out = {(index, clip) for index, encoded in enumerate(made.corpora) for clip in encoded.split.held_out}
    drawn = {
        (item.corpus, int(made.corpora[item.corpus].windows["clip"][item.window])) for step in range(50) for item in made.data.draw(step)
    }
    assert len(drawn) > 15
    assert not drawn & held_out


def test_views_and_dropped_tokens_follow_from_seed_and_step_and_texts_keep_their_own_view(parts):
    made = parts(stage="description", views=4, token_dropout=0.3)
    items = [item for step in range(30) for item in made.data.draw(step)]
    assert {item.view for item in items if item.text is None} == {0, 1, 2, 3}
    assert {item.view for item in items if item.text is not None} == {0}
    kept = sum(len(item.kept) for item in items) / sum(made.corpora[item.corpus].skeleton_tokens(item.window) for item in items)
    assert kept == pytest.approx(0.7, abs=0.03)
    assert made.data.draw(7) == made.data.draw(7) != made.data.draw(8)
    item = next(item for item in items if item.view == 0)
    assert len(made.data.example(item).motion.rows) == len(item.kept)
    plain = parts()
    assert all(item.view == 0 and item.kept is None for item in plain.data.draw(7))


def test_description_goes_on_naming_emotions_in_its_share_of_every_step(parts):
    made = parts(stage="description", rehearsal=0.25)
    for step in range(5):
        items = made.data.draw(step)
        assert len(items) == made.settings.global_batch == 8
        assert sum(item.text is None for item in items) == 2
        assert all(
            item.text in made.corpora[item.corpus].corpus.narrated_texts[_clip(made, item)] for item in items if item.text is not None
        )


def test_fewer_described_motions_are_some_of_the_more(parts):
    clips = []
    for count in (3, 8, None):
        made = parts(stage="description", described_motions=count)
        clips.append({_clip(made, item) for step in range(60) for item in made.data.draw(step) if item.text is not None})
    assert len(clips[0]) == 3 and len(clips[1]) == 8
    assert clips[0] < clips[1] < clips[2]


@pytest.mark.parametrize("stage", ["recognition", "description"])
def test_a_run_on_words_reads_its_clips_measured_qualities_and_no_skeleton_token(parts, stage):
    made, tokens = parts(stage=stage, movement="words", token_dropout=0.1), parts(stage=stage, token_dropout=0.1)
    for item, other in zip(made.data.draw(3), tokens.data.draw(3), strict=True):
        assert item == other, "only the prompt differs"
        example, usual = made.data.example(item), tokens.data.example(other)
        encoded = made.corpora[item.corpus]
        words = encoded.words[encoded.windows["clip"][item.window]]
        assert ": the " in words
        assert words in made.data.prompts.text_tokenizer.decode(example.prompt.after)
        assert len(example.motion.rows) == 0
        assert (example.prompt.before, example.answers) == (usual.prompt.before, usual.answers)


def test_description_without_any_description_is_refused(parts):
    made = parts()
    for encoded in made.corpora:
        encoded.corpus.__dict__.update(texts={}, narrated_texts={})
    with pytest.raises(UserError, match=r"none of the corpora egbm, emilya has descriptions to learn from; name a descriptions table"):
        TrainingData(made.corpora, made.data.prompts, replace(made.settings, stage="description"))


def test_prefetched_steps_are_those_that_would_be_prepared_at_their_time(parts):
    made = parts()
    prepare = partial(prepare_step, made.data, made.engine.share, 0, FlopCount(made.engine.model))
    with Prefetch(prepare, last_step=3) as prefetch:
        for step in (1, 2, 3):
            taken, expected = prefetch.take(step), prepare(step)
            assert taken.answer_tokens == expected.answer_tokens
            for one, other in zip(taken.micro_batches, expected.micro_batches, strict=True):
                assert one.items == other.items and torch.equal(one.row.token_ids, other.row.token_ids)


def test_a_text_is_learnt_from_the_whole_clip_and_an_emotion_from_one_window(parts):
    made = parts(stage="description")
    items = [item for step in range(20) for item in made.data.draw(step)]
    for item in items:
        encoded, rows = made.corpora[item.corpus], made.data.example(item).motion.rows
        whole = encoded.clip_motion(int(encoded.windows["clip"][item.window])).rows
        assert torch.equal(rows, whole if item.text is not None else encoded.motion(item.window).rows)
    assert any(len(_windows(made, item)) > 1 for item in items if item.text is not None)


def test_semantic_tokens_start_near_the_words_for_what_the_descriptors_measure(parts):
    """A larger descriptor moves the token from the word of the low pole towards that of the high one."""
    made, plain = parts(), parts(semantic_start=False)
    model, width = made.engine.model, made.encoder.encoder.width
    added = (
        model.skeleton_tokenizer.projections[SEMANTIC].weight - plain.engine.model.skeleton_tokenizer.projections[SEMANTIC].weight
    ).detach()
    embedding = model.base_llm.get_input_embeddings()
    for quality in ("speed", "head pitch", "elbow bend"):
        high, low = (
            embedding(torch.tensor(made.data.prompts.answer(pole.adjectives[0])[:-1])).mean(0).detach()
            for pole in (QUALITIES[quality].high, QUALITIES[quality].low)
        )
        column = added[:, width + list(DESCRIPTORS).index(QUALITIES[quality].descriptor)]
        assert torch.cosine_similarity(column, high - low, dim=0) > 0.99, quality


def test_an_error_while_prefetching_is_raised_by_the_training_loop():
    def fail(step):
        raise UserError("a motion cannot be read")

    with Prefetch(fail, last_step=3) as prefetch, pytest.raises(UserError, match="a motion cannot be read"):
        prefetch.take(1)


def _windows(made, item):
    encoded = made.corpora[item.corpus]
    return encoded.windows_of_clips([int(encoded.windows["clip"][item.window])])


def _clip(made, item) -> str:
    encoded = made.corpora[item.corpus]
    return str(encoded.corpus.names[encoded.windows["clip"][item.window]])
