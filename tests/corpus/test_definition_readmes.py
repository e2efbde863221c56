"""The documentation of definitions and layouts is complete, and its examples import."""

import json
import re
import shlex
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest
import tyro

from emotion_llm.corpus.definition import DEFINITION_FOLDER, CorpusDefinition, definition_from_dict
from emotion_llm.corpus.importing import check_corpus
from emotion_llm.corpus.reading import ReadingSettings, read_clip
from emotion_llm.corpus.scan import scan_source
from emotion_llm.corpus.settings import PRESETS, PrepareSettings
from emotion_llm.motion.canonical import CanonicalSettings, canonicalise
from emotion_llm.motion.layout import LAYOUT_FOLDER, JointRecord, LayoutRecord, layout_to_dict, read_layout
from emotion_llm.motion.table import TableColumns
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import validate_record
from emotion_llm.synthetic.corpora import EMILYA, bvh_text, takes
from launch.prepare import write_inferred_layout
from tests.helpers.motion_examples import moving_body

DEFINITIONS, LAYOUTS = ((folder / "README.md").read_text(encoding="utf-8") for folder in (DEFINITION_FOLDER, LAYOUT_FOLDER))
EXAMPLES = {
    (definition := json.loads(text))["name"]: definition
    for text in re.findall(r"^    \{\n.*?^    \}\n", DEFINITIONS, re.MULTILINE | re.DOTALL)
}
KINECT = read_layout("kinect_v2_25")
CANONICAL = CanonicalSettings()


@pytest.mark.parametrize(
    ("kind", "text"), [(CorpusDefinition, DEFINITIONS), (TableColumns, DEFINITIONS), (LayoutRecord, LAYOUTS), (JointRecord, LAYOUTS)]
)
def test_every_field_is_documented_and_marked_where_it_is_required(kind, text):
    rows = {
        name: cells for names, *cells in re.findall(r"^\| (`.+?) \| (.*?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", names)
    }
    for field in fields(kind):
        assert field.name in rows, field.name
        required = field.default is MISSING and field.default_factory is MISSING
        assert kind is TableColumns or (rows[field.name] == ["yes"]) == required, field.name


def test_all_missing_fields_are_reported_at_once(tmp_path):
    with pytest.raises(UserError) as refused:
        definition_from_dict({}, tmp_path / "mine.json")
    required = ("name", "layout", "metres_per_unit", "files", "patterns", "labels")
    assert all(f"field '{name}' is missing" in str(refused.value) for name in required)
    with pytest.raises(
        UserError, match="'source' is missing; field 'joints' is missing; field 'mirror_pairs' is missing; field 'landmarks'"
    ):
        validate_record(LayoutRecord, {"name": "mine"}, "mine.json")


def imported(name: str, folder: Path) -> tuple[np.ndarray, list[str]]:
    """The canonical positions of the one clip in the folder, read with that example, and the kinds of findings on it."""
    definition = definition_from_dict(EXAMPLES[name], folder / "mine.json")
    report = check_corpus(definition, folder, CANONICAL, workers=1)
    assert (report.all.clips, report.faults) == (1, 0)
    _, positions = read_clip(folder, scan_source(definition, folder).files[0], ReadingSettings(definition, CANONICAL))
    return positions, [finding.split(":")[0] for _, finding in report.suspicious]


def test_the_kinect_example_reads_time_stamps_with_jitter(tmp_path):
    """Stamps that are early and late by 4 ms in turn; the positions are those of these moments."""
    moments = np.maximum(np.round(np.arange(60) * 1000 / 30 + 4 * (-1.0) ** np.arange(60)), 0).astype(int)  # milliseconds
    rows = moving_body(KINECT, rate=1000.0).positions[moments]
    header = ["Time", "Body", *(f"{joint}_{axis}" for joint in KINECT.joint_names for axis in "XYZ")]
    lines = [
        ";".join([str(5_219_000_331 + 10_000 * moment), "1", *(f"{value:.6f}" for value in row.ravel())])
        for moment, row in zip(moments.tolist(), rows, strict=True)
    ]
    (tmp_path / "P01_Happy_3.csv").write_text("\n".join([";".join(header), *lines]))
    positions, findings = imported("my-kinect", tmp_path)
    assert findings == ["time stamps are uneven"]
    expected = canonicalise(moving_body(KINECT, seconds=59 / 30, rate=30.0), CANONICAL).positions
    assert abs(len(positions) - len(expected)) <= 1
    shared = min(len(positions), len(expected))
    assert np.abs(positions[:shared] - expected[:shared]).max() < 0.02


def test_the_example_without_a_header_reads_every_setting(tmp_path):
    body = moving_body(KINECT, rate=60.0)
    millimetres = (body.positions * 1000).round(3)
    lines = ["recorded in May", "60 Hz"]
    for frame, row in enumerate(millimetres):
        values = [f"{value:.3f}".replace(".", ",") for x, y, z in row for value in (x, z, y, 1)]
        lines.append("\t".join([str(frame), *values]))
    cells = lines[40].split("\t")
    cells[1:4] = ["-1000"] * 3
    lines[40] = "\t".join(cells)
    (tmp_path / "anger").mkdir()
    (tmp_path / "anger" / "Ann 2.txt").write_text("\n".join(lines))
    positions, findings = imported("my-tables", tmp_path)
    assert findings == ["missing"]
    assert np.abs(positions - canonicalise(body, CANONICAL).positions).max() < 0.02


def test_the_npz_example_converts_left_handed_centimetres(tmp_path):
    body = moving_body(KINECT, rate=50.0)
    (tmp_path / "anger").mkdir()
    np.savez(tmp_path / "anger" / "walk_01.npz", joints=body.positions * (100, 100, -100), other=np.zeros(3))
    (tmp_path / "my_layout.json").write_text(json.dumps(layout_to_dict(KINECT) | {"name": "my_layout"}))
    positions, findings = imported("my-arrays", tmp_path)
    assert findings == []
    np.testing.assert_allclose(positions, canonicalise(body, CANONICAL).positions, atol=1e-5)


def test_the_commands_that_infer_a_layout_run(tmp_path):
    body = moving_body(KINECT)
    header = ",".join(["Time", *(f"{joint}_{axis}" for joint in KINECT.joint_names for axis in "xyz")])
    rows = np.concatenate([np.arange(len(body.positions))[:, None] / 30, body.positions.reshape(len(body.positions), -1)], axis=1)
    (tmp_path / "clip.csv").write_text("\n".join([header, *(",".join(map(str, row)) for row in rows.tolist())]))
    np.save(tmp_path / "clip.npy", body.positions * 1000)
    (tmp_path / "clip.bvh").write_text(bvh_text(read_layout("emilya_28"), next(takes(EMILYA, 1, seed=0)), 120.0, "YXZ", False))
    commands = re.findall(r"^    python launch/prepare.py (.*)$", LAYOUTS, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        settings = tyro.cli(PrepareSettings, default=PRESETS["default"], args=shlex.split(command))
        assert settings.infer_layout is not None
        layout_file = tmp_path / settings.layout_file
        said = write_inferred_layout(tmp_path / settings.infer_layout, layout_file, settings.metres_per_unit, settings.columns)
        assert "left open" not in said and read_layout(layout_file).name == layout_file.stem


def test_the_example_of_a_joint_is_one():
    (example,) = re.findall(r"^    (\{.*\})$", LAYOUTS, re.MULTILINE)
    assert validate_record(JointRecord, json.loads(example), "README.md").name == "KneeLeft"
