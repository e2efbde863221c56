"""Checks that an LLM's architecture treats the examples of a packed row as separate sequences, before it is trained or used.

LLM configuration  ->  a small random model of the same architecture  ->  nothing, or a UserError that names the architecture

Some architectures do not pass the row to their attention, or mix tokens outside attention (convolutions, state spaces, linear attention,
recurrences): they would train, without an error, on answers that see each other. The checked model has the same code, layer types and
kinds of attention, but few layers, heads and experts, narrow matrices and fp32 weights: an error is far above rounding, and the check
takes about a second for any LLM.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig

from emotion_llm.language.model import GENERATION_ATTENTION, EmotionLLM
from emotion_llm.language.packed import PACKED_ATTENTION, Example, pack
from emotion_llm.language.prompts import Prompt
from emotion_llm.runtime.errors import UserError
from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import MotionFeatures, Slots

CHANNELS, SLOTS, VOCABULARY = 4, Slots(spatial=4, temporal=3), 32
TOLERANCE = 1e-3
"""Largest difference of a log-likelihood, and of a gradient relative to its largest entry: rounding gives about 1e-5, a leak 1e-1."""
SMALLEST_SCALE = 1e-3
"""Gradients smaller than this share of the largest one are compared with that: the gradient of OPT's key biases, for one, is zero."""
LARGEST = 300_000_000
"""Weights of the model that is checked, at most (1.2 GB)."""
CAPS = ("final_logit_softcapping", "attn_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Fields of a configuration that squash logits or attention scores by a tanh, which packed rows do not support."""
MIXERS = {"linear_attention", "conv", "hybrid", "hybrid_sliding"}
"""Types of layers in a configuration (transformers' names) with a recurrence or a convolution over tokens."""
NARROW = ("intermediate_size", "intermediate_size_mlp", "moe_intermediate_size", "shared_expert_intermediate_size", "n_inner")
"""Fields of a configuration with a width that no other field depends on."""
EXPERTS, FEW_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 8
"""Fields with a number of experts, and how many are enough."""
_verdicts: dict[str, str | None] = {}
"""Configuration -> problem, of those checked so far."""


def check_packing(config: PreTrainedConfig) -> None:
    """
    Raises:
        UserError: the architecture is not supported: a packed row gives other likelihoods or gradients than separate sequences.
    """
    key = config.to_json_string(use_diff=False)
    if key not in _verdicts:
        _verdicts[key] = _find_problem(config)
    if (problem := _verdicts[key]) is not None:
        raise UserError(f"--llm: the architecture '{config.model_type}' is not supported: {problem}; choose another LLM, such as a Llama")


def _find_problem(config: PreTrainedConfig) -> str | None:
    text = config.get_text_config(decoder=True)
    for cap in CAPS:
        if getattr(text, cap, None) is not None:
            return f"it caps its logits or attention scores ({cap} in config.json)"
    if mixers := sorted(MIXERS & set(getattr(text, "layer_types", None) or [])):
        return f"it mixes tokens outside attention (layers of type {mixers[0]} in config.json)"
    try:
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
            difference = _largest_difference(_small_model(_small_config(config)))
    except UserError as error:
        return str(error).removeprefix("--llm: ").split(";")[0]
    except Exception as error:  # architectures fail in as many ways as there are
        reason = (str(error).strip() or "no message").splitlines()[0]
        return f"it cannot read a packed row ({type(error).__name__}: {reason:.150})"
    if difference <= TOLERANCE:
        return None
    return f"a packed row gives other likelihoods or gradients than separate sequences (difference {difference:.1g})"


def _small_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """The same architecture with every type of layer, but few layers and words, and with smaller matrices."""
    small = deepcopy(config)
    text = small.get_text_config(decoder=True)
    for part in {id(part): part for part in (small, text)}.values():
        part.pad_token_id = part.bos_token_id = part.eos_token_id = 0  # of the small vocabulary; some configurations refuse None
    text.vocab_size = VOCABULARY
    total = text.num_hidden_layers
    types = list(getattr(text, "layer_types", None) or [])
    last_new_type = max((types.index(kind) for kind in types), default=0)
    layers = min(total, max(4, last_new_type + 1, (getattr(text, "first_k_dense_replace", None) or 0) + 1))
    text.num_hidden_layers = layers
    for name, value in vars(text).items():
        if isinstance(value, list) and len(value) == total > layers:  # a value per layer
            setattr(text, name, value[:layers])
    for part in vars(small).values():
        if isinstance(part, PreTrainedConfig) and part is not text and hasattr(part, "num_hidden_layers"):
            part.num_hidden_layers = 1  # a vision or audio tower, which is not used
    if hasattr(small, "quantization_config"):
        del small.quantization_config
    heads, key_heads = text.num_attention_heads, getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    few_key_heads = min(key_heads, 2)
    few_heads = min(heads // key_heads, 2) * few_key_heads
    text.hidden_size = text.hidden_size // heads * few_heads
    text.num_attention_heads = few_heads
    if getattr(text, "num_key_value_heads", None):
        text.num_key_value_heads = few_key_heads
    for name in NARROW:
        if getattr(text, name, None):
            setattr(text, name, min(getattr(text, name), 64))
    for name in EXPERTS if (getattr(text, "n_group", None) or 1) == 1 else ():  # groups of experts have their own sizes
        if isinstance(experts := getattr(text, name, None), int):
            setattr(text, name, min(experts, max(FEW_EXPERTS, getattr(text, "num_experts_per_tok", None) or 0)))
    return small


def _small_model(config: PreTrainedConfig) -> EmotionLLM:
    """A model with random weights, all of them trainable."""
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(deepcopy(config), dtype=torch.float32, trust_remote_code=False)
    if (weights := sum(weight.numel() for weight in skeleton.parameters())) > LARGEST:
        raise ValueError(f"{weights:,} weights in a few layers are too many to check")
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=PACKED_ATTENTION, trust_remote_code=False)
    with torch.no_grad():
        for weight in llm.parameters():
            if weight.dim() > 1:
                weight.normal_(std=weight.shape[-1] ** -0.5)
            else:
                weight.add_(torch.randn_like(weight), alpha=0.1)  # norms, biases, attention sinks
    width = llm.get_input_embeddings().weight.shape[1]
    return EmotionLLM(llm, SkeletonTokenizer(CHANNELS, width, 1.0), SLOTS).eval()


def _largest_difference(model: EmotionLLM) -> float:
    """Between two motions with two answers each in one row, and four sequences through transformers' own forward pass."""
    after, answers = (5, 6), ((7, 8, 9), (10, 11))
    examples = [
        Example(Prompt((1, 2, 3, 4), after), MotionFeatures(torch.randn(1 + joints + time_steps, CHANNELS), joints, time_steps), answers)
        for joints, time_steps in ((4, 1), (2, 3))
    ]
    packed = [*_values_and_gradients(model, model.answer_log_likelihoods(pack(examples, SLOTS)))]
    model.base_llm.set_attn_implementation(GENERATION_ATTENTION)  # raises where generation could not work
    model.base_llm.set_attn_implementation("eager")
    likelihoods = [_separate_log_likelihood(model, example, answer) for example in examples for answer in answers]
    separate = [*_values_and_gradients(model, torch.stack(likelihoods))]
    sizes = torch.stack([gradient.abs().max() for gradient in separate[1:]])
    scales = torch.cat([torch.ones(1), sizes.clamp(min=SMALLEST_SCALE * float(sizes.max()))])
    differences = torch.stack([(ours - theirs).abs().max() for ours, theirs in zip(packed, separate, strict=True)])
    return float((differences / scales).max())  # NaN where one of them is


def _values_and_gradients(model: EmotionLLM, likelihoods: Tensor) -> Iterator[Tensor]:
    yield likelihoods.detach()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weighted = (likelihoods * torch.linspace(1, 2, len(likelihoods))).sum()
    for parameter, gradient in zip(parameters, torch.autograd.grad(weighted, parameters, allow_unused=True), strict=True):
        yield torch.zeros_like(parameter) if gradient is None else gradient


def _separate_log_likelihood(model: EmotionLLM, example: Example, answer: tuple[int, ...]) -> Tensor:
    """Log-likelihood of one answer by the unmodified model: its own attention, masks, output head and logits."""
    embeddings, positions = model.embed_example(example, answer)
    logits = model.llm(
        inputs_embeds=embeddings[None],
        position_ids=positions[None],
        attention_mask=torch.ones_like(positions)[None],
        use_cache=False,
    ).logits[0]
    return -nn.functional.cross_entropy(logits[-len(answer) - 1 : -1], torch.tensor(answer), reduction="sum")
