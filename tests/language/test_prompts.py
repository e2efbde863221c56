"""The skeleton tokens stand where the template puts the user's content."""

import pytest

from emotion_llm.language import prompts
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.runtime.errors import UserError
from tests.helpers.families import CHATML, INST, small_text_tokenizer


@pytest.mark.parametrize("template", [CHATML, INST, None], ids=["chatml", "inst", "no template"])
def test_before_and_after_are_the_templates_own_conversation(template):
    text_tokenizer = small_text_tokenizer(template)
    prompt = PromptWriter(text_tokenizer).recognition()
    text = text_tokenizer.decode(prompt.before) + "<motion>" + text_tokenizer.decode(prompt.after)
    assert "Which emotion does the body movement express?\n<motion>" in text
    if template is None:
        assert text.endswith("<motion>\nAnswer:\n")
    else:
        content = "You see the skeleton tokens of a person's 3D body movement.\nWhich emotion does the body movement express?\n<motion>"
        conversation = [{"role": "user", "content": content}]
        assert text == text_tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True, enable_thinking=False)


def test_every_motion_of_a_stage_shares_the_prefix():
    writer = PromptWriter(small_text_tokenizer())
    assert writer.description("anger").before == writer.description("joy").before
    assert writer.description("anger").after != writer.description("joy").after


def test_words_about_the_movement_stand_where_its_tokens_end():
    writer = PromptWriter(small_text_tokenizer())
    plain, told = writer.description("anger"), writer.description("anger", "speed 93")
    assert told.before == plain.before
    assert writer.text_tokenizer.decode(told.after) == "speed 93" + writer.text_tokenizer.decode(plain.after)
    assert writer.text_tokenizer.decode(writer.recognition("speed 93").after).startswith("speed 93")


def test_an_answer_ends_the_turn_and_reads_back():
    writer = PromptWriter(small_text_tokenizer())
    answer = writer.answer("panic fear")
    assert answer[-1] == writer.text_tokenizer.eos_token_id
    assert writer.decode(list(answer)) == "panic fear"


def test_a_template_that_loses_the_users_words_is_refused():
    with pytest.raises(UserError, match="contains the user's message 0 times, not once"):
        PromptWriter(small_text_tokenizer("{% for m in messages %}{{ m['role'] }}{% endfor %}"))


def test_a_text_tokenizer_without_an_end_is_refused():
    text_tokenizer = small_text_tokenizer()
    text_tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end-of-sequence token"):
        PromptWriter(text_tokenizer)


@pytest.mark.parametrize(
    ("template", "seconds", "message"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", 4, "it takes more than 4 s"),
        ("{{ 'x' * 10**11 }}", 60, "MemoryError"),
    ],
)
def test_a_template_cannot_take_endless_time_or_memory(template, seconds, message, monkeypatch):
    monkeypatch.setattr(prompts, "RENDERING_SECONDS", seconds)
    with pytest.raises(UserError, match=rf"its chat template cannot be used \({message}\); choose another LLM"):
        PromptWriter(small_text_tokenizer(template))
