"""Pre-training of the skeleton encoder: plain DDP under torchrun, or one process without it.

prepared corpora  ->  <run>/skeleton_encoder.safetensors, <run>/encoder.json, <run>/tensorboard
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from emotion_llm.corpus.provenance import corpus_record
from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.corpus.store import open_corpus
from emotion_llm.pretraining.data import PretrainingData, set_input_statistics
from emotion_llm.pretraining.loop import Schedule, train
from emotion_llm.pretraining.model import PretrainingModel
from emotion_llm.pretraining.state import load_state
from emotion_llm.pretraining.text_alignment import RANDOM_CLIP, TextAlignment, embed_emotions
from emotion_llm.pretraining.trained_encoder import ABOUT, TrainedEncoder, load_encoder, save_encoder
from emotion_llm.runtime.console import say, settings_to_dict
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes, process_count, start_processes
from emotion_llm.runtime.tensorboard import TensorBoardWriter
from emotion_llm.skeleton_encoder.encoder import SkeletonEncoder, SkeletonEncoderSettings
from emotion_llm.skeleton_encoder.pooling import EmotionClassifier

MOMENTUM = 0.9
"""Nesterov momentum of SGD (our choice: CTR-GCN's)."""


@dataclass(frozen=True)
class PretrainSettings:
    """One pre-training of the skeleton encoder. A *step* is an optimizer step."""

    run: Path = Path("runs/encoder")
    """The run folder: encoder, training state, TensorBoard."""
    data: Path = Path("data")
    """Folder of the prepared corpora."""
    corpora: tuple[str, ...] = ("kdae", "emilya", "egbm")
    """Corpora to learn from, jointly."""
    split: SplitSettings = field(default_factory=SplitSettings)
    """Which clips are held out, here and in all later stages."""
    encoder: SkeletonEncoderSettings = field(default_factory=SkeletonEncoderSettings)
    """The architecture."""
    window_frames: int = 64
    """Longest stretch of motion that the encoder sees at once, in frames at the corpora's rate (our choice: 2.1 s at 30 per second)."""
    epochs: int = 200
    """Passes over the training windows (paper)."""
    batch_size: int = 64
    """Windows per step over all processes (paper)."""
    learning_rate: float = 0.1
    """Initial rate of SGD (paper)."""
    milestones: tuple[int, ...] = (100, 150, 175)
    """Epochs after which the rate is divided by 10 (paper)."""
    warmup_epochs: int = 5
    """Epochs of linear warm-up (paper)."""
    weight_decay: float = 4e-4
    """Weight decay of SGD (our choice: CTR-GCN's)."""
    mirror_probability: float = 0.5
    """Share of the training windows with left and right exchanged (our choice)."""
    text_encoder: str = "openai/clip-vit-base-patch32"
    """Frozen text encoder for the alignment: a CLIP model (public summaries) or any causal LM, by Hugging Face name or folder;
    'random-clip' needs no model hub (our choice)."""
    contrastive_weight: float = 0.5
    """Weight of the contrastive term beside the cross-entropy; 0 = no alignment (our choice)."""
    temperature: float = 0.1
    """Temperature of the contrastive term (our choice)."""
    evaluate_every: int = 10
    """Epochs between evaluations on held-out clips; the last epoch is always evaluated."""
    seed: int = 0
    """Decides the first weights, the order of the data, the cuts and the mirroring."""

    def __post_init__(self) -> None:
        for name in ("window_frames", "epochs", "batch_size", "evaluate_every"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least 1")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be above 0")
        for name in ("warmup_epochs", "weight_decay", "contrastive_weight"):
            if not getattr(self, name) >= 0:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: must not be negative")
        if not 0 <= self.mirror_probability <= 1:
            raise UserError(f"--mirror-probability {self.mirror_probability}: must be from 0 to 1")
        if not self.corpora:
            raise UserError("--corpora: name at least one corpus")


_PAPER = PretrainSettings()
PRESETS = {
    "paper": _PAPER,
    "demo": replace(
        _PAPER, run=Path("runs/demo/encoder"), data=Path("data/demo"), encoder=SkeletonEncoderSettings((16, 32, 64), (4, 1, 1)),
        epochs=12, batch_size=32, milestones=(8, 11), warmup_epochs=1, text_encoder=RANDOM_CLIP, evaluate_every=6,
    ),
    "smollm2": replace(
        _PAPER, run=Path("runs/bandai-namco-2/encoder"), corpora=("bandai-namco-2",),
        encoder=SkeletonEncoderSettings((24, 48, 96), (2, 2, 1)), epochs=8, batch_size=32, milestones=(5, 7), warmup_epochs=1,
        text_encoder="models/smollm2-135m-instruct", evaluate_every=4,
    ),
}  # fmt: skip
"""Preset name -> settings; the paper's comes first and is the default."""


def pretrain(settings: PretrainSettings) -> TrainedEncoder:
    """Trains an encoder; goes on from the run folder's last whole epoch where there is one.

    Raises:
        UserError: missing corpora, settings that do not fit the data or the number of processes, a loss that is not a number.
    """
    device = start_processes()
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs that have it
    data = open_data(settings)
    steps_per_epoch = count_steps(settings.batch_size, len(data.items), process_count())
    model = build_model(settings, data).to(device)
    optimizer = torch.optim.SGD(model.parameters(), settings.learning_rate, MOMENTUM, weight_decay=settings.weight_decay, nesterov=True)
    metadata = describe(settings, data)
    first_epoch = load_state(settings.run, model, optimizer, metadata)
    if first_epoch == settings.epochs and (settings.run / ABOUT).is_file():
        say(f"{settings.run}: already trained; for another run choose another --run folder")
        return load_encoder(settings.run)
    say_plan(settings, data, model, steps_per_epoch, first_epoch)

    tensorboard = TensorBoardWriter(settings.run, first_epoch * steps_per_epoch)
    held_out = train(model, optimizer, data, settings, Schedule.of(settings, steps_per_epoch), first_epoch, tensorboard, metadata)
    tensorboard.close()
    if is_first_rank():
        records = {name: {"accuracy": score.accuracy, "clips": score.clips, "chance": score.chance} for name, score in held_out.items()}
        save_encoder(settings.run, model, metadata | {"held_out": records})
    gather_over_processes(None)  # the files are there
    say(f"encoder done: {settings.run}; watch it with: tensorboard --logdir {settings.run.parent}")
    return load_encoder(settings.run)


def open_data(settings: PretrainSettings) -> PretrainingData:
    """The corpora and their splits."""
    corpora = [open_corpus(settings.data / name) for name in settings.corpora]
    splits = [settings.split.of(corpus) for corpus in corpora]
    return PretrainingData(corpora, splits, settings.window_frames, settings.mirror_probability, settings.seed)


def count_steps(batch_size: int, items: int, processes: int) -> int:
    """Steps per epoch, the same on every process; the last windows of an epoch that fill no batch wait for the next.

    Raises:
        UserError: a batch that does not divide among the processes, or that is larger than an epoch.
    """
    if batch_size % processes:
        fitting = [count for count in range(1, batch_size + 1) if batch_size % count == 0]
        raise UserError(
            f"the batch of {batch_size} windows cannot be divided among {processes} processes; "
            f"start {', '.join(map(str, fitting[:-1]))} or {fitting[-1]} of them, or change --batch-size"
        )
    if items < batch_size:
        raise UserError(f"the corpora hold {items} training windows, fewer than --batch-size {batch_size}; choose a smaller one")
    return items // batch_size


def build_model(settings: PretrainSettings, data: PretrainingData) -> PretrainingModel:
    """A fresh encoder with its classifier and its projection towards language."""
    torch.manual_seed(settings.seed)
    encoder = SkeletonEncoder(data.layouts, settings.encoder)
    classifier, alignment = EmotionClassifier(encoder.width, len(data.emotions)), None
    if settings.contrastive_weight > 0:  # one process reads the text encoder, the others get what it says
        embeddings = gather_over_processes(embed_emotions(settings.text_encoder, data.emotions) if is_first_rank() else None)[0]
        alignment = TextAlignment(encoder.width, embeddings, settings.temperature)
    set_input_statistics(encoder, data)
    return PretrainingModel(encoder, classifier, alignment)


def describe(settings: PretrainSettings, data: PretrainingData) -> dict:
    """What the run is: compared when it goes on, and kept in encoder.json."""
    return {
        "emotions": data.emotions,
        "frames_per_second": data.frames_per_second,
        "window_frames": data.window_frames,
        "split": asdict(settings.split),
        "canonical": data.corpora[0].canonical,
        "corpora": {corpus.name: corpus_record(corpus, split) for corpus, split in zip(data.corpora, data.splits, strict=True)},
        "pretraining": settings_to_dict(settings),
    }


def say_plan(settings: PretrainSettings, data: PretrainingData, model: PretrainingModel, steps_per_epoch: int, first_epoch: int) -> None:
    """Prints what will be trained and on what."""
    parts = {name: sum(x.numel() for x in part.parameters()) for name, part in model.named_children()}
    held_out = sum(len(split.held_out) for split in data.splits)
    say(
        f"pre-training: {' + '.join(f'{name} {count:,}' for name, count in parts.items())} parameters, all of them train\n"
        f"{len(data.items):,} training windows of at most {data.window_frames} frames from {', '.join(settings.corpora)}; "
        f"{held_out:,} clips held out; layouts {', '.join(layout.name for layout in data.layouts)}\n"
        f"batch {settings.batch_size} = {process_count()} processes x {settings.batch_size // process_count()} windows; "
        f"{settings.epochs} epochs of {steps_per_epoch} steps" + (f"; goes on from epoch {first_epoch}" if first_epoch else "")
    )
