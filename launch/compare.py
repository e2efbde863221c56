"""Trains and evaluates a grid of recipes, corpora, folds and seeds, and writes one table, as Markdown and JSON.

    python launch/compare.py --preset demo                                        # joint against single corpora, all folds, three seeds
    python launch/compare.py --preset demo --recipe slow --pretrain.learning-rate 0.01      # one change: more rows of the same table
    deepspeed --num_gpus 4 launch/compare.py --llm                                # with the LLM, on four GPUs

Needs prepared corpora (launch/prepare.py) and, with --llm, a language model. Run again, it skips the finished cells and continues.
"""

import time

import torch

from emotion_llm.evaluation.comparison import (
    PRESETS,
    Cell,
    CompareSettings,
    cells,
    finetune_settings,
    is_finished,
    pretrain_settings,
    write_cell,
    write_table,
)
from emotion_llm.evaluation.evaluate import baseline_records, training_records
from emotion_llm.evaluation.metrics import PredictionRecord
from emotion_llm.inference.trained_model import TrainedModel
from emotion_llm.inference.trained_run import find_run
from emotion_llm.pretraining.trained_encoder import load_encoder
from emotion_llm.runtime.console import parse_settings, run, say
from emotion_llm.runtime.processes import start_processes
from emotion_llm.skeleton_tokens.encoded_corpus import encode_corpora
from launch.finetune import finetune
from launch.pretrain_encoder import pretrain


def main() -> None:
    compare(parse_settings(PRESETS, __doc__))


def compare(settings: CompareSettings) -> str | None:
    """The table as Markdown; None if it was stopped on request."""
    device = start_processes()
    left = [cell for cell in cells(settings) if not is_finished(settings, cell)]
    for number, cell in enumerate(left, 1):
        say(f"\n== {number} of {len(left)} cells to do: {cell.recipe}, {cell.training}, fold {cell.fold}, seed {cell.seed}")
        begin = time.perf_counter()
        if cell.is_baseline:
            method, records = "majority", baseline_records(settings.pretrain.data / cell.training, pretrain_settings(settings, cell).split)
        else:
            done = pretrain(pretrain_settings(settings, cell)) and (not settings.llm or finetune(finetune_settings(settings, cell)))
            if not done:
                return None
            method, records = answers(settings, cell, device)
        write_cell(settings, cell, method, records, time.perf_counter() - begin)
        write_table(settings)
    table = write_table(settings)
    say(f"\n{table}\nwrote {settings.run / 'table.md'} and table.json")
    return table


def answers(settings: CompareSettings, cell: Cell, device: torch.device) -> tuple[str, list[PredictionRecord]]:
    """What the cell's run, or its encoder, answers to the held-out clips."""
    encoder = load_encoder(pretrain_settings(settings, cell).run)
    found = find_run(cell.folder(settings.run) / "recognition", accept_words=True) if settings.llm else None
    trained = TrainedModel.of(found, None, device) if found else None
    corpora = encode_corpora(encoder, settings.pretrain.data, cell.corpora, device, movement=found.movement if found else "tokens")
    records = [record for encoded in corpora for record in training_records(encoder, trained, encoded)]
    return "answer" if settings.llm else "encoder_classifier", records


if __name__ == "__main__":
    run(main)
