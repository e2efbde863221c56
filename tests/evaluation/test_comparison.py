"""The grid and its table: finished cells are skipped, every clip counts once, differences are paired, temperatures see no own clip."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.evaluation import comparison
from emotion_llm.evaluation.comparison import Cell, CompareSettings, cells, is_finished, write_cell, write_table
from emotion_llm.evaluation.metrics import PredictionRecord
from emotion_llm.pretraining.settings import PretrainSettings
from emotion_llm.pretraining.text_alignment import RANDOM_CLIP
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings
from launch.compare import compare


@pytest.fixture
def settings(small_world, tmp_path) -> CompareSettings:
    pretrain = PretrainSettings(
        data=small_world.data, split=SplitSettings("leave-actors-out", folds=2), encoder=CtrGcnSettings((4, 4), (2, 2)), epochs=1,
        global_batch=4, milestones=(), warmup_epochs=0, text_encoder=RANDOM_CLIP,
    )  # fmt: skip
    return CompareSettings(run=tmp_path / "compare", trainings=("egbm+emilya", "egbm"), seeds=(0, 1), pretrain=pretrain)


def record(clip: int, right: bool, confidence: float = 0.6, actor: str | None = None) -> PredictionRecord:
    predicted = "joy" if right else "anger"
    other = "anger" if right else "joy"
    return PredictionRecord(
        predicted, {predicted: confidence, other: 1 - confidence}, "egbm", f"clip {clip:03}", actor or f"actor {clip % 5}", "joy", {}
    )


def training_cells(settings: CompareSettings) -> list[Cell]:
    return cells(replace(settings, baselines=False))


def rows(settings: CompareSettings) -> dict[tuple[str, str], dict]:
    write_table(settings)
    table = json.loads((settings.run / "table.json").read_text(encoding="utf-8"))
    return {(row["recipe"], row["training"]): row for row in table["rows"]}


def test_a_cell_is_every_combination_and_baselines_come_once_per_corpus_and_fold(settings):
    assert len(training_cells(settings)) == 2 * 2 * 2
    assert {(cell.training, cell.fold) for cell in cells(settings) if cell.is_baseline} == {
        (c, f) for c in ("egbm", "emilya") for f in (0, 1)
    }
    assert {cell.fold for cell in training_cells(replace(settings, folds=(1,)))} == {1}
    random = replace(settings, pretrain=replace(settings.pretrain, split=SplitSettings()))
    assert {cell.fold for cell in training_cells(random)} == {0}
    with pytest.raises(UserError, match="--recipe baselines: this name stands for the simple models"):
        training_cells(replace(settings, recipe="baselines"))


def test_with_equal_steps_a_single_corpus_gets_more_epochs_until_it_has_taken_as_many_steps(settings):
    longer = replace(settings, pretrain=replace(settings.pretrain, epochs=40, milestones=(20,)))

    def steps(cell: Cell) -> int:
        own = comparison.pretrain_settings(longer, cell)
        return own.epochs * comparison._steps_per_epoch(own, own.corpora)

    joint, single = training_cells(longer)[0], training_cells(longer)[2]
    assert steps(single) == pytest.approx(steps(joint), rel=0.05)
    assert comparison.pretrain_settings(longer, joint).epochs == 40
    of_single = comparison.pretrain_settings(longer, single)
    assert of_single.milestones[0] == pytest.approx(of_single.epochs / 2, abs=1)
    assert comparison.pretrain_settings(replace(longer, equal_steps=False), single).epochs == 40


def test_a_finished_cell_of_other_settings_is_refused_and_the_difference_named(settings):
    cell = training_cells(settings)[0]
    assert not is_finished(settings, cell)
    write_cell(settings, cell, "encoder_classifier", [record(0, True)], 1.0)
    assert is_finished(settings, cell)
    other = replace(settings, pretrain=replace(settings.pretrain, learning_rate=0.2))
    with pytest.raises(UserError, match=r"other settings \(pretrain.learning_rate 0.1 -> 0.2\); give these another --recipe"):
        is_finished(other, cell)


def test_folds_are_pooled_seeds_averaged_and_recipes_compared_on_the_same_clips(settings):
    for recipe, right in (("default", (6, 8)), ("better", (10, 8))):
        for seed, count in enumerate(right):
            for fold in range(2):
                records = [record(clip, clip // 2 < count) for clip in range(fold, 20, 2)]
                write_cell(settings, Cell(recipe, ("egbm",), fold, seed), "encoder_classifier", records, 1.0)
    default, better = (rows(settings)[recipe, "egbm"] for recipe in ("default", "better"))
    assert default["clips"] == 20
    assert default["accuracy"]["seeds"] == [0.6, 0.8]
    assert default["accuracy"]["mean"] == pytest.approx(0.7)
    assert default["accuracy"]["interval"][0] < 0.7 < default["accuracy"]["interval"][1]
    assert better["difference"]["to"] == {"recipe": "default", "training": "egbm"}
    assert better["difference"]["accuracy"] == pytest.approx(0.2)
    assert default["difference"] is None
    assert "| better | egbm | encoder_classifier | 2 | 20 | 90.0 [" in (settings.run / "table.md").read_text(encoding="utf-8")


def test_a_joint_training_is_compared_with_the_single_one_and_other_clips_are_not_compared(settings):
    def write(corpora: tuple[str, ...], clips: range, recipe: str = "default") -> None:
        write_cell(settings, Cell(recipe, corpora, 0, 0), "encoder_classifier", [record(clip, clip % 2 == 0) for clip in clips], 1.0)

    write(("egbm",), range(10))
    write(("egbm", "emilya"), range(10))
    write(("egbm",), range(8), "fewer")
    assert rows(settings)["default", "egbm+emilya"]["difference"]["to"] == {"recipe": "default", "training": "egbm"}
    assert rows(settings)["fewer", "egbm"]["difference"] is None


def test_a_folds_temperature_depends_on_the_other_folds_only(settings):
    random = np.random.default_rng(0)
    folds = [
        [replace(record(clip, random.random() < 0.6, 0.99), actor=None) for clip in range(fold, 200, 2)] for fold in range(2)
    ]  # too sure
    for fold, records in enumerate(folds):
        write_cell(settings, Cell("default", ("egbm",), fold, 0), "encoder_classifier", records, 1.0)
    row = rows(settings)["default", "egbm"]
    assert row["calibration_error"]["mean"] > 0.3
    assert row["calibration_error_after_temperature"]["mean"] < 0.2
    before = {r.clip: r.temperature for r in comparison._calibrated({0: dict(enumerate(folds))}, "actor")[0]}
    changed = [replace(answer, emotion="anger") for answer in folds[0]]
    after = {r.clip: r.temperature for r in comparison._calibrated({0: {0: changed, 1: folds[1]}}, "actor")[0]}
    assert before[folds[0][0].clip] == after[folds[0][0].clip]
    assert before[folds[1][0].clip] != after[folds[1][0].clip]


def test_the_whole_grid_is_run_with_one_command_and_continues_where_it_stopped(settings, monkeypatch):
    few = replace(settings, trainings=("egbm",), seeds=(0,), folds=(0,))
    assert "| default | egbm | encoder_classifier | 1 |" in compare(few)
    table = compare(replace(few, folds=None))
    assert "| default | egbm | encoder_classifier | 1 | 14 |" in table
    assert "| baselines | egbm | kinematic_forest | 1 | 14 |" in table
    monkeypatch.setattr("launch.compare.pretrain", lambda settings: pytest.fail("a finished cell is trained again"))
    assert compare(replace(few, folds=None)) == table


def test_recipes_share_an_encoder_if_its_training_is_the_same(settings, monkeypatch):
    few = replace(settings, trainings=("egbm",), seeds=(0,), folds=(0,), baselines=False)
    compare(few)
    monkeypatch.setattr("launch.pretrain_encoder.train", lambda *arguments: pytest.fail("the encoder is trained again"))
    other_llm = replace(few, recipe="mirrored", finetune=replace(few.finetune, views=2))
    assert "| mirrored | egbm | encoder_classifier | 1 |" in compare(other_llm)
    runs = {comparison.pretrain_settings(changed, cell).run for changed in (few, other_llm) for cell in cells(changed)}
    for changed in (replace(few, seeds=(1,)), replace(few, folds=(1,)), replace(few, pretrain=replace(few.pretrain, learning_rate=0.01))):
        runs.add(comparison.pretrain_settings(changed, cells(changed)[0]).run)
    assert len(runs) == 1 + 3


def test_a_grid_that_is_stopped_leaves_its_cell_to_be_continued(settings, monkeypatch):
    few = replace(settings, trainings=("egbm",), seeds=(0,), folds=(0,), baselines=False)
    monkeypatch.setattr("launch.pretrain_encoder.train", lambda *arguments: False)  # stopped, as by SIGTERM
    assert compare(few) is None
    assert not is_finished(few, cells(few)[0])


@pytest.mark.slow
def test_the_llm_is_compared_beside_the_encoder(settings, small_world):
    few = replace(
        settings, trainings=("egbm",), seeds=(0,), folds=(0,), baselines=False, llm=True, finetune=small_world.settings(Path("unused"))
    )
    table = compare(few)
    assert "| default | egbm | llm | 1 |" in table
    assert "| default | egbm | encoder_classifier | 1 |" in table
