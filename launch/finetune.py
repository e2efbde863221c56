"""Fine-tunes the skeleton-aware LLM under DeepSpeed ZeRO-2: to name the emotion, to explain it, to refine explanations.

    deepspeed --num_gpus 4 launch/finetune.py --stage recognition
    deepspeed --num_gpus 4 launch/finetune.py --stage description
    deepspeed --num_gpus 4 launch/finetune.py --stage refinement      # optional: learns from its own true texts
    deepspeed --num_gpus 2 launch/finetune.py --stage recognition --preset demo     # the same on two CPU processes

Needs prepared corpora (launch/prepare.py), a pre-trained encoder (launch/pretrain_encoder.py) and an LLM (a Hugging Face name or folder).
Run again, it continues where it stopped.
"""

import torch

from emotion_llm.grounding.narration import norms_for_run
from emotion_llm.grounding.norms import load_norms
from emotion_llm.language.llm import check_text_tokenizer, llm_hash, load_text_tokenizer
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.pretraining.trained_encoder import load_encoder
from emotion_llm.runtime.console import parse_settings, run, say
from emotion_llm.runtime.processes import start_processes
from emotion_llm.runtime.run_folder import locked
from emotion_llm.runtime.tensorboard import Tag, TensorBoardWriter
from emotion_llm.skeleton_tokens.encoded_corpus import encode_corpora
from emotion_llm.training.assembly import (
    build_model,
    check_resumable,
    checkpoint_to_resume,
    describe_run,
    ds_config_path,
    open_run_folder,
    prompts_of_run,
    start_weights,
)
from emotion_llm.training.batches import TrainingData
from emotion_llm.training.engine import Engine, model_dtype
from emotion_llm.training.held_out import HeldOutEvaluation
from emotion_llm.training.loop import describe_sample, say_plan, train
from emotion_llm.training.refinement import own_texts
from emotion_llm.training.settings import FinetuneSettings, presets_of_stage


def main() -> None:
    finetune(parse_settings(presets_of_stage(), __doc__))


def finetune(settings: FinetuneSettings) -> bool:
    """False: the run was stopped on request before its last step."""
    device = start_processes()
    with locked(settings.run):
        encoder = load_encoder(settings.encoder)
        corpora = encode_corpora(encoder, settings.data, settings.corpora, device, views=settings.views, movement=settings.movement)
        text_tokenizer = load_text_tokenizer(settings.llm)
        resumed = checkpoint_to_resume(settings)
        prompts = PromptWriter(text_tokenizer) if resumed is None else prompts_of_run(resumed, text_tokenizer)
        if settings.stage != "recognition":
            for encoded in corpora:
                norms_for_run(settings.run, encoded.corpus, encoded.split)

        torch.manual_seed(settings.seed)  # initial weights of adapter and projections
        ds_config = ds_config_path(settings)
        model = build_model(settings.llm, model_dtype(ds_config), settings.lora, encoder.channels, settings.slots, device)
        check_text_tokenizer(model.llm, text_tokenizer)
        if settings.gradient_checkpointing:
            model.base_llm.gradient_checkpointing_enable({"use_reentrant": False})  # with the same dropout noise
        metadata = describe_run(settings, llm_hash(settings.llm), prompts, encoder, corpora)
        if resumed is None:
            start = start_weights(model, settings, corpora, encoder, prompts, metadata["llm_fingerprint"])
        else:
            check_resumable(resumed, metadata)
            resumed.load_model(model)
        texts = own_texts(model, prompts, corpora, settings, resumed is not None) if settings.stage == "refinement" else None
        data = TrainingData(corpora, prompts, settings, texts)
        open_run_folder(settings)

        engine = Engine(model, settings.weight_decay, settings.gradient_clipping, settings.global_batch, ds_config)
        steps_done = 0
        if resumed is not None:
            engine.set_state(resumed.engine_state(engine.trainable()), resumed.updates)
            steps_done = resumed.step
            say(f"continues from step {steps_done:,} ({resumed.folder})")
        elif start is not None:
            engine.set_state({"weight": start.weights()}, updates=0)  # fp32, not rounded to the model's bf16

        say_plan(engine, data, settings)
        sample = describe_sample(data, text_tokenizer)
        say(sample)
        tensorboard = TensorBoardWriter(settings.run, steps_done, settings.max_steps)
        tensorboard.text(Tag.TRAINING_SAMPLE, f"```\n{sample}\n```", steps_done)
        evaluate = HeldOutEvaluation(model, prompts, corpora, settings.evaluate_clips, device, tensorboard, load_norms(settings.run))
        done = train(engine, data, settings, metadata, steps_done, tensorboard, evaluate)
        tensorboard.close()
        if done:
            say(f"{settings.stage} done: {settings.run}; watch it with: tensorboard --logdir {settings.run.parent}")
        return done


if __name__ == "__main__":
    run(main)
