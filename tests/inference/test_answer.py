"""An answer says all that it holds, in words and as JSON."""

import json
import subprocess
import sys

from pydantic import TypeAdapter

from emotion_llm.grounding.claims import Claim
from emotion_llm.grounding.judge import JudgedClaim
from emotion_llm.inference.answer import NO_EXPLANATION, Answer, ranked


def test_probabilities_are_ranked_and_ties_keep_the_label_sets_order():
    assert list(ranked(("anger", "fear", "joy"), [0.25, 0.5, 0.25]).items()) == [("fear", 0.5), ("anger", 0.25), ("joy", 0.25)]


def test_an_answer_in_words_holds_emotion_explanation_and_findings():
    answer = Answer("clip.bvh", "kdae", "fear", {"fear": 0.9, "joy": 0.1}, "The head is bowed.", findings=("short: 3 frames",))
    assert answer.text() == "clip.bvh: fear (90.0%; joy 10.0%)\nThe head is bowed.\nnote: short: 3 frames"
    assert Answer("clip.bvh", "kdae", "fear", {"fear": 1.0}, None).text().endswith(NO_EXPLANATION)


def test_what_the_movement_contradicts_is_said():
    text = "The movement is slow. The head is bowed."
    claims = (JudgedClaim(Claim("speed", -1, span=(0, 20)), "contradicted", "directional"), JudgedClaim(Claim("speed", 1), "supported"))
    answer = Answer("clip.bvh", "kdae", "fear", {"fear": 1.0}, text, claims)
    assert answer.text().splitlines()[-1] == "note: the movement contradicts 'The movement is slow'"


def test_an_answer_survives_json():
    claim = Claim("head pitch", 1, moment="end", span=(0, 1))
    answer = Answer("clip.bvh", "kdae", "fear", {"fear": 0.9, "joy": 0.1}, "x", (JudgedClaim(claim, "contradicted", "temporal"),))
    values = json.loads(json.dumps(answer.to_dict()))
    assert values["probability"] == 0.9
    (judged,) = values["claims"]
    assert (judged["claim"]["part"], judged["verdict"], judged["kind"]) == ("head", "contradicted", "temporal")
    assert TypeAdapter(Answer).validate_python(values) == answer


def test_answers_need_no_torch():
    code = "import sys, emotion_llm.inference.answer; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
