"""The three corpora's own formats, from raw file to corpus: what their oddities do to an import."""

from pathlib import Path

import numpy as np
import pytest

from emotion_llm.corpus.definition import read_definition
from emotion_llm.corpus.importing import import_corpus
from emotion_llm.motion.canonical import CanonicalSettings
from emotion_llm.synthetic.corpora import write_emilya, write_kdae


def run(name: str, source: Path, output: Path):
    return import_corpus(read_definition(name), source, output, CanonicalSettings(), workers=1)


@pytest.fixture(scope="module")
def kdae(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kdae")
    write_kdae(folder, clips_per_emotion=1, seed=0)
    return folder


def test_kdae_has_72_joints_with_end_sites_at_true_tempo(kdae, tmp_path):
    corpus = run("kdae", kdae, tmp_path).corpus
    assert corpus.layout.joints == 72 and sum(name.endswith("_end") for name in corpus.layout.joint_names) == 13
    for index in range(len(corpus)):
        rows = (kdae / f"{corpus.clip(index).name}.bvh").read_text().split("Frames: ")[1].split()[0]
        assert corpus.clip(index).frames / 30 == pytest.approx(int(rows) / 125, abs=0.05)


def test_misspelt_neuron_joints_are_tolerated_and_unknown_ones_refused_by_name(kdae, tmp_path):
    paths = sorted(kdae.rglob("*.bvh"))
    first, second = (path.read_text() for path in paths[:2])
    reference = run("kdae", kdae, tmp_path / "before").corpus.positions(0)
    try:
        paths[0].write_text(first.replace("RightInHandMiddle", "RightlnHandMiddle"))
        paths[1].write_text(second.replace("JOINT Spine3", "JOINT Neck1"))
        imported = run("kdae", kdae, tmp_path / "after")
    finally:
        paths[0].write_text(first)
        paths[1].write_text(second)
    np.testing.assert_array_equal(imported.corpus.positions(0), reference)
    assert len(imported.corpus) == 6
    (bad,) = [item for item in imported.report.left_out if not item.by_rule]
    assert bad.path == str(paths[1].relative_to(kdae))
    assert "missing Spine3" in bad.reason and "unexpected Neck1" in bad.reason and str(kdae) not in bad.reason


def test_emilya_is_imported_without_its_duplicates_and_without_files_that_do_not_parse(tmp_path):
    write_emilya(tmp_path / "raw", clips_per_emotion=1, seed=0)
    broken = tmp_path / "raw/All_BvH_Files/SW/Anger/Actor1/Ag9SW9_Actor1.bvh"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text("HIERARCHY\nROOT Hips\n{\n")
    imported = run("emilya", tmp_path / "raw", tmp_path / "data")
    assert len(imported.corpus) == 8 and imported.corpus.layout.joints == 28
    assert [item.reason for item in imported.report.left_out if item.by_rule] == ["a second export of the same recording (*zyx.bvh)"] * 2
    assert [item.path for item in imported.report.left_out if not item.by_rule] == [str(broken.relative_to(tmp_path / "raw"))]
    assert imported.report.duplicates == ()
