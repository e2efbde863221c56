"""--html: pages of what evaluate and predict answered."""

import json
import re
from pathlib import Path

import pytest

from emotion_llm.evaluation.evaluate import EvaluateSettings
from launch.evaluate import evaluate


def embedded(page: Path) -> dict:
    """The data of a page."""
    match = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert match
    return json.loads(match[1])


@pytest.mark.slow
def test_an_evaluation_s_pages_show_what_it_wrote(description_run, tmp_path):
    evaluate(EvaluateSettings(run=description_run, output=tmp_path, explanations=1, html=tmp_path / "html"))
    records = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    entries = embedded(tmp_path / "html" / "index.html")["entries"]
    assert [(entry["name"], entry["truth"], entry["emotion"]) for entry in entries] == [
        (record["clip"], record["emotion"], record["predicted"]) for record in records
    ]
    for entry, record in zip(entries, records, strict=True):
        page = embedded(tmp_path / "html" / entry["page"])["clips"][0]
        assert dict(page["probabilities"]) == record["probabilities"] and page["explanation"] == record["explanation"]
