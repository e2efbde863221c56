"""The skeleton-aware LLM: motion features and a prompt in, the likelihood of an answer out.

PackedRow  ->  embeddings (1, R, D): text tokens, with the skeleton tokens at their places  ->  log-likelihood of each answer token (A,)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel
from transformers.generation import BaseStreamer

from emotion_llm.language.loss import logit_scale, token_log_likelihoods
from emotion_llm.language.packed import PACKED_ATTENTION, Example, PackedRow
from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import Slots

GENERATION_ATTENTION = "sdpa"
"""transformers' own attention, which reads a key-value cache; packed rows are for training and scoring."""

TEMPERATURE, TOP_P = 0.8, 0.95
"""Of sampled answers (our choice): different enough to choose among, close enough to what the model would say."""


class EmotionLLM(nn.Module):
    """A causal LM with LoRA that reads skeleton tokens among its text tokens.

    Trainable: the LoRA weights in `llm` and the projections of `skeleton_tokenizer`. Everything else is frozen.
    """

    def __init__(self, llm: PeftModel | PreTrainedModel, skeleton_tokenizer: SkeletonTokenizer, slots: Slots) -> None:
        super().__init__()
        self.llm = llm
        self.skeleton_tokenizer = skeleton_tokenizer
        self.slots = slots

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Without dropout; afterwards the model trains on, if it did before."""
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)

    @property
    def base_llm(self) -> PreTrainedModel:
        """The causal LM inside PEFT's wrapper; the adapter's layers are part of it."""
        base = self.llm.get_base_model() if isinstance(self.llm, PeftModel) else self.llm
        assert isinstance(base, PreTrainedModel)
        return base

    def embed(self, token_ids: Tensor, skeleton_rows: Tensor, features: Tensor, granularities: Tensor) -> Tensor:
        """Text embeddings with the skeleton tokens inserted at their rows.

        Shape:
            token_ids (R,), skeleton_rows (M,), features (M, C + Q), granularities (M,) -> (R, D)
        """
        embeddings = self.base_llm.get_input_embeddings()(token_ids)  # (R, D)
        tokens = self.skeleton_tokenizer(features, granularities)  # (M, D)
        return embeddings.index_copy(0, skeleton_rows, tokens.to(embeddings.dtype))

    def embed_example(self, example: Example, answer: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """Embeddings (L, D) and position ids (L,) of an example with one answer, in a sequence of its own."""
        token_ids, positions = example.sequence(self.slots, answer)
        skeleton_rows = len(example.prompt.before) + torch.arange(len(example.motion.rows))
        inputs = (token_ids, skeleton_rows, example.motion.rows, example.motion.granularities)
        device = self.base_llm.device
        return self.embed(*(value.to(device) for value in inputs)), positions.to(device)

    def forward(self, row: PackedRow) -> Tensor:
        """Log-likelihood of every answer token given the tokens before it. The output head runs only where an answer token is predicted.

        Shape:
            row of R tokens -> (A,) float32
        """
        llm = self.base_llm
        embeddings = self.embed(row.token_ids, row.skeleton_rows, row.features, row.granularities)  # (R, D)
        hidden_states = llm.get_decoder()(
            inputs_embeds=embeddings[None],
            position_ids=row.position_ids[None],
            attention_mask=embeddings.new_ones(1, 1, 1, 1),  # with four axes, transformers builds no mask of its own; the row has its own
            use_cache=False,
            packed_row=row,
        ).last_hidden_state[0]  # (R, D)
        scale = logit_scale(llm.config.get_text_config())
        return token_log_likelihoods(
            hidden_states.index_select(0, row.predicting_rows), llm.get_output_embeddings(), row.answer_ids, scale
        )  # (A,)

    def answer_log_likelihoods(self, row: PackedRow) -> Tensor:
        """Log-likelihood of every whole answer.

        Shape:
            row with `answers` answers -> (answers,) float32
        """
        tokens = self(row)  # (A,)
        return tokens.new_zeros(row.answers).index_add(0, row.answer_index, tokens)

    @torch.inference_mode()
    def generate(self, examples: Sequence[Example], max_new_tokens: int, streamer: BaseStreamer | None = None) -> list[list[int]]:
        """Greedy answers to several prompts at once; answers in `examples` are ignored.

        Prompts are padded on the left and masked; position ids are the same as in a packed row, slots included.

        Args:
            streamer: receives the new tokens of a single example as they come.

        Returns:
            The new text tokens of each example, cut before the end of the turn.
        """
        with self._generation_attention():
            new = self.base_llm.generate(  # type: ignore[operator]  # transformers types its own mixin as Tensor | Module
                **self.generation_inputs(examples), max_new_tokens=max_new_tokens, do_sample=False, streamer=streamer
            )  # (N, new tokens)
        return self._cut(new)

    @torch.inference_mode()
    def sample(self, example: Example, max_new_tokens: int, candidates: int, seed: int) -> list[list[int]]:
        """Random answers to one prompt in one batch; the prompt's keys and values are computed once.

        The answers depend on the prompt, the number of candidates and the seed, not on what was computed before.

        Returns:
            `candidates` lists of text tokens, cut before the end of the turn.
        """
        llm = self.base_llm
        inputs = self.generation_inputs([example])
        cache = DynamicCache(config=llm.config)
        with self._generation_attention(), torch.random.fork_rng(devices=[] if llm.device.type == "cpu" else [llm.device]):
            torch.manual_seed(seed)
            llm.get_decoder()(**{name: values[:, :-1] for name, values in inputs.items()}, past_key_values=cache, use_cache=True)
            cache.batch_repeat_interleave(candidates)
            inputs = {name: values.expand(candidates, *values.shape[1:]) for name, values in inputs.items()}
            new = llm.generate(  # type: ignore[operator]  # as above
                **inputs, past_key_values=cache, max_new_tokens=max_new_tokens, do_sample=True, temperature=TEMPERATURE, top_p=TOP_P, top_k=0
            )  # (candidates, new tokens)  # fmt: skip
        return self._cut(new)

    def generation_inputs(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """inputs_embeds (N, L, D), position_ids (N, L) and attention_mask (N, L) of prompts whose ends are aligned."""
        inputs = [
            {"inputs_embeds": embeddings, "position_ids": positions, "attention_mask": torch.ones_like(positions)}
            for embeddings, positions in map(self.embed_example, examples)
        ]
        return {name: pad_sequence([one[name] for one in inputs], batch_first=True, padding_side="left") for name in inputs[0]}

    @contextmanager
    def _generation_attention(self) -> Iterator[None]:
        self.base_llm.set_attn_implementation(GENERATION_ATTENTION)
        try:
            yield
        finally:
            self.base_llm.set_attn_implementation(PACKED_ATTENTION)

    def _cut(self, new: Tensor) -> list[list[int]]:
        end = None if self.base_llm.generation_config is None else self.base_llm.generation_config.eos_token_id
        ends = end if isinstance(end, list) else [end]
        return [list(takewhile(lambda token_id: token_id not in ends, answer)) for answer in new.tolist()]
