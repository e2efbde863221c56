"""The demo's own LLM: a small Llama and its text tokenizer, built in process where no model hub is needed.

imagined movements  ->  an ordinary Hugging Face folder

An adapter of rank 8 cannot teach random weights to write, so this Llama is first pre-trained for two minutes, all weights, on the demo's
questions and answers about imagined movements, with the labels of all corpora that ship: an adapter cannot teach it to spell others either.
In place of skeleton tokens it sees a code of its own for what is to be told: it learns to put tokens into words, as a large LLM can. It
cannot learn how a real movement looks in tokens; that is left to the fine-tunes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

from emotion_llm.grounding.narrator import HALVES, OF_HALVES, SUBJECTS
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.packed import PACKED_ATTENTION, Example, pack
from emotion_llm.language.prompts import DESCRIPTION_QUESTION, INSTRUCTION, RECOGNITION_QUESTION, PromptWriter
from emotion_llm.runtime.console import progress
from emotion_llm.skeleton_tokens.tokenizer import SkeletonTokenizer
from emotion_llm.skeleton_tokens.unified import MotionFeatures, Slots
from emotion_llm.synthetic.emotions import ImaginedMovement, imagined_movement

TURN_START, TURN_END = "<|turn|>", "<|end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|turn|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
VOCABULARY, WIDTH, LAYERS, HEADS = 1024, 128, 4, 4
CONVERSATIONS_PER_STEP, RECOGNITIONS_PER_STEP, PEAK_LEARNING_RATE = 32, 4, 3e-3
VOCABULARY_TEXTS = 2000  # Texts from which the text tokenizer is learnt


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


class CodedTokens(nn.Module):
    """Stands in for a skeleton tokenizer: adds noise to features that are a code already.

    Shape:
        features (M, WIDTH), granularities (M,) -> (M, WIDTH)
    """

    def __init__(self, llm: PreTrainedModel) -> None:
        super().__init__()
        self.llm_embeddings = llm.get_input_embeddings()

    def forward(self, features: Tensor, granularities: Tensor) -> Tensor:
        scale = self.llm_embeddings.get_parameter("weight").detach().pow(2).mean().sqrt()
        return (features + torch.randn_like(features)) * scale


class Code:
    """A direction of its own for everything that is told of a movement: each emotion, each quality at each moment."""

    def __init__(self, emotions: Sequence[str]) -> None:
        moments = [(quality, "throughout") for quality in SUBJECTS] + [(quality, half) for quality in OF_HALVES for half in HALVES]
        self.emotions = tuple(emotions)
        self.numbers: dict[object, int] = {key: number for number, key in enumerate([*emotions, *moments])}
        self.directions = WIDTH**0.5 * torch.linalg.qr(torch.randn(WIDTH, len(self.numbers))).Q.T  # (numbers, WIDTH)

    def features(self, movement: ImaginedMovement, joints: int, time_steps: int) -> MotionFeatures:
        """Rows (1 + V + T', WIDTH): emotion and qualities in every row, those of a half in the temporal rows of that half."""
        told = np.zeros((1 + len(HALVES), len(self.numbers)), np.float32)  # throughout, in the first half, in the second
        told[0, self.numbers[movement.emotion]] = 1
        for (quality, moment), percentile in movement.where.items():
            told[1 + HALVES.index(moment) if moment in HALVES else 0, self.numbers[quality, moment]] = (percentile - 50) / 50
        whole, first, second = torch.from_numpy(told) @ self.directions
        rows = whole.repeat(1 + joints + time_steps, 1)
        middle = 1 + joints + time_steps // 2
        rows[1 + joints : middle] += first
        rows[middle:] += second
        return MotionFeatures(rows, joints, time_steps)


def build_small_llm(emotions: Sequence[str], folder: Path, steps: int, seed: int) -> None:
    """Builds, pre-trains and saves the small Llama.

    Args:
        emotions: words that it learns to answer; a label of other words is hard to teach it later.
        steps: steps of language pre-training, CONVERSATIONS_PER_STEP each.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 0])
    sentences = [imagined_movement(rng, emotions).text for _ in range(VOCABULARY_TEXTS)]
    text_tokenizer = build_text_tokenizer(sentences + [f"The emotion is {emotion}. {emotion}" for emotion in emotions])
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
    code = Code(emotions)
    speaker = EmotionLLM(llm, cast(SkeletonTokenizer, CodedTokens(llm)), Slots())
    optimizer = torch.optim.AdamW(llm.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK_LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for _ in (bar := progress(range(steps), "language", "step")):
        examples = [_conversation(prompts, code, rng, number < RECOGNITIONS_PER_STEP) for number in range(CONVERSATIONS_PER_STEP)]
        loss = -speaker(pack(examples, speaker.slots)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    llm.save_pretrained(folder)
    text_tokenizer.save_pretrained(folder)


def _conversation(prompts: PromptWriter, code: Code, rng: np.random.Generator, recognition: bool) -> Example:
    movement = imagined_movement(rng, code.emotions)
    features = code.features(movement, *rng.integers(1, 9, 2).tolist())
    if recognition:
        return Example(prompts.recognition(), features, (prompts.answer(movement.emotion),))
    return Example(prompts.description(movement.emotion), features, (prompts.answer(movement.text),))
