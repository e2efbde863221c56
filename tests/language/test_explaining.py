"""A streamed explanation is the explanation, and never shows a clause that is left out of it."""

import random
import re

import pytest

from emotion_llm.grounding.clauses import said_once
from emotion_llm.language import explaining
from emotion_llm.language.explaining import TextPieces

TEXTS = (
    "The head is bowed, the arms are open, and the head is clearly bowed. The knees are bent and the arms are open, which reads as fear.",
    "The head is bowed and in this clip the head is bowed. The arms are open, the arms are spread wide, the knees are bent.",
)


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_add_up_to_the_text_that_says_nothing_twice(text):
    assert len(said_once(text)) < len(text)
    for seed in range(50):
        rng, pieces = random.Random(seed), []
        streamer = TextPieces(None, pieces.append)
        words = re.findall(r"\S+\s*", text)  # as transformers hands them on
        while words:
            some = rng.randint(1, 4)
            streamer.on_finalized_text("".join(words[:some]), stream_end=len(words) <= some)
            words = words[some:]
        assert "".join(pieces) == said_once(text)
        assert len(pieces) > 2


def test_a_beginning_that_its_end_changes_is_told_again(monkeypatch):
    pieces = []
    monkeypatch.setattr(explaining, "said_once", lambda text, finished: "Changed." if finished else text)
    streamer = TextPieces(None, pieces.append)
    streamer.on_finalized_text("The arms ")
    streamer.on_finalized_text("are open.", stream_end=True)
    assert pieces == ["The arms ", "\nChanged."]
