"""Names the emotion of motion files, with probabilities, and explains it.

python launch/predict.py clip.bvh --run runs/description
python launch/predict.py recordings 'more/**/*.bvh' --run runs/description --output answers.jsonl      # resumed if interrupted
deepspeed --num_gpus 4 launch/predict.py recordings --run runs/description --output answers.jsonl      # shared among four processes

Exit status: 0 success; 2 nothing was done, one line says why; 3 done, but some files could not be read (named above).
"""

import contextlib
import sys

from emotion_llm.evaluation.prediction import PRESETS, predict
from emotion_llm.runtime.console import parse_settings, run


def main() -> None:
    settings = parse_settings(PRESETS, __doc__)
    with contextlib.redirect_stdout(sys.stderr) if settings.json else contextlib.nullcontext():
        status = predict(settings)
    if status:
        sys.exit(status)


if __name__ == "__main__":
    run(main)
