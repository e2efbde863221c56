"""Questions and answers, as the LLM's own chat template wants them.

a stage's question, an emotion  ->  Prompt: the text tokens before and after the skeleton tokens

The conversation is always laid out as

    [template head, instruction, question] [skeleton tokens] [what is known, template tail] [answer, end of turn]
     `before`, the same for all motions                       `after`

The instruction and the question stand first, so they are the same for every motion of a batch and are computed once.
The wording is ours: the paper's prompts are not public.
"""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from emotion_llm.runtime.errors import UserError

INSTRUCTION = "You see the skeleton tokens of a person's 3D body movement."
RECOGNITION_QUESTION = "Which emotion does the body movement express?"
DESCRIPTION_QUESTION = "Explain which movements of the body express the emotion."
SKELETON_MARK = "<<SKELETON>>"
"""Stands in the rendered template where the skeleton tokens go; never reaches the LLM."""

KNOWN_EMOTION = "\nThe emotion is {emotion}."


@dataclass(frozen=True)
class Prompt:
    """What surrounds the skeleton tokens, in text tokens."""

    before: tuple[int, ...]
    after: tuple[int, ...]


class PromptWriter:
    """Writes the prompts and answers of both stages with one LLM's text tokenizer and chat template."""

    def __init__(self, text_tokenizer: PreTrainedTokenizerBase) -> None:
        if text_tokenizer.eos_token_id is None:
            raise UserError(f"{text_tokenizer.name_or_path}: the text tokenizer has no end-of-sequence token; choose an LLM that has one")
        self.text_tokenizer = text_tokenizer
        self._prompts: dict[tuple[str, str], Prompt] = {}

    @property
    def texts(self) -> dict[str, str]:
        """Everything that determines the prompts. (Not the rendered text: some chat templates insert the current date.)"""
        return {
            "instruction": INSTRUCTION,
            "recognition": RECOGNITION_QUESTION,
            "description": DESCRIPTION_QUESTION + KNOWN_EMOTION,
            "chat_template": str(self.text_tokenizer.chat_template or ""),
        }

    def recognition(self) -> Prompt:
        """The prompt whose answer is an emotion."""
        return self._prompt(RECOGNITION_QUESTION, known="")

    def description(self, emotion: str) -> Prompt:
        """The prompt whose answer explains an emotion already named: descriptions rest on the classification (paper, abstract)."""
        return self._prompt(DESCRIPTION_QUESTION, known=KNOWN_EMOTION.format(emotion=emotion))

    def answer(self, text: str) -> tuple[int, ...]:
        """The text tokens of an answer, the end of the turn included."""
        return (*self._encode(text), self.text_tokenizer.eos_token_id)

    def decode(self, token_ids: list[int]) -> str:
        """Text tokens back to words, without special tokens."""
        return self.text_tokenizer.decode(token_ids, skip_special_tokens=True).strip()

    def _encode(self, text: str) -> list[int]:
        return self.text_tokenizer.encode(text, add_special_tokens=False)

    def _prompt(self, question: str, known: str) -> Prompt:
        if (question, known) not in self._prompts:
            content = f"{INSTRUCTION}\n{question}\n{SKELETON_MARK}{known}"
            before, after = self._render(content).split(SKELETON_MARK)
            self._prompts[question, known] = Prompt(tuple(self._encode(before)), tuple(self._encode(after)))
        return self._prompts[question, known]

    def _render(self, content: str) -> str:
        """The whole conversation up to the answer, as text."""
        if self.text_tokenizer.chat_template is None:  # a base model such as LLaMA 1: a plain question and answer (our choice)
            return f"{self.text_tokenizer.bos_token or ''}{content}\nAnswer:\n"
        try:
            rendered = self.text_tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,  # Qwen 3 and SmolLM 3 would otherwise open a chain of thought; other templates ignore it
            )
        except (TemplateError, OverflowError, TypeError) as error:  # it runs in jinja2's sandbox, which refuses what could do harm
            raise UserError(f"{self.text_tokenizer.name_or_path}: its chat template cannot be used ({error}); choose another LLM") from None
        if rendered.count(SKELETON_MARK) != 1:
            raise UserError(
                f"{self.text_tokenizer.name_or_path}: its chat template shows the user's words {rendered.count(SKELETON_MARK)} times, "
                "not once, so the skeleton tokens have no place; choose another LLM or mend its chat template"
            )
        return rendered
