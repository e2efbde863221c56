"""What is usual in a corpus: measured from training clips only, per moment, and kept."""

import json
from dataclasses import replace

import numpy as np
import pytest

from emotion_llm.corpus.splits import Split
from emotion_llm.grounding import norms as norms_module
from emotion_llm.grounding.claims import QUALITIES
from emotion_llm.grounding.norms import CACHE, NAMES, load_norms, make_norms, measure, measure_corpus, save_norms
from emotion_llm.kinematics.descriptors import DESCRIPTORS, describe
from emotion_llm.motion.layout import read_layout
from emotion_llm.motion.motion import Motion
from emotion_llm.runtime.errors import UserError
from tests.helpers.corpora import write_clips
from tests.helpers.motion_examples import moving_body

LAYOUT = read_layout("kinect_v2_25")


def body(tempo: float) -> np.ndarray:
    """(61, V, 3) metres: the same movement at another tempo."""
    return moving_body(LAYOUT, turning=0.0, hertz=0.4 * tempo).positions


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    clips = [(f"clip{n:02d}", "neutral" if n % 2 else "anger", None, None, body(1 + 0.1 * n)) for n in range(24)]
    return write_clips(tmp_path_factory.mktemp("corpus") / "toy", LAYOUT, clips, ("anger", "neutral"))


SPLIT = Split(tuple(range(22)), (22, 23), "hash")


@pytest.fixture(scope="module")
def measured(corpus):
    return measure_corpus(corpus)


def test_the_whole_clip_is_measured_as_the_descriptors_do(corpus, measured):
    expected = describe(corpus.motion(3))
    assert np.array_equal(measured[3].values[0, : len(DESCRIPTORS)], expected)


def test_every_quality_can_be_measured(measured):
    assert {quality.descriptor for quality in QUALITIES.values()} <= set(NAMES)


def test_a_moment_is_measured_from_its_part_of_the_clip():
    still_then_moving = np.concatenate([np.repeat(body(1.0)[:1], 60, axis=0), body(3.0)[:60]])
    one = measure(Motion(LAYOUT, still_then_moving, 30.0))
    assert one.value("hand_speed_mean", "beginning") < 0.01 < 10 * one.value("hand_speed_mean", "end")
    assert np.isnan(one.value("dimensionless_jerk", "end")) and np.isnan(one.value("a name", "end"))


def test_one_side_is_measured_apart_from_the_other():
    positions = body(1.0).astype(float)
    positions[:, LAYOUT.landmarks["left_wrist"]] += (0, 0.3, 0)
    one = measure(Motion(LAYOUT, positions, 30.0))
    left, right, both = (one.value(f"{side}hand_height_mean") for side in ("left_", "right_", ""))
    assert left - right > 0.1 and both == pytest.approx((left + right) / 2)


def test_percentiles_follow_the_order_of_the_training_clips(corpus, measured):
    norms = make_norms(corpus, SPLIT, measured)
    found = [norms.percentile(one, "hand_speed_mean") for one in measured]
    order = [one.value("hand_speed_mean") for one in measured]
    assert np.all(np.diff(np.array(found)[np.argsort(order)]) >= 0)
    assert min(found) < 5 and max(found) > 95 and norms.clips == 22
    assert 0 < norms.neutral["hand_speed_mean"] < 100


def test_held_out_clips_have_no_part_in_the_norms(corpus, measured):
    changed = [*measured[:22], *(replace(one, values=one.values + 1e6) for one in measured[22:])]
    assert make_norms(corpus, SPLIT, changed) == make_norms(corpus, SPLIT, measured)


def test_a_value_that_many_clips_share_stands_in_the_middle_of_them(corpus, measured):
    norms = make_norms(corpus, SPLIT, measured)
    norms.percentiles["throughout"]["stillness"] = [0.0] * 41
    assert norms.of_value(0.0, "stillness") == 50
    assert (norms.of_value(-1.0, "stillness"), norms.of_value(1.0, "stillness")) == (0, 100)


def test_a_change_is_the_step_from_one_half_to_the_other(corpus, measured):
    norms = make_norms(corpus, SPLIT, measured)
    slow, fast = (body(tempo) for tempo in (1.0, 3.3))
    rising = measure(Motion(LAYOUT, np.concatenate([slow, fast]), 30.0))
    falling = measure(Motion(LAYOUT, np.concatenate([fast, slow]), 30.0))
    assert norms.percentile(rising, "hand_speed_mean", "increasing") > 70
    assert norms.percentile(falling, "hand_speed_mean", "decreasing") < 30


def test_a_clip_without_a_gait_has_no_place_among_gaits(corpus, measured):
    standing = measure(Motion(LAYOUT, np.repeat(body(1.0)[:1], 60, axis=0), 30.0))
    assert np.isnan(make_norms(corpus, SPLIT, measured).percentile(standing, "cadence"))


def test_clips_are_measured_once(corpus, measured, monkeypatch):
    monkeypatch.setattr(norms_module, "measure", lambda motion: pytest.fail("measured again"))
    again = measure_corpus(corpus)
    assert all(np.array_equal(one.values, other.values, equal_nan=True) for one, other in zip(again, measured, strict=True))


def test_a_damaged_or_outdated_cache_is_measured_again(corpus, measured):
    (corpus.folder / CACHE).write_bytes(b"damaged")
    assert np.array_equal(measure_corpus(corpus)[0].values, measured[0].values, equal_nan=True)
    other = replace(corpus, files={**corpus.files, "positions.npy": "another movement"})
    assert norms_module._cache_key(other) != norms_module._cache_key(corpus)


def test_norms_are_kept_with_the_run(corpus, measured, tmp_path):
    norms = make_norms(corpus, SPLIT, measured)
    save_norms(tmp_path, norms)
    assert load_norms(tmp_path) == {"toy": norms}
    assert load_norms(tmp_path / "recognition") == {}


def test_damaged_norms_are_named(corpus, measured, tmp_path):
    save_norms(tmp_path, make_norms(corpus, SPLIT, measured))
    path = tmp_path / "norms" / "toy.json"
    record = json.loads(path.read_text())
    record["percentiles"]["end"]["speed_mean"] = [0.0]
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"toy\.json: a descriptor does not have 41 percentiles"):
        load_norms(tmp_path)
