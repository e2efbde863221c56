"""Settings of pre-training and their presets.

command line  ->  PretrainSettings
"""

from dataclasses import field, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.pretraining.text_alignment import RANDOM_CLIP
from emotion_llm.runtime.validation import STRICT
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings
from emotion_llm.skeleton_encoder.settings import EncoderSettings

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=STRICT)
class PretrainSettings:
    """One pre-training of the skeleton encoder. A *step* is an optimizer step."""

    run: Path = Path("runs/encoder")  # The run folder: encoder, training state, TensorBoard
    data: Path = Path("data")  # Folder of the prepared corpora
    corpora: Annotated[tuple[str, ...], Field(min_length=1)] = ("kdae", "emilya", "egbm")  # Corpora to train on, jointly
    split: SplitSettings = field(default_factory=SplitSettings)  # Which clips are held out, here and in all later stages
    encoder: EncoderSettings = field(default_factory=CtrGcnSettings)  # The encoder's architecture
    start_from: Path | None = None
    """Run folder of a trained encoder of the same architecture that this one starts from, for a new layout or a small corpus (our choice;
    pretraining/transfer.py)."""
    window_frames: Count = 64
    """Longest window that the encoder sees at once, in frames at the corpora's rate (our choice: 2.1 s at 30 per second)."""
    epochs: Count = 200  # Passes over the training windows (paper)
    global_batch: Count = 64  # Windows per step over all processes (paper)
    learning_rate: Positive = 0.1  # Initial learning rate of SGD (paper)
    milestones: tuple[int, ...] = (100, 150, 175)  # Epochs after which the learning rate is divided by 10 (paper)
    warmup_epochs: Annotated[int, Field(ge=0)] = 5  # Epochs of linear warm-up (paper)
    weight_decay: NotNegative = 4e-4  # Weight decay of SGD (our choice: CTR-GCN's)
    mirror_probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability that a training window is mirrored, left to right (our choice)."""
    text_encoder: str = "openai/clip-vit-base-patch32"
    """Frozen text encoder of the alignment: a CLIP model (public summaries) or any causal LM, by Hugging Face name or folder;
    'random-clip' needs no model hub (our choice)."""
    contrastive_weight: NotNegative = 0.5
    """Weight of the contrastive term beside the cross-entropy; 0 = no alignment (our choice)."""
    temperature: Positive = 0.1  # Temperature of the contrastive term (our choice)
    evaluate_every: Count = 10  # Epochs between evaluations on held-out clips; the end is always evaluated
    hang_timeout_seconds: Positive = 900.0
    """Seconds without progress after which the job ends; must exceed one evaluation (our choice)."""
    seed: int = 0  # Determines initial weights, order of the data, window cuts and mirroring


_PAPER = PretrainSettings()
PRESETS = {
    "paper": _PAPER,
    "demo": replace(
        _PAPER, run=Path("runs/demo/encoder"), data=Path("data/demo"), encoder=CtrGcnSettings((16, 32, 64), (4, 1, 1)),
        epochs=12, global_batch=32, milestones=(8, 11), warmup_epochs=1, text_encoder=RANDOM_CLIP, evaluate_every=6,
    ),
    "smollm2": replace(
        _PAPER, run=Path("runs/bandai-namco-2/encoder"), corpora=("bandai-namco-2",),
        encoder=CtrGcnSettings((24, 48, 96), (2, 2, 1)), epochs=8, global_batch=32, milestones=(5, 7), warmup_epochs=1,
        text_encoder="models/smollm2-135m-instruct", evaluate_every=4,
    ),
}  # fmt: skip
"""Preset name -> settings; the first is the default."""
