"""One fine-tune from its settings to its last checkpoint.

prepared corpora, encoder, LLM  ->  <run>/checkpoints, <run>/tensorboard
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence

from emotion_llm.console import is_first_rank, say, settings_to_dict, write_json
from emotion_llm.evaluation.explanation import explain, middle
from emotion_llm.evaluation.recognition import score_clips
from emotion_llm.language.llm import load_text_tokenizer
from emotion_llm.language.prompt import PromptWriter
from emotion_llm.skeleton_encoder.features import EncodedCorpus, encode_corpora
from emotion_llm.skeleton_encoder.trained import load_encoder
from emotion_llm.training.assembly import build_model, check_resumable, describe_run, ds_config_path, start_weights
from emotion_llm.training.batches import TrainingData
from emotion_llm.training.board import Board
from emotion_llm.training.checkpoint import newest_checkpoint
from emotion_llm.training.engine import Engine, model_dtype, start_processes
from emotion_llm.training.loop import describe_sample, say_plan, train
from emotion_llm.training.settings import FinetuneSettings


def finetune(settings: FinetuneSettings) -> None:
    """Runs one stage; goes on from the run folder's newest checkpoint where there is one."""
    device = start_processes()
    encoder = load_encoder(settings.encoder)
    corpora = encode_corpora(encoder, settings.data, settings.corpora, device)
    text_tokenizer = load_text_tokenizer(settings.llm)
    prompts = PromptWriter(text_tokenizer)
    data = TrainingData(corpora, prompts, settings)
    model = build_model(settings.llm, model_dtype(ds_config_path(settings)), settings.lora, encoder.channels, settings.slots)
    about = describe_run(settings, model, encoder, corpora)

    checkpoint = newest_checkpoint(settings.run)
    if checkpoint is None:
        start_weights(model, settings, corpora, encoder.encoder_hash)
        _open_run_folder(settings)
    else:
        check_resumable(checkpoint, about)
        checkpoint.load_model(model)
    engine = Engine(model, settings.weight_decay, settings.gradient_clipping, settings.global_batch, ds_config_path(settings))
    first_step = 0
    if checkpoint is not None:
        engine.set_state(checkpoint.engine_state(), checkpoint.updates)
        first_step = checkpoint.step
        say(f"goes on from step {first_step:,} ({checkpoint.folder})")

    say_plan(engine, data, settings)
    sample = describe_sample(data, text_tokenizer, settings)
    say(sample)
    board = Board(settings.run, first_step)
    board.text("sample/training", f"```\n{sample}\n```", first_step)
    train(engine, data, settings, about, first_step, board, _evaluation(engine, prompts, corpora, settings, board))
    board.close()
    say(f"{settings.stage} done: {settings.run}; watch it with: tensorboard --logdir {settings.run.parent}")


def _open_run_folder(settings: FinetuneSettings) -> None:
    """A run folder that needs nothing beside it: settings and the encoder are copied into it."""
    if is_first_rank():
        write_json(settings.run / "settings.json", settings_to_dict(settings))
        shutil.copytree(settings.encoder, settings.run / "encoder", dirs_exist_ok=True, ignore=_all_but_encoder)


def _all_but_encoder(_folder: str, names: list[str]) -> set[str]:
    return set(names) - {"encoder.json", "skeleton_encoder.safetensors"}


def _evaluation(
    engine: Engine, prompts: PromptWriter, corpora: Sequence[EncodedCorpus], settings: FinetuneSettings, board: Board
) -> Callable[[int], Mapping[str, float]]:
    """What is measured on held-out motions at intervals: accuracy per corpus, and one generated answer to read."""

    def evaluate(step: int) -> dict[str, float]:
        accuracies = {}
        for encoded in corpora:
            clips = encoded.split.held_out
            chosen = clips[:: max(1, -(-len(clips) // settings.evaluate_clips))]  # evenly spread
            scores = score_clips(engine.model, prompts, encoded, chosen, engine.device)
            accuracies[f"held_out_accuracy/{encoded.corpus.name}"] = scores.accuracy
        say(f"step {step:,}: held-out accuracy " + ", ".join(f"{name.split('/')[1]} {value:.1%}" for name, value in accuracies.items()))
        if is_first_rank():
            encoded = corpora[step % len(corpora)]
            clip = encoded.split.held_out[step % len(encoded.split.held_out)]
            window = middle(encoded.windows_of_clips([clip]))
            answer = explain(engine.model, prompts, [encoded.motion(window)], [encoded.emotion(window)])[0]
            board.text("sample/held_out_answer", f"**{encoded.window_name(window)}** ({encoded.emotion(window)})\n\n{answer}", step)
        return accuracies

    return evaluate
