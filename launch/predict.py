"""Names the emotion of one motion file, with its probability, and explains it.

python launch/predict.py clip.bvh --run runs/description
"""

import contextlib
import sys

from emotion_llm.evaluation.prediction import PRESETS, as_json, predict
from emotion_llm.runtime.console import parse_settings, run, say


def main() -> None:
    settings = parse_settings(PRESETS, __doc__)
    with contextlib.redirect_stdout(sys.stderr) if settings.json else contextlib.nullcontext():
        prediction = predict(settings)
    say(as_json(prediction) if settings.json else prediction.text())


if __name__ == "__main__":
    run(main)
