"""Whether both ways of fine-tuning learn alike: their loss curves on real batches of the demo.

the demo's corpora, encoder and LLM  ->  loss of each step our way, the usual way, and our way with other dropout noise
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from emotion_llm.benchmarks.baseline import Baseline
from emotion_llm.benchmarks.finetuning import adamw, machine, our_step, usual_step
from emotion_llm.benchmarks.measurement import Measurement
from emotion_llm.language.llm import load_text_tokenizer
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.pretraining.trained_encoder import load_encoder
from emotion_llm.skeleton_tokens.encoded_corpus import encode_corpora
from emotion_llm.training.assembly import build_model, start_weights
from emotion_llm.training.batches import TrainingData
from emotion_llm.training.schedule import learning_rate
from emotion_llm.training.settings import PRESETS, FinetuneSettings

SMOOTHED_STEPS = 10
"""Curves are compared as means over so many steps: single steps differ by their dropout noise."""
DEMO = PRESETS["recognition"]["demo"]


def measure(settings: FinetuneSettings = DEMO, steps: int = 60) -> Measurement:
    """How far the two curves lie apart, with dropout, against how far two curves of ours do that differ in nothing but their noise."""
    without_noise = replace(settings, lora=replace(settings.lora, dropout=0.0))
    exact_ours, exact_theirs = loss_curve(without_noise, steps), loss_curve(without_noise, steps, usual=True)
    ours, theirs, ours_again = loss_curve(settings, steps), loss_curve(settings, steps, usual=True), loss_curve(settings, steps, noise=1)
    between_ways, between_noises = (distance(ours, other) for other in (theirs, ours_again))
    ratio = between_noises / between_ways
    return Measurement(
        name=f"loss curves, {settings.stage}, {settings.llm}",
        ratio=ratio,
        low=ratio,
        high=ratio,
        unit="times the distance between two runs of ours that differ in their noise alone, over the distance between both ways (1: equal)",
        compared=f"{steps} steps of {settings.global_batch} motions, loss {ours[0]:.3f} -> {smooth(ours)[-1]:.3f}: means of {SMOOTHED_STEPS} "
        f"steps differ by {between_ways:.4f} between the ways, by {between_noises:.4f} between noises; without dropout no step's loss "
        f"differs by more than {np.abs(exact_ours - exact_theirs).max():.1e}",
        machine=machine(),
    )


def loss_curve(settings: FinetuneSettings, steps: int, usual: bool = False, noise: int = 0) -> np.ndarray:
    """
    Args:
        usual: train the usual way.
        noise: seed of the dropout noise; weights and batches do not depend on it.

    Returns:
        (steps,) mean negative log-likelihood of an answer token.
    """
    encoder = load_encoder(settings.encoder)
    corpora = encode_corpora(encoder, settings.data, settings.corpora, torch.device("cpu"))
    data = TrainingData(corpora, PromptWriter(load_text_tokenizer(settings.llm)), settings)
    torch.manual_seed(settings.seed)
    model = build_model(settings.llm, torch.float32, settings.lora, encoder.channels, settings.slots)
    start_weights(model, settings, corpora, encoder.encoder_hash)
    trained: EmotionLLM | Baseline = Baseline(model).train() if usual else model.train()
    take_step: Callable[..., float] = usual_step if usual else our_step
    optimizer = adamw(trained)
    torch.manual_seed(noise)
    losses = []
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings.peak_learning_rate, settings.warmup_steps, settings.max_steps)
        losses.append(take_step(trained, optimizer, [data.example(item) for item in data.draw(step)]))
    return np.array(losses)


def smooth(curve: np.ndarray) -> np.ndarray:
    """Means over SMOOTHED_STEPS neighbours."""
    return np.convolve(curve, np.full(SMOOTHED_STEPS, 1 / SMOOTHED_STEPS), mode="valid")


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of two smoothed curves."""
    return float(np.abs(smooth(one) - smooth(other)).mean())
