"""Names the emotion of one motion file, with its probability, and explains it.

python launch/predict.py clip.bvh --checkpoint runs/description
"""

from emotion_llm.evaluation.prediction import PRESETS, as_json, predict
from emotion_llm.runtime.console import parse_settings, run, say


def main() -> None:
    settings = parse_settings(PRESETS, __doc__)
    prediction = predict(settings)
    say(as_json(prediction) if settings.json else prediction.text())


if __name__ == "__main__":
    run(main)
