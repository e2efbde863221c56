"""All that a fine-tune needs, at the smallest size: two imported corpora, an encoder, an LLM, made in seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from emotion_llm.corpus.definition import read_definition
from emotion_llm.corpus.importing import import_corpus
from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.grounding.narration import narrate_corpus
from emotion_llm.motion.canonical import CanonicalSettings
from emotion_llm.pretraining.settings import PretrainSettings
from emotion_llm.pretraining.text_alignment import RANDOM_CLIP
from emotion_llm.skeleton_encoder.ctr_gcn import CtrGcnSettings
from emotion_llm.synthetic.corpora import write_egbm, write_emilya
from emotion_llm.training.settings import FinetuneSettings, LoraSettings, Stage
from launch.finetune import finetune
from launch.pretrain_encoder import pretrain
from tests.helpers.families import write_small_llm


@dataclass(frozen=True)
class SmallWorld:
    folder: Path

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def encoder(self) -> Path:
        return self.folder / "encoder"

    @property
    def llm(self) -> Path:
        return self.folder / "llm"

    def settings(self, run: Path, stage: Stage = "recognition", **changes: object) -> FinetuneSettings:
        """A fine-tune of a few steps."""
        few = FinetuneSettings(
            stage=stage, run=run, data=self.data, corpora=("egbm", "emilya"), encoder=self.encoder, llm=str(self.llm), max_steps=4,
            global_batch=8, peak_learning_rate=1e-2, warmup_steps=1, lora=LoraSettings(rank=4, alpha=8), evaluate_every=100,
            evaluate_clips=4, checkpoint_every=2,
        )  # fmt: skip
        return replace(few, **changes)

    def train(self, run: Path, stage: Stage = "recognition", **changes: object) -> FinetuneSettings:
        """Runs that fine-tune in this process."""
        settings = self.settings(run, stage, **changes)
        finetune(settings)
        return settings


def make_small_world(folder: Path) -> SmallWorld:
    world = SmallWorld(folder)
    for name, write in (("egbm", write_egbm), ("emilya", write_emilya)):
        write(world.raw / name, clips_per_emotion=2, seed=0)
        corpus = import_corpus(read_definition(name), world.raw / name, world.data, CanonicalSettings(), workers=1).corpus
        narrate_corpus(corpus, SplitSettings().of(corpus), seed=0)
    pretrain(
        PretrainSettings(
            run=world.encoder, data=world.data, corpora=("egbm", "emilya"), encoder=CtrGcnSettings((8, 16), (2, 2)), epochs=1,
            global_batch=8, milestones=(), warmup_epochs=0, text_encoder=RANDOM_CLIP, evaluate_every=1,
        )
    )  # fmt: skip
    write_small_llm(world.llm)
    return world
