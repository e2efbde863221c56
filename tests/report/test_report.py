"""Reports: self-contained, quantised finely, claims at their joints, and safe whatever a clip is called."""

import base64
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from typing import get_args

import numpy as np
import pytest
from pydantic import TypeAdapter

from emotion_llm.grounding.claims import CHANGES, MOMENTS, PARTS, QUALITIES, Claim
from emotion_llm.grounding.grammar import read_claims
from emotion_llm.grounding.judge import JudgedClaim, Verdict
from emotion_llm.inference.answer import Attribution
from emotion_llm.inference.timeline import Segment, Timeline
from emotion_llm.motion.layout import known_layouts, read_layout
from emotion_llm.motion.motion import Motion
from emotion_llm.report.clip import ReportClip, claim_joints, claim_record, clip_record, quantised
from emotion_llm.report.folder import Report, write_reports
from emotion_llm.report.page import ASSETS, clip_page, safe_json
from emotion_llm.runtime.errors import UserError
from tests.helpers.report_examples import EXPLANATION, example_clip

HOSTILE = "</script><script>document.title='x'</script><img src=x onerror=alert(1)>{{data}}\u2028\x1b[31m\u202e<!--"


class Structure(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


def embedded(page: str) -> dict:
    return json.loads(page.split('id="data">')[1].split("</script>")[0])


@pytest.fixture(scope="module")
def page() -> str:
    return clip_page([example_clip()])


def test_a_page_is_below_one_megabyte_without_its_motion(page):
    motion = len(embedded(page)["clips"][0]["positions"])
    assert len(page.encode()) - motion < 100_000


def test_a_page_refers_to_nothing_outside_itself(page):
    for tag, attributes in Structure(page).elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert not attributes.keys() & {"src", "srcset", "action", "style", "onclick"}, (tag, attributes)
        assert attributes.get("href", "#").startswith("#")
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "") and "https:" not in page


