"""Evaluates a fine-tuned run on its held-out motions: metrics.json and predictions.jsonl.

    deepspeed --num_gpus 4 launch/evaluate.py --run runs/description
    python launch/evaluate.py --preset demo                                     # one process, the same figures

Needs a run of launch/finetune.py; a process or several give the same figures.
"""

from pathlib import Path

from emotion_llm.evaluation.evaluate import PRESETS, EvaluateSettings, check_same_data, evaluate_corpus, write_results
from emotion_llm.inference.trained_model import TrainedModel
from emotion_llm.inference.trained_run import find_run
from emotion_llm.report.folder import write_reports
from emotion_llm.report.sources import evaluated_clips
from emotion_llm.runtime.console import parse_settings, run, say
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import start_processes
from emotion_llm.skeleton_tokens.encoded_corpus import encode_corpora


def main() -> None:
    evaluate(parse_settings(PRESETS, __doc__))


def evaluate(settings: EvaluateSettings) -> dict:
    device = start_processes()
    trained = TrainedModel.of(find_run(settings.run, True, settings.encoder_share), settings.llm, device)
    say(trained.title)
    data, names = settings.data or Path(trained.settings["data"]), settings.corpora or tuple(trained.settings["corpora"])
    corpora = encode_corpora(trained.encoder, data, names, device, settings.accept_other_data, movement=trained.movement)
    differing = check_same_data(trained, corpora, settings.accept_other_data)

    metrics, predictions = {}, []
    for encoded in corpora:
        metrics[encoded.corpus.name], records = evaluate_corpus(trained, encoded, settings)
        predictions += records
    result = write_results(settings, trained, [encoded.corpus for encoded in corpora], metrics, predictions, differing)
    if settings.html is not None and is_first_rank():
        clips = evaluated_clips(predictions, [encoded.corpus for encoded in corpora])
        say(f"the report is in {write_reports(settings.html, f'Held-out clips of {trained.checkpoint.run}', clips)}")
    return result


if __name__ == "__main__":
    run(main)
