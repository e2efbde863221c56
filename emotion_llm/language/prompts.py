"""Questions and answers in the format of the LLM's own chat template.

a stage's question, an emotion  ->  Prompt: the text tokens before and after the skeleton tokens

The conversation is always laid out as

    [template head, instruction, question] [skeleton tokens] [what is known, template tail] [answer, end of turn]
     `before`, the same for all motions                       `after`

The instruction and the question come first: they are the same for every motion of a batch and are computed once.
The wording is ours: the paper's prompts are not public.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from emotion_llm.runtime.errors import UserError

INSTRUCTION = "You see the skeleton tokens of a person's 3D body movement."
RECOGNITION_QUESTION = "Which emotion does the body movement express?"
DESCRIPTION_QUESTION = "Explain which movements of the body express the emotion."
KNOWN_EMOTION = "\nThe emotion is {emotion}."
SKELETON_MARK = "<<SKELETON>>"
"""Marks the place of the user's content in the rendered template; never reaches the LLM."""
RENDERING_SECONDS, RENDERING_BYTES = 60, 4 << 30
"""Time and memory that a chat template may take. An ordinary one takes a millisecond; starting its process takes a second or two."""
_RENDER = """
import json, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
except (ImportError, ValueError, OSError):
    pass  # no such limit on this system
from transformers.utils.chat_template_utils import render_jinja_template
arguments = json.load(sys.stdin)
try:
    result = {"text": render_jinja_template(**arguments)[0][0]}
except Exception as error:
    result = {"error": str(error) or type(error).__name__}
json.dump(result, sys.stdout)
"""


@dataclass(frozen=True)
class Prompt:
    """The text tokens before and after the skeleton tokens."""

    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class PromptTexts:
    """Everything that determines the prompts of a run; its checkpoints hold it."""

    instruction: str
    recognition: str
    description: str
    chat_template: str
    head: str
    """What the chat template puts before the user's content; what it puts behind it, up to the answer, is the tail."""
    tail: str


class PromptWriter:
    """Writes the prompts and answers of both stages with one LLM's text tokenizer and chat template."""

    def __init__(self, text_tokenizer: PreTrainedTokenizerBase, rendered: tuple[str, str] | None = None) -> None:
        """
        Args:
            rendered: head and tail that a run was started with. Its template is not rendered again: some insert the current date.

        Raises:
            UserError: no end-of-sequence token, or a chat template that cannot be used.
        """
        if text_tokenizer.eos_token_id is None:
            raise UserError(f"{text_tokenizer.name_or_path}: the text tokenizer has no end-of-sequence token; choose an LLM that has one")
        self.text_tokenizer = text_tokenizer
        self._head, self._tail = rendered or _template_around_content(text_tokenizer)
        self._prompts: dict[tuple[str, str], Prompt] = {}

    @property
    def texts(self) -> PromptTexts:
        """What the prompts are made of."""
        template = str(self.text_tokenizer.chat_template or "")
        return PromptTexts(INSTRUCTION, RECOGNITION_QUESTION, DESCRIPTION_QUESTION + KNOWN_EMOTION, template, self._head, self._tail)

    def recognition(self, words: str = "") -> Prompt:
        """The prompt whose answer is an emotion.

        Args:
            words: what is said of the movement behind its skeleton tokens (`MotionFeatures.words`).
        """
        return self._prompt(RECOGNITION_QUESTION, known=words)

    def description(self, emotion: str, words: str = "") -> Prompt:
        """The prompt whose answer explains a given emotion: descriptions build on the classification (paper, abstract)."""
        return self._prompt(DESCRIPTION_QUESTION, known=words + KNOWN_EMOTION.format(emotion=emotion))

    def answer(self, text: str) -> tuple[int, ...]:
        """The text tokens of an answer, including the end of the turn."""
        return (*self._encode(text), self.text_tokenizer.eos_token_id)

    def decode(self, token_ids: list[int]) -> str:
        """The text of tokens, without special tokens."""
        return str(self.text_tokenizer.decode(token_ids, skip_special_tokens=True)).strip()

    def _encode(self, text: str) -> list[int]:
        return self.text_tokenizer.encode(text, add_special_tokens=False)

    def _prompt(self, question: str, known: str) -> Prompt:
        if (question, known) not in self._prompts:
            before, after = f"{self._head}{INSTRUCTION}\n{question}\n", f"{known}{self._tail}"
            self._prompts[question, known] = Prompt(tuple(self._encode(before)), tuple(self._encode(after)))
        return self._prompts[question, known]


def _template_around_content(text_tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """The text that the chat template puts before and after the user's content, up to the answer.

    Raises:
        UserError: the template fails, takes too long, or does not contain the content exactly once.
    """
    if text_tokenizer.chat_template is None:  # a base model such as LLaMA 1: a plain question and answer (our choice)
        return str(text_tokenizer.bos_token or ""), "\nAnswer:\n"
    name = text_tokenizer.name_or_path
    try:
        template = text_tokenizer.get_chat_template()
    except ValueError as error:  # several named templates, none of them the default
        raise UserError(f"{name}: its chat template cannot be used ({error}); choose another LLM") from None
    rendered = _render_in_own_process(json.dumps({
        "conversations": [[{"role": "user", "content": SKELETON_MARK}]],
        "chat_template": template,
        "add_generation_prompt": True,
        "enable_thinking": False,  # Qwen 3 and SmolLM 3 would otherwise open a chain of thought; other templates ignore it
        **{token: str(value) for token, value in text_tokenizer.special_tokens_map.items()},
    }))  # fmt: skip
    if "error" in rendered:
        raise UserError(f"{name}: its chat template cannot be used ({rendered['error']}); choose another LLM")
    parts = rendered["text"].split(SKELETON_MARK)
    if len(parts) != 2:
        raise UserError(
            f"{name}: its chat template contains the user's message {len(parts) - 1} times, not once, so the skeleton tokens have no place; "
            "choose another LLM or fix its chat template"
        )
    return parts[0], parts[1]


@lru_cache
def _render_in_own_process(arguments: str) -> dict[str, str]:
    """Renders with transformers, in jinja's sandbox and in a process of its own: the sandbox does not limit time or memory."""
    command = [sys.executable, "-c", _RENDER, str(RENDERING_BYTES)]
    try:
        done = subprocess.run(command, input=arguments, capture_output=True, text=True, timeout=RENDERING_SECONDS, encoding="utf-8")
        return dict(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return {"error": f"it takes more than {RENDERING_SECONDS} s"}
    except ValueError:  # killed before it could answer
        return {"error": (done.stderr.strip().splitlines() or [f"its process ended with status {done.returncode}"])[-1]}
