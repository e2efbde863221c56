"""Explanations in words, given the recognised emotion.

motion features, emotion  ->  explain: the text that the model finds likeliest
the same, Standing        ->  explain_verified: the best supported of several, without what the movement contradicts (ours)

Of whatever the model writes, a clause that says nothing new is left out (ours): small LLMs do not always know what they have said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerBase, TextStreamer

from emotion_llm.grounding.clauses import said_once
from emotion_llm.grounding.judge import Standing
from emotion_llm.grounding.selection import best_supported
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import Example
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.skeleton_tokens.unified import MotionFeatures

MOTIONS_PER_BATCH = 16
MAX_NEW_TOKENS = 96
"""Longest explanation, in text tokens."""
SEED = 0
CANDIDATES = 8
"""Explanations to choose from, among them the likeliest one (our choice)."""


def explain(
    model: EmotionLLM,
    prompts: PromptWriter,
    motions: Sequence[MotionFeatures],
    emotions: Sequence[str],
    on_text: Callable[[str], None] | None = None,
) -> list[str]:
    """Greedy explanations of N motions, each given its emotion.

    Args:
        on_text: receives the text piece by piece while it is written; for one motion.
    """
    examples = [
        Example(prompts.description(emotion, motion.words), motion, answers=()) for motion, emotion in zip(motions, emotions, strict=True)
    ]
    texts: list[str] = []
    streamer = None if on_text is None else TextPieces(prompts.text_tokenizer, on_text)
    with model.evaluating():
        for start in range(0, len(examples), MOTIONS_PER_BATCH):
            batch = examples[start : start + MOTIONS_PER_BATCH]
            texts += [said_once(prompts.decode(tokens)) for tokens in model.generate(batch, MAX_NEW_TOKENS, streamer)]
    return texts


def explain_verified(
    model: EmotionLLM,
    prompts: PromptWriter,
    motion: MotionFeatures,
    emotion: str,
    movement: Standing,
    greedy: str,
    candidates: int = CANDIDATES,
) -> str:
    """The explanation of one motion that its movement supports best: the greedy one, or one of `candidates` - 1 sampled beside it.

    No claim that the movement contradicts is left in it. The judge that chooses is also the metric's, so its figures for these texts are
    a bound, not evidence.
    """
    sampled = sample_explanations(model, prompts, motion, emotion, candidates - 1, SEED) if candidates > 1 else []
    return best_supported([greedy, *sampled], movement, emotion)


def sample_explanations(
    model: EmotionLLM, prompts: PromptWriter, motion: MotionFeatures, emotion: str, candidates: int, seed: int
) -> list[str]:
    """Random explanations of one motion, given its emotion, in one batch."""
    example = Example(prompts.description(emotion, motion.words), motion, answers=())
    with model.evaluating():
        sampled = model.sample(example, MAX_NEW_TOKENS, candidates, seed)
    return [said_once(prompts.decode(tokens)) for tokens in sampled]


class TextPieces(TextStreamer):
    """Hands generated text on, clause by clause, as soon as it is known that a clause says something new."""

    def __init__(self, text_tokenizer: PreTrainedTokenizerBase, on_text: Callable[[str], None]) -> None:
        super().__init__(text_tokenizer, skip_special_tokens=True)
        self._on_text, self._written, self._told = on_text, "", ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self._written += text
        told = said_once(self._written, finished=stream_end)
        if told.startswith(self._told):
            if told != self._told:
                self._on_text(told[len(self._told) :])
            self._told = told
        elif stream_end:  # the end has changed what the beginning says ("..., in the second half")
            self._on_text(f"\n{told}")
