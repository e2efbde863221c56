"""Explanations from an engine that accepts prompt embeddings, such as vLLM.

TrainedModel, recording, emotion  ->  prompt embeddings (L, D)  ->  OpenAI-style completions API  ->  text

    python launch/export.py exported --run runs/description        # merged: LoRA together with prompt embeddings is an open bug of vLLM
    vllm serve exported/llm --enable-prompt-embeds --runner generate

    model = emotion_llm.load("exported")
    embeddings = prompt_embeddings(model, model.open("clip.bvh"), "anger")
    text = ask_engine("http://localhost:8000/v1", "exported/llm", embeddings)

**What differs.** Such engines number the rows of a prompt 0, 1, 2, ... The model was trained with slots as positions (unified skeleton
tokens), so a motion with fewer joints or frames than there are slots leaves gaps that the engine closes. The engine therefore gives what
transformers' `generate(inputs_embeds=...)` gives without position ids, not what `TrainedModel.read` gives: of twelve clips of the demo's small
LLM, none got the same explanation. Until a model is trained with closed-up positions, use an engine for experiments only, and let this
package name the emotions.
"""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request

import torch
from torch import Tensor

from emotion_llm.grounding.clauses import said_once
from emotion_llm.inference.recordings import Recording
from emotion_llm.inference.trained_model import TrainedModel
from emotion_llm.language.explaining import MAX_NEW_TOKENS
from emotion_llm.language.packed import Example
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_tokens.unified import whole_motion

SECONDS = 300
"""Longest wait for an answer."""


@torch.inference_mode()
def prompt_embeddings(model: TrainedModel, recording: Recording, emotion: str) -> Tensor:
    """The prompt that asks to explain an emotion, embedded: text and skeleton tokens of the recording.

    Shape:
        (L, D) in the LLM's dtype, on the CPU
    """
    (windows,) = model.encode([recording])
    example = Example(model.prompts.description(emotion), whole_motion(windows), answers=())
    return model.model.generation_inputs([example])["inputs_embeds"][0].cpu()


def ask_engine(url: str, name: str, embeddings: Tensor, max_new_tokens: int = MAX_NEW_TOKENS) -> str:
    """The engine's greedy answer.

    Args:
        url: of its API, such as http://localhost:8000/v1.
        name: under which it serves the model.

    Raises:
        UserError: it cannot be reached, or refuses the request.
    """
    saved = io.BytesIO()
    torch.save(embeddings, saved)
    encoded = base64.b64encode(saved.getvalue()).decode("ascii")
    body = {"model": name, "prompt": "", "prompt_embeds": encoded, "max_tokens": max_new_tokens, "temperature": 0}
    request = urllib.request.Request(f"{url.rstrip('/')}/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return said_once(str(json.load(response)["choices"][0]["text"]).strip())
    except urllib.error.HTTPError as error:
        reason = error.read(500).decode("utf-8", "replace")
        raise UserError(f"{url}: refuses the request ({error.code}: {reason}); was it started with --enable-prompt-embeds?") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{url}: no answer ({error}); does an engine listen there?") from None