def test_the_policy_allows_the_page_s_own_program_and_style_and_nothing_else(page):
    policy = next(attributes["content"] for tag, attributes in Structure(page).elements if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy and "*" not in policy and "connect-src" not in policy


def test_hostile_texts_stay_texts():
    clip = example_clip(name=HOSTILE)
    assert clip.answer is not None
    answer = replace(clip.answer, explanation=HOSTILE + EXPLANATION, findings=(HOSTILE,), clip=HOSTILE)
    page = clip_page([replace(clip, truth=HOSTILE, actor=HOSTILE, texts=(HOSTILE,), answer=answer)])
    normal = clip_page([example_clip()])
    assert [tag for tag, _ in Structure(page).elements] == [tag for tag, _ in Structure(normal).elements]
    assert embedded(page)["clips"][0]["explanation"].startswith("</script>")
    assert not any(sign in page for sign in "\x1b\u202e\u2028")
    assert len(embedded(page)["clips"][0]["explanation"]) == len(HOSTILE + EXPLANATION)  # the claims' spans stay true


def test_hostile_texts_stay_texts_in_the_index(tmp_path):
    index = write_reports(tmp_path, HOSTILE, [replace(example_clip(name=HOSTILE), actor=HOSTILE)]).read_text(encoding="utf-8")
    normal = write_reports(tmp_path, "x", [example_clip()]).read_text(encoding="utf-8")
    assert [tag for tag, _ in Structure(index).elements] == [tag for tag, _ in Structure(normal).elements]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", page.name) for page in (tmp_path / "clips").iterdir())


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        safe_json({"value": float("nan")})
    with pytest.raises(ValueError, match="positions hold values that are not finite"):
        quantised(np.full((2, 3, 3), np.nan))


def test_positions_come_back_to_a_fraction_of_a_millimetre():
    positions = np.random.default_rng(0).uniform(-5, 5, (40, 25, 3))
    record = quantised(positions)
    steps = np.frombuffer(base64.b64decode(record["positions"]), "<i2").reshape(positions.shape)
    assert np.abs(steps * record["scale"] + record["centre"] - positions).max() < 1e-4


def test_a_body_that_does_not_move_can_be_shown():
    layout = read_layout("kinect_v2_25")
    record = clip_record(ReportClip("still", Motion(layout, np.zeros((1, layout.joints, 3)), 30.0)))
    assert record["emotion"] is None and record["claims"] == []


def test_claims_of_a_segment_lie_within_it():
    record = clip_record(example_clip(long=True))
    first, second = record["curve"]["segments"]
    assert [claim["verdict"] for claim in record["claims"]] == 2 * ["supported", "contradicted", "indeterminate", "uncheckable"]
    assert all(record["claims"][number]["to"] <= 0.5 for number in first["claims"])
    assert all(record["claims"][number]["from"] >= 0.5 for number in second["claims"])
    assert (record["claims"][5]["from"], record["claims"][5]["to"]) == pytest.approx((5 / 6, 1))
    for values, seconds in zip(record["curve"]["values"], [record["curve"]["seconds"]] * 4, strict=True):
        assert len(values) == len(seconds)


def test_the_index_names_the_emotion_that_lasts_longest(tmp_path):
    clip = example_clip(long=True)
    assert isinstance(clip.answer, Timeline)
    segments = (Segment(0, 2, "anger", 0.5), Segment(2, 5, "fear", 0.5), Segment(5, 8, "anger", 0.5), Segment(8, 12, "fear", 0.5))
    page = write_reports(tmp_path, "long", [replace(clip, answer=replace(clip.answer, segments=segments))]).read_text(encoding="utf-8")
    (entry,) = embedded(page)["entries"]
    assert (entry["emotion"], entry["probability"]) == ("fear", None)


@pytest.mark.parametrize("layout_name", known_layouts())
def test_every_part_that_claims_name_has_joints_on_every_layout(layout_name):
    layout = read_layout(layout_name)
    for part in PARTS:
        whole, left, right = (set(claim_joints(layout, part, side)) for side in (None, "left", "right"))
        assert left and right and whole >= left | right
        if part in ("shoulders", "arms", "hands", "elbows", "legs", "knees", "feet", "steps"):
            assert not left & right
            assert all(layout.parts[joint].startswith("left") for joint in left)


@pytest.mark.parametrize("quality", QUALITIES)
def test_every_claim_can_be_said(quality):
    layout = read_layout("kinect_v2_25")
    for direction in (-1, 1):
        for moment in (*MOMENTS, CHANGES[0] if direction > 0 else CHANGES[1]):
            record = claim_record(JudgedClaim(Claim(quality, direction, moment=moment), "supported"), layout)
            assert record["what"].strip() and record["about"] and 0 <= record["from"] < record["to"] <= 1


def test_the_page_has_a_sign_and_words_for_every_verdict_of_the_judge():
    program = (ASSETS / "clip.js").read_text(encoding="utf-8")
    assert all(f"  {outcome}: [" in program for outcome in get_args(Verdict))


def test_claims_read_from_json_are_drawn_like_claims():
    layout, claim = read_layout("kinect_v2_25"), Claim("hand height", 1, "left", "end", negated=True, span=(3, 9))
    judged = JudgedClaim(claim, "supported")
    record = claim_record(judged, layout)
    assert record == claim_record(TypeAdapter(JudgedClaim).validate_python(asdict(judged)), layout)
    assert (record["about"], record["what"], record["from"]) == ("left hand", "not raised", 2 / 3)


def test_a_claim_is_listed_in_the_words_of_its_text():
    layout, text = read_layout("kinect_v2_25"), "Surprise: the upper body is Leaning back and the head is nodding."
    read = [JudgedClaim(claim, "supported") for claim in read_claims(text).claims]
    assert [claim_record(judged, layout, text)["what"] for judged in read] == ["leaning back", "nodding"]
    assert [claim_record(judged, layout)["what"] for judged in read] == ["upright", "nodding"]


def test_joints_and_moments_are_coloured_on_one_scale():
    clip = example_clip(frames=10)
    first = clip.motion.layout.joint_names[0]
    for weights, joints, moments in (((2.0, -0.5), 1, [-0.25]), ((-1.0, 4.0), -0.25, [1]), ((0.0, 0.0), 0, [0])):
        attribution = Attribution({first: weights[0]}, (0.0,), (weights[1],))
        record = clip_record(replace(clip, answer=replace(clip.answer, attribution=attribution)))["attribution"]
        assert record == {"joints": [joints] + [0] * (clip.motion.layout.joints - 1), "seconds": [0], "moments": moments}


def test_clips_of_the_same_name_get_pages_of_their_own(tmp_path):
    clip = example_clip(frames=10)
    names = ("take", "Take", "take-2", "take", "a/take", "../take", "", "…")
    index = write_reports(tmp_path, "all", [replace(clip, name=name) for name in names])
    pages = [entry["page"] for entry in embedded(index.read_text(encoding="utf-8"))["entries"]]
    assert len({page.lower() for page in pages}) == len(names) == len(list((tmp_path / "clips").iterdir()))


def test_somebody_else_s_index_is_not_replaced(tmp_path):
    (tmp_path / "index.html").write_text("<title>mine</title>")
    with pytest.raises(UserError, match="was not written by emotion_llm and would be replaced; choose another folder for --html"):
        Report(tmp_path)


def test_the_same_folder_can_be_written_again(tmp_path):
    for _ in range(2):
        write_reports(tmp_path, "all", [example_clip(frames=10)])
    assert len(list((tmp_path / "clips").iterdir())) == 1
