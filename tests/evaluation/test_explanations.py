"""Explanations are held against the movement beside what they have to beat, and all figures follow from predictions.jsonl."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from emotion_llm.evaluation.evaluate import EvaluateSettings
from emotion_llm.evaluation.explanations import (
    REGIONS,
    Explained,
    cited_regions,
    explanation_metrics,
    label_templates,
    places_to_explain,
    region_tokens,
)
from emotion_llm.evaluation.metrics import metrics_from_predictions
from emotion_llm.evaluation.uncertainty import Bootstrap
from emotion_llm.grounding.claims import PARTS
from emotion_llm.grounding.grammar import read_claims
from emotion_llm.inference.exporting import ExportSettings, export
from emotion_llm.inference.trained_model import load
from emotion_llm.inference.trained_run import find_run
from emotion_llm.motion.layout import read_layout
from emotion_llm.runtime.errors import UserError
from launch.evaluate import evaluate

SLOW, FAST = {"throughout": {"speed_mean": 10.0}}, {"throughout": {"speed_mean": 90.0}}


@pytest.fixture(scope="module")
def evaluated(description_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    return evaluate(EvaluateSettings(run=description_run, explanations=3, candidates=2, output=folder)), folder / "predictions.jsonl"


def test_figures_about_explanations_follow_from_the_predictions_file_alone(evaluated):
    result, path = evaluated
    for name, values in metrics_from_predictions(path).items():
        assert values["description"] == result["corpora"][name]["description"]
        assert {"greedy", "verified", "other_motion", "label_template", "narrator"} == values["description"]["methods"].keys()


def test_every_explained_clip_has_its_claims_with_their_verdicts(evaluated):
    _, path = evaluated
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    explained = [record for record in records if record["explained"]]
    assert len(explained) == 6
    for record in explained:
        assert record["explanation"] == record["explained"]["texts"]["verified"]
        template = record["claims_of"]["label_template"]
        assert len(template) <= 2
        assert {claim["verdict"] for claim in template} <= {"supported", "contradicted", "indeterminate", "uncheckable"}
        assert not any(claim["verdict"] == "contradicted" for claim in record["claims"])
        assert record["predicted"] in record["explained"]["texts"]["label_template"]
        assert record["explained"]["without_region"].keys() == {"nothing", *REGIONS}


@pytest.mark.parametrize("most", range(1, 12))
def test_explained_clips_are_spread_over_all_and_described_ones_come_first(most):
    texts = {clip: ("Fear.",) if clip % 2 else () for clip in range(100, 110)}
    corpus = SimpleNamespace(clip=lambda clip: SimpleNamespace(texts=texts[clip]))
    chosen = places_to_explain(corpus, list(texts), most)
    assert len(chosen) == len(set(chosen)) == min(most, 10) and chosen == sorted(chosen)
    assert sum(place % 2 for place in chosen) == min(most, 5)
    described = [place for place in chosen if place % 2]
    gaps = np.diff([*described, described[0] + 10])  # in a circle: none is left out for long
    assert gaps.max() - gaps.min() <= 2


def test_a_run_on_words_is_trained_and_evaluated_like_any_other_but_predicts_nothing(small_world, tmp_path):
    run = tmp_path / "words"
    small_world.train(run, "description", movement="words", max_steps=2, evaluate_every=2)
    result = evaluate(EvaluateSettings(run=run, explanations=1, candidates=1))
    for values in result["corpora"].values():
        assert {"greedy", "other_motion", "narrator"} < values["description"]["methods"].keys()
    records = [json.loads(line) for line in (run / "evaluation" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert any(record["probabilities"] != record["baselines"]["text_prior"]["probabilities"] for record in records), "it reads the words"
    assert all(record["probabilities"] == record["baselines"]["llm"]["probabilities"] for record in records), (
        "the encoder reads the movement"
    )
    for refused in (lambda: load(run), lambda: export(find_run(run), ExportSettings(tmp_path / "exported"))):
        with pytest.raises(UserError, match=r"words: this run reads measured qualities in words in place of skeleton tokens, a baseline"):
            refused()


def test_a_labels_template_tells_what_its_training_clips_have_in_common(monkeypatch):
    """Of two emotions, one is fast; a quality that few clips have is not told."""
    clips = ["joy"] * 3 + ["anger"] * 3
    speeds = [90, 80, 10, 20, 10, 30]
    stands = [{"throughout": {"speed_mean": speed, "head_pitch_mean": 52.0} | ({"cadence": 99.0} if index == 0 else {})}
              for index, speed in enumerate(speeds)]  # fmt: skip
    corpus = SimpleNamespace(emotions=("joy", "anger"), clip=lambda index: SimpleNamespace(emotion=clips[index]))
    encoded = SimpleNamespace(corpus=corpus, split=SimpleNamespace(train=range(6)))
    monkeypatch.setattr("emotion_llm.evaluation.explanations.standing", lambda measured, norms: stands[measured])
    templates = label_templates(encoded, range(6), None)
    assert templates["joy"] == "The movement reads as joy: the body is fast and the head is bowed."
    assert templates["anger"].startswith("The movement reads as anger: the body is slow")
    assert [claim.quality for claim in read_claims(templates["joy"]).claims] == ["speed", "head pitch"]


def explained(text: str, standing: dict, **regions: float) -> Explained:
    return Explained({"greedy": text}, standing, [], False, {"nothing": 0.9} | dict.fromkeys(REGIONS, 0.9) | regions)


def metrics(records: list[Explained]) -> dict:
    bootstrap = Bootstrap(np.arange(len(records)), "clip", weights=2 * np.eye(len(records)))
    return explanation_metrics(records, ["joy"] * len(records), ["joy", "anger"], bootstrap)


def test_intervals_come_from_whole_clusters():
    found = metrics([explained("Joy: the movement is fast.", SLOW), explained("Joy: the movement is slow.", SLOW)])["methods"]["greedy"]
    assert found["supported"] == 0.5
    assert found["intervals"]["supported"] == pytest.approx([0.025, 0.975])


def test_a_cited_region_that_matters_more_is_found():
    found = metrics([explained("The head is bowed.", FAST, head=0.5), explained("The knees are bent.", FAST, legs=0.7)])["counterfactual"]
    assert found["clips"] == 2
    assert found["loss_without_cited"] == pytest.approx(0.3)
    assert found["difference"] > 0
    assert found["loss_without_uncited"] == pytest.approx(0)
    assert found["share_cited_matters_more"] == 1


def test_a_region_that_matters_for_every_clip_alike_makes_no_difference():
    found = metrics([explained("The head is bowed.", FAST, head=0.5), explained("The knees are bent.", FAST, head=0.5)])["counterfactual"]
    assert found["difference"] == pytest.approx(0)


def test_a_text_that_cites_no_region_says_nothing_about_tokens():
    assert metrics([explained("The movement is fast.", FAST)])["counterfactual"] == {"clips": 0}


def test_a_share_of_nothing_is_null():
    assert metrics([explained("Joy.", FAST)])["methods"]["greedy"]["supported"] is None


def test_regions_hold_known_parts_and_disjoint_tokens():
    assert set().union(*REGIONS.values()) <= PARTS.keys()
    tokens = region_tokens(read_layout("kinect_v2_25"))
    assert all(tokens.values())
    assert len({token for group in tokens.values() for token in group}) == sum(map(len, tokens.values()))
    assert cited_regions("The left elbow is bent and the head is bowed.", FAST) == {"arms", "head"}
