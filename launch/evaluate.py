"""Evaluates a fine-tuned run on its held-out motions: metrics.json and predictions.jsonl.

deepspeed --num_gpus 4 launch/evaluate.py --checkpoint runs/description
python launch/evaluate.py --preset demo                                     # one process, the same figures
"""

from emotion_llm.evaluation.evaluate import PRESETS, evaluate
from emotion_llm.runtime.console import parse_settings, run


def main() -> None:
    settings = parse_settings(PRESETS, __doc__)
    evaluate(settings)


if __name__ == "__main__":
    run(main)
