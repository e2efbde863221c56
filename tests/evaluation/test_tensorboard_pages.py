"""What TensorBoard shows of all stages, read back from the event files."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from emotion_llm.corpus.provenance import open_verified
from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.evaluation.evaluate import EvaluateSettings
from emotion_llm.evaluation.tensorboard_pages import final_results, results_table
from emotion_llm.grounding.examples import CHARACTERS, Example, example_figure, examples_table
from emotion_llm.runtime.figures import joined, reliability_figure, removal_figure
from emotion_llm.runtime.tensorboard import Tag
from launch.evaluate import evaluate


def board(folder) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0}).Reload()


def tags(events: EventAccumulator) -> set[str]:
    found = events.Tags()
    return {tag.removesuffix("/text_summary") for kind in ("scalars", "images", "tensors") for tag in found[kind]} - HPARAMS_TAGS


HPARAMS_TAGS = {"_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"}


def hyperparameters(events: EventAccumulator) -> dict:
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


@pytest.fixture(scope="module")
def result(description_run):
    return evaluate(EvaluateSettings(run=description_run, explanations=1, attribution=True, candidates=1, controls=False))


def test_every_stage_writes_tags_of_the_list_only_and_the_list_holds_no_other(small_world, description_run, result):
    written = set().union(*(tags(board(run)) for run in (small_world.encoder, description_run, description_run / "evaluation")))
    of_tag = {
        tag: [name for name in written if name == tag or name.startswith((f"{tag}/", f"{tag}_"))]
        for tag in Tag
        if not tag.startswith("corpus/")
    }
    assert not written - {name for names in of_tag.values() for name in names}
    # All went well; PROJECTOR reads files, not events; what the small LLM writes holds no claims.
    unwritten = {Tag.WARNINGS, Tag.FEATURES, Tag.SUPPORTED, Tag.CONTRADICTED}
    assert {tag for tag, names in of_tag.items() if not names} == unwritten


def test_an_evaluation_is_a_row_of_hparams_with_the_means_over_the_corpora(description_run, result):
    events = board(description_run / "evaluation")
    assert hyperparameters(events)["stage"] == "description" and hyperparameters(events)["corpora"] == "egbm, emilya"
    mean = np.mean([values["accuracy"] for values in result["corpora"].values()])
    assert events.Scalars(Tag.ACCURACY)[0].value == pytest.approx(mean)
    assert not list((description_run / "evaluation/tensorboard").glob("*/"))  # no run of its own


def test_the_encoder_is_a_row_too_and_its_clips_are_points_with_their_labels(small_world):
    assert hyperparameters(board(small_world.encoder)) | {"stage": "encoder", "network": "ctr-gcn"} == hyperparameters(
        board(small_world.encoder)
    )
    folder = next((small_world.encoder / "tensorboard").glob("*/semantic_features"))
    points = np.loadtxt(folder / "tensors.tsv")
    rows = list(csv.DictReader((folder / "metadata.tsv").open(encoding="utf-8"), delimiter="\t"))
    corpora = [open_verified(small_world.data / name) for name in ("egbm", "emilya")]
    assert points.shape == (sum(map(len, corpora)), 16) == (len(rows), 16) and np.ptp(points, axis=0).min() > 0
    known = {(corpus.name, corpus.clip(clip).name, corpus.clip(clip).emotion) for corpus in corpora for clip in range(len(corpus))}
    assert {(row["corpus"], row["clip"], row["emotion"]) for row in rows} == known
    held_out = {(corpus.name, corpus.clip(clip).name) for corpus in corpora for clip in SplitSettings().of(corpus).held_out}
    assert {(row["corpus"], row["clip"]) for row in rows if row["part"] == "held out"} == held_out


def test_claims_of_an_example_carry_the_sign_of_their_verdict():
    about = SimpleNamespace(name="walk|1", emotion="sadness", texts=())
    corpus = SimpleNamespace(name="kdae", clip=lambda clip: about)
    movement = {"throughout": {"head_pitch_mean": 90.0, "trunk_lean_mean": 5.0}}
    text = "The head is bowed and the upper body is leaning forward, which reads as fear."
    example = Example(corpus, 0, "fear", 0.6, text, movement)
    marked = "The head is bowed_✓ and the upper body is leaning forward_✕, which reads as fear."
    assert example.marked == marked.replace("_", "\N{NO-BREAK SPACE}")
    assert "|kdae/walk\\|1|**label sadness · answered fear 60% ✕**<br>" in examples_table([example])
    assert Example(corpus, 0, "fear", 0.6, text, None).marked == text


def test_an_examples_picture_has_room_for_its_whole_text(small_world):
    corpus = open_verified(small_world.data / "egbm")
    short, long = (
        example_figure(Example(corpus, 0, "fear", 1.0, text, None)) for text in ("The head is bowed.", "the head is bowed, " * 20)
    )
    assert long.get_figheight() > short.get_figheight()
    lines = long.texts[-1].get_text().split("\n")
    assert " ".join(lines) == ("the head is bowed, " * 20).strip() and max(map(len, lines)) <= CHARACTERS


def test_whatever_the_llm_writes_can_be_drawn(small_world):
    corpus = open_verified(small_world.data / "egbm")
    figure = example_figure(Example(corpus, 0, "fear$_", 1.0, "a $\\frac$ \x07 of $^ costs", None))
    FigureCanvasAgg(figure).draw()
    assert figure.texts[-1].get_text() == "a $\\frac$ \\x07 of $^ costs"


def test_bins_with_few_clips_are_joined_and_no_clip_is_lost():
    curve = [{"clips": clips, "confidence": confidence, "accuracy": right} for clips, confidence, right in
             ((1, 0.3, 0.0), (5, 0.5, 1.0), (6, 0.8, 0.5), (1, 0.95, 1.0))]  # fmt: skip
    points = joined(curve, 4)
    assert [point["clips"] for point in points] == [6, 7]
    for name in ("confidence", "accuracy"):
        assert sum(p["clips"] * p[name] for p in points) == pytest.approx(sum(p["clips"] * p[name] for p in curve))
    assert joined(curve, 100)[0]["clips"] == 13 and joined([], 4) == []
    assert len(reliability_figure({"LLM": curve, "encoder": curve}, "kdae").axes[0].collections) == 2


def test_the_table_names_every_method_of_every_corpus(result):
    text = results_table(result["corpora"])
    for corpus, values in result["corpora"].items():
        assert f"### {corpus}: 3 held-out clips" in text
        for method in (*values["baselines"], *values["description"]["methods"]):
            assert f"|{method.replace('_', ' ')}|" in text


def test_shares_that_no_corpus_has_are_left_out():
    assert final_results({"kdae": {"accuracy": 0.5}, "egbm": {"accuracy": 1.0}}) == {Tag.ACCURACY: 0.75}
    greedy, none = {"supported": 0.5, "contradicted": 0.25}, {"supported": None, "contradicted": None}
    corpora = {
        name: {"accuracy": 1.0, "description": {"methods": {"greedy": shares}}} for name, shares in (("kdae", greedy), ("egbm", none))
    }
    assert final_results(corpora) == {Tag.ACCURACY: 1.0, Tag.SUPPORTED: 0.5, Tag.CONTRADICTED: 0.25}


def test_the_legend_of_a_removal_curve_is_inside_the_picture():
    figure = removal_figure([0, 0.5, 1], {"largest": [0.8, 0.2, 0.1], "random": [0.8, 0.5, 0.1], "smallest": [0.8, 0.8, 0.1]}, "kdae")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent(canvas.get_renderer())
    assert box.y0 >= 0 and box.y1 <= figure.axes[0].get_window_extent().y0
    assert [text.get_text() for text in legend.get_texts()] == ["largest", "random", "smallest"]
