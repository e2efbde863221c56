"""Settings of the fine-tunes and their presets. Hardware (precision, ZeRO stage, micro-batch) lives in ds_configs/.

command line  ->  FinetuneSettings
"""

from __future__ import annotations

import argparse
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field
from pydantic.dataclasses import dataclass

from emotion_llm.language.llm import LoraSettings
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.validation import STRICT, Positive, Share
from emotion_llm.skeleton_tokens.encoded_corpus import VIEWS, Movement
from emotion_llm.skeleton_tokens.unified import Slots

Stage: TypeAlias = Literal["recognition", "description", "refinement"]
Count: TypeAlias = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=STRICT)
class SamplingSettings:
    """How the motions of a step are drawn from several corpora (our choices)."""

    weighting: Literal["size", "equal", "temperature"] = "size"
    """Share of each corpus: by its number of windows, equal, or in between."""
    temperature: Positive = 2.0
    """With weighting 'temperature': shares follow size ** (1 / temperature)."""
    label_balanced: bool = True
    """Draw every emotion of a corpus equally often."""


@dataclass(frozen=True, config=STRICT)
class FinetuneSettings:
    """One fine-tune of the skeleton-aware LLM. A *step* is an optimizer step."""

    stage: Stage = "recognition"
    """What is learnt: naming the emotion, explaining it, or, after that, explaining it as in the model's own best texts (ours)."""
    run: Path = Path("runs/recognition")
    """The run folder: settings, checkpoints, TensorBoard."""
    data: Path = Path("data")
    """Folder of the prepared corpora."""
    corpora: Annotated[tuple[str, ...], Field(min_length=1)] = ("kdae", "emilya", "egbm")
    """Corpora to learn from; each must have been seen by the encoder."""
    encoder: Path = Path("runs/encoder")
    """Run folder of launch/pretrain_encoder.py; frozen. It also determines the split and the windows."""
    llm: str = "huggyllama/llama-7b"
    """Hugging Face name or folder of a causal LM (our choice; public summaries say "LLaMA")."""
    start_from: Path | None = None
    """Run folder whose adapter and projections are the starting point; description starts from recognition's, refinement from description's."""
    max_steps: Count = 800_000
    """Optimizer steps (paper, experiment setup: 800,000 for recognition, 10,000 for description)."""
    global_batch: Count = 64
    """Motions per optimizer step over all processes (paper: 64 for recognition, 16 for description)."""
    peak_learning_rate: Positive = 1e-5
    """The schedule's maximum (paper)."""
    warmup_steps: Annotated[int, Field(ge=0)] = 2_000
    """Steps of linear warm-up; cosine decay to zero follows (our choice)."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """AdamW's weight decay (our choice)."""
    gradient_clipping: Positive = 1.0
    """Largest norm of a step's gradient (our choice)."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    """The adapter."""
    slots: Slots = field(default_factory=Slots)
    """The unified form of the skeleton tokens."""
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    """Joint training on several corpora."""
    rehearsal: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Not for recognition: share of each step spent on recognition, so that it is not forgotten (our choice)."""
    described_motions: Count | None = None
    """Not for recognition: the number of described motions to learn from, over all corpora, to see how many are enough; by default all."""
    movement: Movement = "tokens"
    """What the LLM reads of a movement. With "words", a baseline of launch/evaluate.py (ours): what was measured of the clip, in
    words, in place of the skeleton tokens."""
    views: Annotated[int, Field(ge=1, le=len(VIEWS))] = 1
    """Recognition: views of every window that are encoded and drawn alike. 1: as it is; 2: also mirrored; 4: also cut half a window
    later, plain and mirrored (our choice)."""
    token_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the skeleton tokens that are left out of each training sample at random (our choice)."""
    semantic_start: bool = True
    """Semantic tokens start near the words of the emotions that the encoder's classifier finds likely, and of the qualities that the
    kinematic descriptors measure (our choice)."""
    encoder_share: Share = 0.5
    """Weight of the encoder's classifier in the trained run's answers, beside the LLM's; 0: the LLM alone, as in the paper (our choice: both
    alike, because they err on different clips; docs/generalisation.md)."""
    share_prefix: bool = True
    """Compute the common prompt prefix once per micro-batch; with LoRA dropout, its motions then share the noise there."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass instead of storing them: less memory, about a third more time (our choice)."""
    seed: int = 0
    """Determines the initial weights, the order of the data and the dropout noise."""
    evaluate_every: Count = 10_000
    """Steps between evaluations on held-out motions; the last step is always evaluated."""
    evaluate_clips: Count = 256
    """Held-out clips per corpus in those evaluations, at most; launch/evaluate.py takes all."""
    checkpoint_every: Count = 1_000
    """Steps between checkpoints."""
    keep_checkpoints: Count = 3
    """Newest checkpoints to keep, besides the best."""
    resume: bool = True
    """Resume from the run folder's newest checkpoint if there is one; --no-resume refuses such a folder."""
    max_skipped_in_a_row: Count = 20
    """Consecutive updates skipped for a non-finite loss or gradient after which the run ends (our choice)."""
    hang_timeout_seconds: Positive = 900.0
    """Seconds without progress after which the job ends; must exceed the evaluation of one corpus and the writing of one checkpoint
    (our choice)."""
    ds_config: Path | None = None
    """DeepSpeed configuration; by default ds_configs/<stage>.json, for refinement that of description."""


