"""A small engine with its data, made anew for every test."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch

from emotion_llm.language.llm import LoraSettings, llm_hash, load_text_tokenizer
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.pretraining.trained_encoder import TrainedEncoder, load_encoder
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus, encode_corpora
from emotion_llm.training import engine as engine_module
from emotion_llm.training.assembly import build_model, describe_run, ds_config_path, start_weights
from emotion_llm.training.batches import TrainingData
from emotion_llm.training.engine import Engine, model_dtype
from emotion_llm.training.settings import FinetuneSettings


@dataclass(frozen=True)
class Parts:
    """What a fine-tune is put together from."""

    settings: FinetuneSettings
    encoder: TrainedEncoder
    corpora: list[EncodedCorpus]
    data: TrainingData
    engine: Engine
    metadata: dict


@pytest.fixture
def parts(small_world, tmp_path) -> Iterator[Callable[..., Parts]]:
    """parts(micro_batch=..., precision=..., any setting) -> Parts; the same weights every time, dropout off unless asked for.

    The precision is fixed: results in bf16 differ from fp32 in the third digit, and only some CPUs have bf16 instructions.
    """

    def make(micro_batch: int = 8, stage: str = "recognition", precision: str = "fp32", **changes: object) -> Parts:
        fixed_precision.setattr(engine_module, "bf16_is_fast_on_cpu", lambda: precision == "bf16")
        default = ds_config_path(small_world.settings(tmp_path, stage))
        config = json.loads(default.read_text()) | {"train_micro_batch_size_per_gpu": micro_batch}
        (tmp_path / "ds.json").write_text(json.dumps(config))
        few = {"ds_config": tmp_path / "ds.json", "lora": LoraSettings(rank=4, alpha=8, dropout=0.0)}
        settings = small_world.settings(tmp_path / "run", stage, **(few | changes))
        encoder = load_encoder(settings.encoder)
        corpora = encode_corpora(encoder, settings.data, settings.corpora, "cpu", views=settings.views, movement=settings.movement)
        data = TrainingData(corpora, PromptWriter(load_text_tokenizer(settings.llm)), settings)
        torch.manual_seed(settings.seed)
        model = build_model(settings.llm, model_dtype(ds_config_path(settings)), settings.lora, encoder.channels, settings.slots)
        start_weights(model, settings, corpora, encoder, data.prompts, llm_hash(settings.llm))
        engine = Engine(model, settings.weight_decay, settings.gradient_clipping, settings.global_batch, ds_config_path(settings))
        return Parts(
            settings, encoder, corpora, data, engine, describe_run(settings, llm_hash(settings.llm), data.prompts, encoder, corpora)
        )

    with pytest.MonkeyPatch.context() as fixed_precision:
        yield make
