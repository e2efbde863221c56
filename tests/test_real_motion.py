"""README's "Results on real motion", executed as it stands. Needs the two archives and up to an hour on two cores."""

import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.test_readme import PROGRAMS, REAL, ROOT

ARCHIVES = Path(os.environ.get("EMOTION_LLM_REAL_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working folder that looks like a clone with the motion files under archives/."""
    if not (ARCHIVES / "bandai-namco-2.tar.xz").is_file():
        pytest.fail(f"{ARCHIVES}: bandai-namco-1.tar.xz and bandai-namco-2.tar.xz are not here; set EMOTION_LLM_REAL_DATA to their folder")
    work = tmp_path_factory.mktemp("real")
    for name in ("launch", "ds_configs", "emotion_llm"):
        (work / name).symlink_to(ROOT / name)
    for number in (1, 2):
        with tarfile.open(ARCHIVES / f"bandai-namco-{number}.tar.xz") as archive:
            archive.extractall(work / "archives", filter="data")
    return work


@pytest.mark.real
def test_the_llm_names_the_style_and_explains_it_truly_on_held_out_clips(folder):
    printed = ""
    for command in REAL:
        program, *words = shlex.split(command)
        done = subprocess.run([*PROGRAMS[program], *words], cwd=folder, stdout=subprocess.PIPE, text=True, check=False, timeout=3600)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}"
        printed += done.stdout
        print(done.stdout, file=sys.stderr)
    metrics = json.loads((folder / "runs/bandai-namco-2/description/evaluation/metrics.json").read_text(encoding="utf-8"))
    scores = metrics["corpora"]["bandai-namco-2"]
    by_llm = scores["baselines"]["llm"]["accuracy"]
    assert by_llm >= scores["encoder_accuracy"] - 0.05
    assert by_llm >= 4 * scores["chance"]
    greedy, verified = (scores["description"]["methods"][name] for name in ("greedy", "verified"))
    assert greedy["supported"] >= 0.75 and greedy["contradicted"] <= 0.12
    assert greedy["supported"] >= greedy["shuffled_supported"] + 0.25
    assert verified["contradicted"] <= 0.02
    assert re.search(r"bandai-namco-2: held-out accuracy .* \(LLM alone .*, encoder alone ", printed)
    assert "dataset-2_walk_exhausted_002.bvh: " in printed
