"""EAI-LLM: names the emotion that a 3D body movement expresses and explains why.

The code reads in the order the data moves:

motion file -> corpus -> skeleton encoder -> skeleton tokenizer (MGST) -> unified skeleton tokens (UST) -> LLM -> answer

Letters of shapes:
    N samples (motions, windows)          T frames            T' feature frames, ceil(T / 4)
    C channels                            V joints            R rows of a batch: every joint of every motion
    K adjacency subsets                   G channel groups    E emotions
    S skeleton tokens, 1 + V + T'         L LLM positions     A answer tokens
    D width of the LLM or text encoder    Q kinematic descriptors
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from emotion_llm.runtime.imports import collection_paused

if TYPE_CHECKING:
    from emotion_llm.inference.answer import Answer, Unread
    from emotion_llm.inference.timeline import Timeline
    from emotion_llm.inference.trained_model import TrainedModel, load

__all__ = ["Answer", "Timeline", "TrainedModel", "Unread", "load"]
_HOMES = {
    "Answer": "emotion_llm.inference.answer",
    "Timeline": "emotion_llm.inference.timeline",
    "TrainedModel": "emotion_llm.inference.trained_model",
    "Unread": "emotion_llm.inference.answer",
    "load": "emotion_llm.inference.trained_model",
}


def __getattr__(name: str) -> Any:
    """The public interface, imported when it is first used: `import emotion_llm` takes milliseconds and loads no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'emotion_llm' has no attribute {name!r}")
    with collection_paused():
        return getattr(import_module(_HOMES[name]), name)
