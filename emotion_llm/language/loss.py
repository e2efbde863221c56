"""The loss: log-likelihoods of answer tokens from the decoder's hidden states.

hidden states (A, D) where an answer token is predicted, the output head, token ids (A,)  ->  log-likelihoods (A,)

`torch.nn.functional.linear_cross_entropy` computes the same, but returns a loss per token only in the precision of the weights: with bf16
weights the error of a log-likelihood was 0.027 on average instead of 0.010 (128 states of width 256, 32,000 tokens), too much for
comparing labels. Its chunked form with `reduction="none"` also took 1.4 to 1.6 times as long (fp32, one thread, interleaved; 91 ms, 2,203 ms and
770 ms against 67, 1,368 and 491 ms for 128 x 256 x 32,000, 832 x 576 x 49,152 and 64 x 4,096 x 32,000).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PretrainedConfig

LOGITS_PER_CHUNK = 1 << 26
"""256 MiB in fp32 (our choice). More logits than this are computed in chunks, and again in the backward pass instead of being stored."""


def token_log_likelihoods(hidden_states: Tensor, head: nn.Module, token_ids: Tensor, logit_scale: float = 1.0) -> Tensor:
    """Log-likelihood of each token under the output head, computed in fp32 whatever the precision of the weights.

    Shape:
        hidden_states (A, D), token_ids (A,) -> (A,) float32
    """

    def of_chunk(states: Tensor, ids: Tensor) -> Tensor:
        logits = head(states).float()  # (chunk, vocabulary)
        if logit_scale != 1:
            logits = logits * logit_scale
        return -nn.functional.cross_entropy(logits, ids, reduction="none")

    chunk = max(1, LOGITS_PER_CHUNK // len(head.get_parameter("weight")))
    if len(token_ids) <= chunk:
        return of_chunk(hidden_states, token_ids)
    chunks = zip(hidden_states.split(chunk), token_ids.split(chunk), strict=True)
    return torch.cat([checkpoint(of_chunk, states, ids, use_reentrant=False) for states, ids in chunks])


def logit_scale(config: PretrainedConfig) -> float:
    """The factor that an LLM applies to its head's output: Cohere and HyperCLOVA X multiply, Granite divides; 1 for most."""
    scale = getattr(config, "logit_scale", None) or 1.0
    scaling = getattr(config, "logits_scaling", None) or 1.0
    return scale * scaling if config.model_type.startswith("hyperclovax") else scale / scaling
