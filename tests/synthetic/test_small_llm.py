"""The demo's LLM is taught the words that it will be asked for: an adapter of rank 8 cannot teach it to spell new ones."""

import numpy as np

from emotion_llm.corpus.definition import known_definitions, read_definition
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.synthetic.emotions import EMOTIONS
from emotion_llm.synthetic.small_llm import Code, _conversation, build_text_tokenizer
from launch import get_llm


def test_it_learns_every_label_of_the_corpora_that_ship(tmp_path, monkeypatch):
    taught = []
    monkeypatch.setattr(get_llm, "build_small_llm", lambda emotions, folder, steps, seed: taught.extend(emotions) or folder.mkdir())
    get_llm.get_llm(get_llm.GetLlmSettings(llm="demo", output=tmp_path / "llm"))
    assert {"lack of confidence", "exhausted", *EMOTIONS} < set(taught)
    assert len(taught) == len({word for name in known_definitions() for word in read_definition(name).emotions})


def test_its_conversations_answer_and_explain_all_of_these_words():
    words = ("calm", "lack of confidence", "youthful")
    prompts = PromptWriter(build_text_tokenizer([*words] * 3))
    rng, said = np.random.default_rng(0), {True: "", False: ""}
    for number in range(40):
        recognition = number % 2 == 0
        (answer,) = _conversation(prompts, Code(words), rng, recognition).answers
        said[recognition] += prompts.text_tokenizer.decode(answer)
    for word in words:
        assert word in said[True] and word in said[False]
    assert not any(word in said[True] for word in EMOTIONS)
