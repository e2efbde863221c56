"""Alignment of motion with language: contrastive learning against text embeddings of the emotions.

emotions                   ->  frozen text embeddings (E, D), computed once
semantic features (N, C)   ->  similarity to every emotion's text (N, E), for the contrastive term of pre-training

The paper aligns skeletons with a CLIP text encoder by contrastive learning (public summaries); prompts, temperature and
weight are our choice.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotion_llm.runtime.errors import UserError

PROMPTS = ("a person expressing {emotion} with the body", "a body movement that shows {emotion}")
"""Texts of an emotion; their embeddings are averaged (our choice)."""
RANDOM_CLIP = "random-clip"
"""Instead of a model's name: a small CLIP text model with fixed random weights, for machines without access to the model hub."""


class TextAlignment(nn.Module):
    """Projects motions into the space of frozen text embeddings (InfoNCE against one text per emotion).

    The candidates of a motion are the emotions of its own corpus, so two motions of one emotion are never each other's negatives,
    and the loss does not depend on how a batch is divided among processes.

    Shape:
        semantic (N, C), candidates (N, E) bool  ->  similarity / temperature (N, E), -inf where not a candidate
    """

    text_embeddings: Tensor

    def __init__(self, width: int, text_embeddings: Tensor, temperature: float) -> None:
        super().__init__()
        self.register_buffer("text_embeddings", text_embeddings)  # (E, D), unit length
        self.project = nn.Linear(width, text_embeddings.shape[1])
        self.temperature = temperature

    def forward(self, semantic: Tensor, candidates: Tensor) -> Tensor:
        embedding = F.normalize(self.project(semantic), dim=1)  # (N, D)
        return (embedding @ self.text_embeddings.T / self.temperature).masked_fill(~candidates, -torch.inf)  # (N, E)


@torch.no_grad()
def embed_emotions(text_encoder: str, emotions: Sequence[str]) -> Tensor:
    """Unit embeddings of the emotions by a frozen text encoder. Code that comes with the model is never executed.

    Args:
        text_encoder: Hugging Face name or folder of a CLIP model or of any causal LM, or RANDOM_CLIP.

    Shape:
        E emotions  ->  (E, D) float32

    Raises:
        UserError: there is no such model, it lacks safetensors or a text tokenizer, or the model hub cannot be reached.
    """
    texts = [prompt.format(emotion=emotion) for emotion in emotions for prompt in PROMPTS]
    embeddings = _random_clip(texts) if text_encoder == RANDOM_CLIP else _pretrained(text_encoder, texts)  # (E * prompts, D)
    mean = F.normalize(embeddings.float(), dim=1).unflatten(0, (len(emotions), len(PROMPTS))).mean(1)
    return F.normalize(mean, dim=1)  # (E, D)


def _pretrained(name: str, texts: list[str]) -> Tensor:
    from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPTextModelWithProjection

    if name.startswith((".", "/", "models/")) and not (Path(name) / "config.json").is_file():
        raise UserError(f"{name}: no Hugging Face model in this folder (config.json is missing); give another --text-encoder")
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        text_tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        is_clip = config.model_type in ("clip", "clip_text_model")
        model_class = CLIPTextModelWithProjection if is_clip else AutoModel
        model = model_class.from_pretrained(name, use_safetensors=True, trust_remote_code=False).eval()
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"text encoder {name}: cannot be loaded ({reason}); connect to the model hub, or give --text-encoder the folder of a CLIP "
            f"model or a causal LM with model.safetensors and a tokenizer, or choose --text-encoder {RANDOM_CLIP} or --contrastive-weight 0"
        ) from None
    if is_clip:
        return model(**text_tokenizer(texts, padding=True, return_tensors="pt")).text_embeds
    # A causal LM has no embedding of a text: its last hidden states are averaged. One text at a time needs no padding.
    return torch.cat([model(**text_tokenizer(text, return_tensors="pt")).last_hidden_state.mean(1) for text in texts])


def _random_clip(texts: list[str]) -> Tensor:
    """Embeddings of word tokens by a CLIP text model with fixed random weights, the same in every run."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    words = sorted({word for text in texts for word in text.split()})
    end = len(words)  # CLIP takes a text's embedding at its end token
    config = CLIPTextConfig(
        vocab_size=end + 1, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, projection_dim=64,
        max_position_embeddings=64, bos_token_id=end, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPTextModelWithProjection(config).eval()
    ids = [torch.tensor([[words.index(word) for word in text.split()] + [end]]) for text in texts]
    return torch.cat([model(input_ids=row).text_embeds for row in ids])
