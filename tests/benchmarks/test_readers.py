"""The benchmark of the readers, on files small enough for a test."""

import sys
import time

import pytest

from emotion_llm.benchmarks.measurement import interleaved_ratio, machine_name
from emotion_llm.benchmarks.readers import measure
from emotion_llm.runtime.errors import UserError

WALK = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Chest
  {
    OFFSET 0 10 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 5 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0333333
0 90 0 0 0 0 10 0 0
1 90 0 5 0 0 20 0 0
"""


def test_every_reader_is_measured_in_turns(tmp_path):
    pytest.importorskip("bvh")
    pytest.importorskip("pymotion")
    (tmp_path / "walk.bvh").write_text(WALK)
    measurements = measure(tmp_path, repeats=2)
    assert [measurement.name for measurement in measurements] == ["BVH reader against the bvh package", "BVH reader against upc-pymotion"]
    assert all(0 < measurement.low <= measurement.ratio <= measurement.high for measurement in measurements)
    assert all(measurement.machine == machine_name() and "1 files" in measurement.compared for measurement in measurements)


def test_a_folder_without_files_or_a_missing_package_is_refused_in_words(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="holds no BVH file; name a folder of recordings"):
        measure(tmp_path)
    (tmp_path / "walk.bvh").write_text(WALK)
    monkeypatch.setitem(sys.modules, "bvh", None)
    with pytest.raises(UserError, match=r"package bvh is not installed; .*pip install '\.\[oracle\]'"):
        measure(tmp_path)


def test_a_ratio_says_how_many_times_faster_the_first_is():
    ratio = interleaved_ratio(lambda: time.sleep(0.002), lambda: time.sleep(0.02), repeats=3)
    assert ratio.our_seconds < ratio.their_seconds and 1 < ratio.low <= ratio.median <= ratio.high
