"""One table of explanations against the number of described motions, and against other runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from emotion_llm.evaluation.curve import COLUMNS, PRESETS, CurveSettings, explanation_table
from emotion_llm.evaluation.evaluate import EvaluateSettings
from emotion_llm.runtime.console import settings_to_dict
from emotion_llm.runtime.errors import UserError
from emotion_llm.training.settings import FinetuneSettings
from launch.curve import curve


def cells(table: str) -> list[dict[str, str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert tuple(rows[0]) == COLUMNS
    return [dict(zip(COLUMNS[:3], row, strict=False)) | {"shares": row[3:]} for row in rows[2:]]


def evaluated(run: Path, **corpora: dict) -> Path:
    """A run folder with the metrics of two corpora."""
    (run / "evaluation").mkdir(parents=True)
    result = {"corpora": corpora, "trained": {"settings": {"described_motions": 10}}, "evaluated_with": {"candidates": 8}}
    (run / "evaluation" / "metrics.json").write_text(json.dumps(result))
    return run


def corpus(clips: int, claims_per_text: float, supported: float | None) -> dict:
    shares = dict.fromkeys(("contradicted", "shuffled_supported", "shuffled_contradicted", "distinct", "label_consistency"), 0.5)
    method = {"claims_per_text": claims_per_text, "supported": supported, **shares}
    methods = dict.fromkeys(("greedy", "verified", "other_motion", "label_template", "narrator"), method)
    return {"clips": 2 * clips, "accuracy": 0.5, "description": {"clips": clips, "methods": methods}}


def test_claims_of_all_corpora_count_alike(tmp_path):
    run = evaluated(tmp_path / "run", one=corpus(10, 3.0, 0.9), other=corpus(10, 1.0, 0.5), silent=corpus(5, 0.0, None))
    rows = cells(explanation_table([run]))
    assert [row["method"] for row in rows] == ["run, greedy", "run, verified", "other motion", "label template", "narrator"]
    assert rows[0]["described motions"] == "10" and rows[0]["explained clips"] == "25"
    assert rows[0]["shares"] == ["80.0%", "50.0%", "50.0%", "50.0%", "1.6", "50.0%", "50.0%", "50.0%"]


def test_a_run_without_explanations_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"metrics.json: cannot be read .* run launch/evaluate.py --run .*missing with a description run"):
        explanation_table([tmp_path / "missing"])
    run = evaluated(tmp_path / "run", one={"clips": 3, "accuracy": 0.5})
    with pytest.raises(UserError, match=r"metrics.json: holds no figures about explanations; run launch/evaluate.py"):
        explanation_table([run])


def test_a_run_per_number_of_motions_and_one_with_all_start_alike_and_are_not_repeated(tmp_path, monkeypatch):
    trained: list[FinetuneSettings] = []

    def answer(settings: EvaluateSettings) -> None:
        assert settings.run == trained[-1].run and settings.candidates == 1
        path = evaluated(settings.run, one=corpus(10, 3.0, 0.9)) / "evaluation" / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"trained": {"settings": settings_to_dict(trained[-1])}}))

    monkeypatch.setattr("launch.curve.finetune", lambda settings: trained.append(settings) or True)
    monkeypatch.setattr("launch.curve.evaluate", answer)
    other = evaluated(tmp_path / "words", one=corpus(10, 3.0, 0.2))
    settings = replace(PRESETS["demo"], run=tmp_path / "curve", motions=(30, 3), beside=(other,))
    table = curve(settings)
    assert [(run.described_motions, run.run.name, run.start_from) for run in trained] == [
        (count, name, Path("runs/demo/recognition")) for count, name in ((3, "3"), (30, "30"), (None, "all"))
    ]
    assert [row["method"] for row in cells(table)][:8:2] == ["words, greedy", "3, greedy", "30, greedy", "all, greedy"]
    assert (tmp_path / "curve" / "table.md").read_text(encoding="utf-8") == table
    assert curve(settings) == table and len(trained) == 3
    monkeypatch.setattr("launch.curve.finetune", lambda settings: False)  # stopped, as by SIGTERM
    assert curve(replace(settings, run=tmp_path / "stopped")) is None
    longer = replace(settings, finetune=replace(settings.finetune, max_steps=2_000))
    with pytest.raises(UserError, match=r"the run was started with max_steps = 450, now it is 2000; resume with the old value"):
        curve(longer)


@pytest.mark.slow
def test_the_curve_trains_and_evaluates_its_runs(small_world, recognition_run, tmp_path):
    few = small_world.settings(tmp_path, "description", start_from=recognition_run, max_steps=1, warmup_steps=0, checkpoint_every=1)
    table = curve(CurveSettings(tmp_path / "curve", motions=(3,), explanations=1, finetune=few))
    assert [(row["method"], row["described motions"]) for row in cells(table)][:2] == [("3, greedy", "3"), ("all, greedy", "all")]
