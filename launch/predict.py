"""Names the emotion of motion files, with probabilities, and explains it.

    python launch/predict.py clip.bvh --run runs/description
    python launch/predict.py recordings 'more/**/*.bvh' --run runs/description --output answers.jsonl      # resumed if interrupted
    python launch/predict.py recordings --run runs/description --html report                              # pages, with report/index.html
    deepspeed --num_gpus 4 launch/predict.py recordings --run runs/description --output answers.jsonl      # shared among four processes

Exit status: 0 success; 2 nothing was done, one line says why; 3 done, but some files could not be read (named above).
"""

import contextlib
import sys

from emotion_llm.inference.answer import Answer
from emotion_llm.inference.prediction import PRESETS, PredictSettings, predict
from emotion_llm.inference.recordings import Conventions, find_clips
from emotion_llm.inference.timeline import Timeline
from emotion_llm.runtime.console import parse_settings, run, say
from emotion_llm.runtime.launcher import is_first_rank


def main() -> None:
    settings = parse_settings(PRESETS, __doc__)
    with contextlib.redirect_stdout(sys.stderr) if settings.json else contextlib.nullcontext():
        status = predict_with_pages(settings) if settings.html is not None else predict(settings)
    if status:
        sys.exit(status)


def predict_with_pages(settings: PredictSettings) -> int:
    """Answers, and writes the answers as pages."""
    from emotion_llm.report.folder import Report  # most predictions need no report and should start quickly
    from emotion_llm.report.sources import predicted_clip

    assert settings.html is not None
    report = Report(settings.html, len(find_clips(settings.clips)))

    def draw(answer: Answer | Timeline, conventions: Conventions) -> None:
        if clip := predicted_clip(answer, conventions, settings):
            report.add(clip)

    status = predict(settings, draw)
    if is_first_rank() and (page := report.close(f"Clips read by {settings.run}")):
        say(f"the report is in {page}")
    return status


if __name__ == "__main__":
    run(main, at_once=True)
