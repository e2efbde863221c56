"""The refinement stage learns from what the model itself says, where it is true."""

import json

import numpy as np
import pytest

from emotion_llm.grounding.narrator import narrate
from emotion_llm.grounding.norms import make_norms, measure_corpus
from emotion_llm.inference.trained_model import load
from emotion_llm.runtime.errors import UserError
from emotion_llm.training import refinement
from emotion_llm.training.batches import TrainingData

FALSE = "Joy: the movement is not slow and not fast and not average."


@pytest.fixture
def speaks_true_of(monkeypatch, parts):
    """speaks_true_of(clips) -> what the model is made to say: the narrator's text of these clips, and a false one of all."""

    def make(clips: int) -> dict[str, dict[str, str]]:
        told: dict[str, dict[str, str]] = {}
        by_features = {}
        for encoded in parts().corpora:
            measured = measure_corpus(encoded.corpus)
            norms = make_norms(encoded.corpus, encoded.split, measured)
            told[encoded.corpus.name] = of_corpus = {}
            for clip in encoded.split.train:
                about = encoded.corpus.clip(clip)
                text, claims = narrate(measured[clip], norms, about.emotion, np.random.default_rng(7))
                if claims and len(of_corpus) < clips:
                    by_features[encoded.clip_motion(clip).rows.sum().item()] = text
                    of_corpus[about.name] = text
        monkeypatch.setattr(
            refinement, "sample_explanations", lambda model, prompts, motion, *_: [FALSE, by_features.get(motion.rows.sum().item(), FALSE)]
        )
        return told

    return make


def test_texts_that_are_kept_take_the_place_of_the_corpora_s_and_no_other_clip_is_described(parts, speaks_true_of):
    told = speaks_true_of(5)
    made = parts(stage="refinement")
    texts = refinement.own_texts(made.engine.model, made.data.prompts, made.corpora, made.settings, resumed=False)
    assert texts == {name: {clip: [text] for clip, text in of_corpus.items()} for name, of_corpus in told.items()}
    assert refinement.own_texts(made.engine.model, made.data.prompts, made.corpora, made.settings, resumed=True) == texts
    data = TrainingData(made.corpora, made.data.prompts, made.settings, texts)
    learnt = {item.text for step in range(40) for item in data.draw(step)} - {None}
    assert learnt == {text for of_corpus in told.values() for text in of_corpus.values()}


def test_a_model_that_says_nothing_true_is_refused(parts, speaks_true_of):
    speaks_true_of(0)
    made = parts(stage="refinement")
    with pytest.raises(UserError, match=r"says nothing plainly true of any training clip; --start-from a run of --stage description"):
        refinement.own_texts(made.engine.model, made.data.prompts, made.corpora, made.settings, resumed=False)


def test_a_resumed_run_without_its_texts_is_refused(parts):
    made = parts(stage="refinement")
    with pytest.raises(UserError, match=r"own_texts.json: cannot be read .* start a new run with another --run folder"):
        refinement.own_texts(made.engine.model, made.data.prompts, made.corpora, made.settings, resumed=True)


def test_refinement_is_a_stage_that_resumes_and_explains(small_world, description_run, speaks_true_of, tmp_path):
    speaks_true_of(3)
    run = tmp_path / "refinement"
    small_world.train(run, "refinement", start_from=description_run, max_steps=1, warmup_steps=0, checkpoint_every=1)
    texts = json.loads((run / "own_texts.json").read_text(encoding="utf-8"))
    assert {len(of_corpus) for of_corpus in texts.values()} == {3}
    with pytest.raises(UserError, match=r"the run was started with max_steps = 1, now it is 2"):
        small_world.train(run, "refinement", start_from=description_run, max_steps=2, warmup_steps=0, checkpoint_every=1)
    assert load(run).explains
