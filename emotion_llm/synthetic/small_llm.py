"""The demo's own LLM: a small Llama and its text tokenizer, built in process where no model hub is needed.

conversations (prompt, answer)  ->  an ordinary Hugging Face folder

An adapter of rank 8 cannot teach random weights to write, so this Llama is first pre-trained for a minute, all weights, on the demo's
questions and answers, with noise in place of the motion. It learns the wording and to continue after tokens without meaning; it cannot
learn which motion shows which emotion.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import PACKED_ATTENTION, Example, pack
from emotion_llm.language.prompts import DESCRIPTION_QUESTION, INSTRUCTION, RECOGNITION_QUESTION, Prompt, PromptWriter
from emotion_llm.runtime.console import progress
from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import MotionFeatures, Slots

TURN_START, TURN_END = "<|turn|>", "<|end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|turn|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
VOCABULARY, WIDTH, LAYERS, HEADS = 1024, 128, 4, 4
CONVERSATIONS_PER_STEP, PEAK_LEARNING_RATE = 32, 3e-3


def build_text_tokenizer(sentences: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE text tokenizer with a chat template, learnt from the sentences and the project's questions."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([*sentences, INSTRUCTION, RECOGNITION_QUESTION, DESCRIPTION_QUESTION, "user\nassistant\n"], trainer)
    text_tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=TURN_START, eos_token=TURN_END, pad_token=TURN_END)
    text_tokenizer.chat_template = CHAT_TEMPLATE
    return text_tokenizer


class ForeignTokens(nn.Module):
    """Stands in for a skeleton tokenizer that has learnt nothing yet: tokens of the right size that mean nothing.

    Shape:
        features (M, C), granularities (M,) -> (M, D)
    """

    def __init__(self, llm: PreTrainedModel) -> None:
        super().__init__()
        self.llm_embeddings = llm.get_input_embeddings()

    def forward(self, features: Tensor, granularities: Tensor) -> Tensor:
        scale = self.llm_embeddings.get_parameter("weight").detach().pow(2).mean().sqrt()
        return torch.randn(len(features), WIDTH) * scale


def build_small_llm(emotions: Sequence[str], texts: Sequence[tuple[str, str]], folder: Path, steps: int, seed: int) -> None:
    """Builds, pre-trains and saves the small Llama.

    Args:
        emotions: words that recognition may answer.
        texts: (emotion, description) pairs.
        steps: steps of language pre-training, CONVERSATIONS_PER_STEP each.
    """
    torch.manual_seed(seed)
    text_tokenizer = build_text_tokenizer([text for _, text in texts] + [f"The emotion is {emotion}. {emotion}" for emotion in emotions])
    llm = AutoModelForCausalLM.from_config(
        LlamaConfig(
            vocab_size=len(text_tokenizer), hidden_size=WIDTH, intermediate_size=3 * WIDTH, num_hidden_layers=LAYERS,
            num_attention_heads=HEADS, num_key_value_heads=HEADS // 2, max_position_embeddings=1024,
            bos_token_id=text_tokenizer.bos_token_id, eos_token_id=text_tokenizer.eos_token_id, pad_token_id=text_tokenizer.pad_token_id,
            tie_word_embeddings=True,
        ),
        attn_implementation=PACKED_ATTENTION,
    )  # fmt: skip
    prompts = PromptWriter(text_tokenizer)
    recognition = [(prompts.recognition(), prompts.answer(emotion)) for emotion in emotions]
    description = [(prompts.description(emotion), prompts.answer(text)) for emotion, text in texts]
    speaker = EmotionLLM(llm, cast(SkeletonTokenizer, ForeignTokens(llm)), Slots())
    optimizer = torch.optim.AdamW(llm.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK_LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for _ in (bar := progress(range(steps), "language", "step")):
        examples = [_with_foreign_motion(source) for source in (recognition, description) for _ in range(CONVERSATIONS_PER_STEP // 2)]
        loss = -speaker(pack(examples, speaker.slots)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    llm.save_pretrained(folder)
    text_tokenizer.save_pretrained(folder)


def _with_foreign_motion(conversations: Sequence[tuple[Prompt, tuple[int, ...]]]) -> Example:
    prompt, answer = conversations[int(torch.randint(len(conversations), ()))]
    joints, time_steps = torch.randint(1, 16, (2,)).tolist()
    return Example(prompt, MotionFeatures(torch.zeros(1 + joints + time_steps, 1), joints, time_steps), (answer,))
