"""One fine-tune from its settings to its last checkpoint.

prepared corpora, encoder, LLM  ->  <run>/checkpoints, <run>/tensorboard
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from emotion_llm.language.explaining import explain, middle
from emotion_llm.language.label_scoring import score_clips
from emotion_llm.language.llm import check_text_tokenizer, load_text_tokenizer
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.pretraining.trained_encoder import load_encoder
from emotion_llm.runtime.console import say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes, get_watchdog, start_processes
from emotion_llm.runtime.run_folder import locked
from emotion_llm.runtime.tensorboard import TensorBoardWriter
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus, encode_corpora
from emotion_llm.training.assembly import build_model, check_resumable, checkpoint_gradients, describe_run, ds_config_path, start_weights
from emotion_llm.training.batches import TrainingData
from emotion_llm.training.checkpoint import Checkpoint, newest_checkpoint
from emotion_llm.training.engine import Engine, model_dtype
from emotion_llm.training.loop import describe_sample, say_plan, train
from emotion_llm.training.run_folder import open_run_folder
from emotion_llm.training.settings import FinetuneSettings


def finetune(settings: FinetuneSettings) -> None:
    """Runs one stage; goes on from the run folder's newest checkpoint where there is one.

    Raises:
        UserError: whatever the user can mend: missing data, encoder or LLM, a changed setting, a folder in use, numbers gone wrong.
    """
    device = start_processes()
    with locked(settings.run):
        _finetune(settings, device)


def _finetune(settings: FinetuneSettings, device: torch.device) -> None:
    encoder = load_encoder(settings.encoder)
    corpora = encode_corpora(encoder, settings.data, settings.corpora, device)
    text_tokenizer = load_text_tokenizer(settings.llm)
    prompts = PromptWriter(text_tokenizer)
    data = TrainingData(corpora, prompts, settings)
    torch.manual_seed(settings.seed)  # the adapter's and the projections' first weights
    model = build_model(settings.llm, model_dtype(ds_config_path(settings)), settings.lora, encoder.channels, settings.slots)
    check_text_tokenizer(model.llm, text_tokenizer)
    if settings.gradient_checkpointing:
        checkpoint_gradients(model)
    metadata = describe_run(settings, model, encoder, corpora)

    checkpoint = checkpoint_to_resume(settings)
    if checkpoint is None:
        start_weights(model, settings, corpora, encoder.encoder_hash)
    else:
        check_resumable(checkpoint, metadata)
        checkpoint.load_model(model)
    open_run_folder(settings)
    engine = Engine(model, settings.weight_decay, settings.gradient_clipping, settings.global_batch, ds_config_path(settings))
    steps_done = 0
    if checkpoint is not None:
        engine.set_state(checkpoint.engine_state(engine.trainable()), checkpoint.updates)
        steps_done = checkpoint.step
        say(f"goes on from step {steps_done:,} ({checkpoint.folder})")

    say_plan(engine, data, settings)
    sample = describe_sample(data, text_tokenizer, settings)
    say(sample)
    tensorboard = TensorBoardWriter(settings.run, steps_done)
    tensorboard.text("sample/training", f"```\n{sample}\n```", steps_done)
    done = train(engine, data, settings, metadata, steps_done, tensorboard, _evaluation(engine, prompts, corpora, settings, tensorboard))
    tensorboard.close()
    if done:
        say(f"{settings.stage} done: {settings.run}; watch it with: tensorboard --logdir {settings.run.parent}")


def checkpoint_to_resume(settings: FinetuneSettings) -> Checkpoint | None:
    """The run folder's newest whole checkpoint, the same on every rank; None where the run is new.

    Raises:
        UserError: there is one but --no-resume was given, or the ranks do not see the same.
    """
    checkpoint = newest_checkpoint(settings.run)
    steps = gather_over_processes(None if checkpoint is None else checkpoint.step)
    if len(set(steps)) > 1:
        seen = ", ".join(f"rank {rank}: {'none' if step is None else f'step {step}'}" for rank, step in enumerate(steps))
        raise UserError(
            f"{settings.run}: the processes see different checkpoints ({seen}); the run folder must lie on a disk that all machines share"
        )
    if checkpoint is not None and not settings.resume:
        raise UserError(
            f"{settings.run}: holds a checkpoint of step {checkpoint.step:,}; choose another --run folder, or go on from it with --resume"
        )
    return checkpoint


def _evaluation(
    engine: Engine, prompts: PromptWriter, corpora: Sequence[EncodedCorpus], settings: FinetuneSettings, tensorboard: TensorBoardWriter
) -> Callable[[int], Mapping[str, float]]:
    """What is measured on held-out motions at intervals: accuracy per corpus, and one generated answer to read."""

    def evaluate(step: int) -> dict[str, float]:
        accuracies = {}
        for encoded in corpora:
            get_watchdog().at(step, 0, "evaluation")
            clips = encoded.split.held_out
            chosen = clips[:: max(1, -(-len(clips) // settings.evaluate_clips))]  # evenly spread
            scores = score_clips(engine.model, prompts, encoded, chosen, engine.device)
            accuracies[encoded.corpus.name] = scores.accuracy
        say(f"step {step:,}: held-out accuracy " + ", ".join(f"{name} {value:.1%}" for name, value in accuracies.items()))
        if is_first_rank():
            encoded = corpora[step % len(corpora)]
            clip = encoded.split.held_out[step % len(encoded.split.held_out)]
            window = middle(encoded.windows_of_clips([clip]))
            answer = explain(engine.model, prompts, [encoded.motion(window)], [encoded.emotion(window)])[0]
            tensorboard.text("sample/held_out_answer", f"**{encoded.window_name(window)}** ({encoded.emotion(window)})\n\n{answer}", step)
        return accuracies

    return evaluate
