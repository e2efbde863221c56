"""Pre-trains the skeleton encoder on prepared corpora, with plain DDP.

    torchrun --nproc_per_node 4 launch/pretrain_encoder.py
    torchrun --nproc_per_node 2 launch/pretrain_encoder.py --preset demo        # the same on two CPU processes
    python launch/pretrain_encoder.py encoder:st-gcn-settings                   # another encoder

Needs prepared corpora (launch/prepare.py). Run again, it continues where it stopped.
"""

from contextlib import suppress

import torch

from emotion_llm.pretraining.classifier import fit_classifier
from emotion_llm.pretraining.data import count_steps, open_data
from emotion_llm.pretraining.loop import evaluate, say_plan, show_results, train
from emotion_llm.pretraining.model import build_model, build_optimizer
from emotion_llm.pretraining.settings import PRESETS, PretrainSettings
from emotion_llm.pretraining.state import describe, load_state
from emotion_llm.pretraining.trained_encoder import load_encoder, save_encoder
from emotion_llm.pretraining.transfer import take_over
from emotion_llm.runtime.console import parse_settings, run, say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes, process_count, start_processes
from emotion_llm.runtime.run_folder import locked
from emotion_llm.runtime.stopping import remove_marker
from emotion_llm.runtime.tensorboard import TensorBoardWriter


def main() -> None:
    pretrain(parse_settings(PRESETS, __doc__))


def pretrain(settings: PretrainSettings) -> bool:
    """False: the run was stopped on request before its last step."""
    device = start_processes()
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs that have it
    with locked(settings.run):
        remove_marker(settings.run)
        data = open_data(settings)
        steps_per_epoch = count_steps(settings.global_batch, len(data.items), process_count())
        model = build_model(settings, data)
        if settings.start_from is not None:
            say(f"starts from {settings.start_from}: {take_over(model, data.emotions, load_encoder(settings.start_from))}")
        optimizer = build_optimizer(model.to(device), settings)
        metadata = describe(settings, data)
        steps_done = load_state(settings.run, model, optimizer, metadata, steps_per_epoch)
        if steps_done == settings.epochs * steps_per_epoch:
            with suppress(UserError):  # a missing or damaged encoder is written again
                load_encoder(settings.run)
                say(f"{settings.run}: already trained; for another run choose another --run folder")
                return True

        say_plan(settings, data, model, steps_per_epoch, steps_done)
        tensorboard = TensorBoardWriter(settings.run, steps_done, settings.epochs * steps_per_epoch)
        done = train(model, optimizer, data, settings, steps_per_epoch, steps_done, tensorboard, metadata)
        if not done:  # stopped, saved
            tensorboard.close()
            return False

        fit_classifier(model, data)
        held_out = evaluate(model, data, tensorboard, settings.epochs, settings.epochs * steps_per_epoch)
        show_results(tensorboard, model, data, settings, held_out, settings.epochs * steps_per_epoch)
        tensorboard.close()
        if is_first_rank():
            save_encoder(settings.run, model, metadata | {"held_out": held_out})
        gather_over_processes(None)  # the encoder is written
        say(f"encoder done: {settings.run}; watch it with: tensorboard --logdir {settings.run.parent}")
        return True


if __name__ == "__main__":
    run(main)
