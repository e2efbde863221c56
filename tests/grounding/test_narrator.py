"""Generated explanations: true by the norms, varied, without repetition, and marked as generated."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from emotion_llm.corpus.provenance import DATA_AND_SPLIT, DESCRIPTIONS, corpus_record, data_differences
from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.corpus.store import check_content, open_corpus
from emotion_llm.grounding.claims import QUALITIES, Claim
from emotion_llm.grounding.grammar import read_claims
from emotion_llm.grounding.narration import narrate_corpus, norms_for_run
from emotion_llm.grounding.narrator import ALIKE, MOST_CLAIMS, SUBJECTS, TOLD_FROM, in_words, narrate, tell
from emotion_llm.grounding.norms import MOMENT_NAMES, NAMES, Measured, load_norms, make_norms, measure_corpus
from emotion_llm.motion.layout import read_layout
from emotion_llm.runtime.errors import UserError
from emotion_llm.synthetic.emotions import imagined_movement
from tests.helpers.corpora import write_clips
from tests.helpers.motion_examples import moving_body

LAYOUT = read_layout("kinect_v2_25")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def movements():
    generator = rng(3)
    return [imagined_movement(generator) for _ in range(300)]


@pytest.fixture
def corpus(tmp_path):
    clips = [
        (f"clip{n:02d}", "neutral" if n % 3 else "anger", None, None, moving_body(LAYOUT, turning=0.1 * n, hertz=0.4 + 0.1 * n).positions)
        for n in range(24)
    ]
    return write_clips(tmp_path / "toy", LAYOUT, clips, ("anger", "neutral"))


SPLIT = SplitSettings()


def test_only_what_lies_clearly_outside_the_middle_is_told(movements):
    for one in movements:
        for claim in tell(one.where, {}, one.emotion, rng())[1]:
            percentile = one.where[claim.quality, claim.moment]
            assert percentile >= TOLD_FROM if claim.direction > 0 else percentile <= 100 - TOLD_FROM


def test_the_most_notable_qualities_are_told_and_of_those_alike_only_one():
    where = {(quality, "throughout"): 50.0 for quality in SUBJECTS} | {
        ("speed", "throughout"): 99.0, ("force", "throughout"): 98.0, ("head pitch", "throughout"): 0.5, ("knee bend", "throughout"): 85.0
    }  # fmt: skip
    claims = tell(where, {}, "anger", rng())[1]
    assert [(claim.quality, claim.direction) for claim in claims] == [("head pitch", -1), ("speed", 1), ("knee bend", 1)]


def test_how_far_a_quality_stands_out_is_told_in_three_words():
    for percentile, posture, movement in ((81.0, "rather ", "rather "), (86.0, "", ""), (96.0, "clearly ", "very ")):
        where = {("arm opening", "throughout"): percentile, ("speed", "throughout"): 100 - percentile}
        text, _ = tell(where, {}, "anger", rng())
        assert re.search(rf"arms are {posture}(open|spread wide)", text) and re.search(rf"movement is {movement}(slow|unhurried)", text), (
            text
        )


def test_the_line_of_measured_qualities_tells_each_that_is_not_in_the_middle_its_direction_extent_and_moment():
    where = {
        ("speed", "throughout"): 97.0,
        ("force", "throughout"): 55.0,
        ("head pitch", "throughout"): 39.0,
        ("speed", "second half"): 18.0,
    }
    assert in_words(where) == "throughout: the movement very fast, the head slightly raised; second half: the movement rather slow"
    assert in_words({("speed", "throughout"): 50.0}) == "nothing stands out, the pace and the posture are average"


def test_the_line_holds_all_that_is_told_in_the_narrators_own_words(movements):
    for one in movements:
        line = in_words(one.where)
        for claim in tell(one.where, {}, one.emotion, rng())[1]:
            word = QUALITIES[claim.quality].pole(claim.direction).adjectives[0]
            assert re.search(rf"{SUBJECTS[claim.quality]} (very |rather )?{word}", line.split(f"{claim.moment}: ")[1].split(";")[0])


def test_smoothness_is_not_told_and_leaves_its_place_to_the_next():
    for percentile in (1.0, 99.0):
        where = {("jerkiness", "throughout"): percentile, ("head pitch", "throughout"): 85.0}
        assert [claim.quality for claim in tell(where, {}, "anger", rng())[1]] == ["head pitch"]


def test_what_neutral_clips_do_as_well_is_not_told():
    where = {("speed", "throughout"): 90.0, ("head pitch", "throughout"): 85.0}
    assert [claim.quality for claim in tell(where, {"speed": 80.0, "head pitch": 40.0}, "anger", rng())[1]] == ["head pitch"]


def test_a_half_is_told_where_it_differs_from_the_other():
    where = {("head pitch", "throughout"): 60.0, ("head pitch", "first half"): 30.0, ("head pitch", "second half"): 90.0}
    text, claims = tell(where, {}, "sadness", rng())
    assert claims == [Claim("head pitch", 1, moment="second half")]
    assert re.search(r"In the second half the head is (clearly )?(bowed|lowered)\.$", text)


def test_halves_of_a_long_clip_are_not_told(corpus):
    measured = measure_corpus(corpus)
    norms = make_norms(corpus, SPLIT.of(corpus), measured)
    texts = [narrate(replace(one, seconds=60.0), norms, "anger", rng())[0] for one in measured]
    assert not any("half" in text for text in texts)


@pytest.mark.parametrize(
    ("degrees", "percentile", "told"),
    [(-9.0, 4, "leaning back"), (-1.0, 4, "upright"), (6.0, 4, None), (9.0, 96, "leaning forward"), (1.0, 96, None)],
)
def test_a_trunk_is_told_to_lean_only_where_it_does(corpus, degrees, percentile, told):
    """A percentile alone does not say which side of the vertical the trunk is on."""
    norms = make_norms(corpus, SPLIT.of(corpus), measure_corpus(corpus))
    values = np.full((len(MOMENT_NAMES), len(NAMES)), np.nan)
    values[0, NAMES.index("trunk_lean_mean")] = degrees
    there = norms.percentiles["throughout"] | {
        "trunk_lean_mean": np.linspace(degrees - percentile, degrees + 100 - percentile, 41).tolist()
    }
    norms = replace(norms, percentiles={"throughout": there})
    text, claims = narrate(Measured(values, 2.0), norms, "anger", rng())
    assert (f"upper body is clearly {told}" in text) if told else (claims == [] and "upper body" not in text), text


def test_the_grammar_reads_every_text_back_into_its_claims(movements):
    for one in movements:
        text, claims = tell(one.where, {"speed": 50.0}, one.emotion, rng())
        read = [replace(claim, span=None) for claim in read_claims(text).claims]
        assert sorted(map(str, read)) == sorted(map(str, claims)), text


def test_an_average_movement_is_called_average():
    text, claims = tell({("speed", "throughout"): 55.0}, {}, "neutral", rng())
    assert "nothing stands out" in text and claims == []


def test_texts_name_the_emotion_repeat_no_clause_and_vary(movements):
    texts = [one.text for one in movements]
    for one in movements:
        clauses = re.split(r", | and |: ", one.text.lower().rstrip("."))
        assert one.emotion in one.text and len(clauses) == len(set(clauses))
    assert len(set(texts)) > 0.95 * len(texts)


def test_a_text_makes_few_claims(movements):
    counts = [len(tell(one.where, {}, one.emotion, rng())[1]) for one in movements]
    assert max(counts) <= MOST_CLAIMS + 1 and np.mean(counts) > 2


def test_the_same_chance_gives_the_same_text(corpus):
    measured = measure_corpus(corpus)
    norms = make_norms(corpus, SPLIT.of(corpus), measured)
    assert narrate(measured[0], norms, "anger", rng(5)) == narrate(measured[0], norms, "anger", rng(5))


def test_every_word_comes_from_the_table_of_qualities():
    assert SUBJECTS.keys() <= QUALITIES.keys() and set().union(*ALIKE) <= SUBJECTS.keys()
    assert all(QUALITIES[quality].pole(direction).adjectives for quality in SUBJECTS for direction in (-1, 1))


def test_a_corpus_gets_generated_texts_that_say_so(corpus):
    assert narrate_corpus(corpus, SPLIT.of(corpus), seed=0) == len(corpus)
    narrated = open_corpus(corpus.folder)
    check_content(narrated)
    assert all(narrated.clip(index).texts and narrated.clip(index).generated for index in range(len(corpus)))
    assert narrated.narration["generated"] is True and narrated.narration["clips"] == len(corpus)
    assert corpus_record(narrated, SPLIT.of(narrated))["narration"] == narrated.narration
    lines = [json.loads(line) for line in (corpus.folder / "narration.jsonl").read_text().splitlines()]
    with (corpus.folder / "narration.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["text"]) for row in rows] == [(line["clip"], line["text"]) for line in lines]
    assert all(line["generated"] for line in lines)
    TypeAdapter(list[Claim]).validate_python([claim for line in lines for claim in line["claims"]])


def test_narrating_changes_the_hash_of_the_texts_alone(corpus):
    trained = {"toy": corpus_record(corpus, SPLIT.of(corpus))}
    narrate_corpus(corpus, SPLIT.of(corpus), seed=0)
    first = {"toy": corpus_record(open_corpus(corpus.folder), SPLIT.of(corpus))}
    assert data_differences(trained, first, DATA_AND_SPLIT) == []
    assert len(data_differences(trained, first, DESCRIPTIONS)) == 1
    narrate_corpus(open_corpus(corpus.folder), SPLIT.of(corpus), seed=0)
    assert {"toy": corpus_record(open_corpus(corpus.folder), SPLIT.of(corpus))} == first
    narrate_corpus(open_corpus(corpus.folder), SPLIT.of(corpus), seed=1)
    assert data_differences(first, {"toy": corpus_record(open_corpus(corpus.folder), SPLIT.of(corpus))}, DESCRIPTIONS)


def test_what_people_wrote_takes_precedence(corpus):
    vars(corpus)["texts"] = {"clip03": ["He shakes his fist."]}
    assert narrate_corpus(corpus, SPLIT.of(corpus), seed=0) == len(corpus) - 1
    narrated = open_corpus(corpus.folder)
    assert "clip03" not in narrated.narrated_texts
    vars(narrated)["texts"] = {"clip04": ["She waits."]}
    assert narrated.clip(4).texts == ("She waits.",) and not narrated.clip(4).generated


def test_a_corpus_that_was_narrated_for_another_split_is_refused(corpus, tmp_path):
    narrate_corpus(corpus, SPLIT.of(corpus), seed=0)
    narrated = open_corpus(corpus.folder)
    norms_for_run(tmp_path / "run", narrated, SPLIT.of(corpus))
    assert load_norms(tmp_path / "run")["toy"].split_hash == SPLIT.of(corpus).split_hash
    with pytest.raises(
        UserError, match=r"corpus 'toy': its texts were narrated for another split .* narrate it again with launch/prepare.py"
    ):
        norms_for_run(tmp_path / "run", narrated, SplitSettings(seed=1).of(corpus))


def test_a_neutral_clip_is_not_contrasted_with_neutral_clips(movements):
    neutral = dict.fromkeys(SUBJECTS, 50.0)
    texts = {emotion: [tell(one.where, neutral, emotion, rng(n))[0] for n, one in enumerate(movements)] for emotion in ("anger", "neutral")}
    assert any("neutral clips" in text for text in texts["anger"])
    assert not any("neutral clips" in text for text in texts["neutral"])