_PAPER = FinetuneSettings()
_DEMO = replace(
    _PAPER, run=Path("runs/demo/recognition"), data=Path("data/demo"), encoder=Path("runs/demo/encoder"), llm="models/demo",
    max_steps=60, peak_learning_rate=3e-3, warmup_steps=10, lora=LoraSettings(rank=8, alpha=16), evaluate_every=30, evaluate_clips=16,
    checkpoint_every=30,
)  # fmt: skip
_SMOLLM2 = replace(
    _PAPER, run=Path("runs/bandai-namco-2/recognition"), corpora=("bandai-namco-2",), encoder=Path("runs/bandai-namco-2/encoder"),
    llm="models/smollm2-135m-instruct", max_steps=100, global_batch=8, peak_learning_rate=5e-4, warmup_steps=10, evaluate_every=50,
    evaluate_clips=16, checkpoint_every=25,
)  # fmt: skip


def _then_description(recognition: FinetuneSettings, max_steps: int, warmup_steps: int, global_batch: int = 16) -> FinetuneSettings:
    return replace(
        recognition, stage="description", run=recognition.run.with_name("description"), start_from=recognition.run,
        max_steps=max_steps, warmup_steps=warmup_steps, global_batch=global_batch,
    )  # fmt: skip


PRESETS: dict[str, dict[str, FinetuneSettings]] = {
    "recognition": {"paper": _PAPER, "demo": _DEMO, "smollm2": _SMOLLM2},
    "description": {
        "paper": replace(_then_description(_PAPER, max_steps=10_000, warmup_steps=200), evaluate_every=1_000),
        "demo": replace(
            _then_description(_DEMO, max_steps=450, warmup_steps=20),
            peak_learning_rate=1.5e-3,
            token_dropout=0.2,
            evaluate_every=225,
            checkpoint_every=100,
        ),  # at recognition's rate it unlearnt to recognise people it has not seen
        "smollm2": _then_description(_SMOLLM2, max_steps=600, warmup_steps=10, global_batch=8),
    },
}
PRESETS["refinement"] = {
    name: replace(
        description, stage="refinement", run=description.run.with_name("refinement"), start_from=description.run,
        max_steps=steps, evaluate_every=min(steps, description.evaluate_every), checkpoint_every=min(steps // 2, description.checkpoint_every),
        peak_learning_rate=description.peak_learning_rate / 3,
    )
    for name, steps, description in zip(("default", "demo", "smollm2"), (3_000, 100, 50), PRESETS["description"].values(), strict=True)
}  # fmt: skip
"""Stage -> preset name -> settings; the first is the default: the paper's, or ours for refinement, which the paper does not have."""


def presets_of_stage(arguments: list[str] | None = None) -> dict[str, FinetuneSettings]:
    """The presets of the stage that the command line names (recognition by default).

    Raises:
        UserError: no such stage.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--stage", default="recognition")
    stage = parser.parse_known_args(arguments)[0].stage
    if stage not in PRESETS:
        raise UserError(f"--stage {stage}: no such stage; choose one of {', '.join(PRESETS)}")
    return PRESETS[stage]
