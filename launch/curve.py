"""Trains the description stage from growing numbers of described motions, evaluates each, and writes one table, as Markdown.

    python launch/curve.py --preset demo
    python launch/curve.py --preset demo --beside runs/demo/words                # a row of another evaluated run in the same table
    deepspeed --num_gpus 4 launch/curve.py                                       # the runs on four GPUs, one after the other

Needs a recognition run of launch/finetune.py to start from. Run again, it skips the finished runs and continues.
"""

from emotion_llm.evaluation.curve import PRESETS, CurveSettings, evaluation_of, explanation_table, is_finished, points
from emotion_llm.runtime.console import parse_settings, run, say
from emotion_llm.runtime.files import atomic_write
from emotion_llm.runtime.launcher import is_first_rank
from launch.evaluate import evaluate
from launch.finetune import finetune


def main() -> None:
    curve(parse_settings(PRESETS, __doc__))


def curve(settings: CurveSettings) -> str | None:
    """The table as Markdown; None if it was stopped on request."""
    for point in points(settings):
        if not is_finished(point):
            say(f"\n== {point.described_motions or 'all'} described motions")
            if not finetune(point):
                return None
            evaluate(evaluation_of(settings, point))
    table = explanation_table([*settings.beside, *(point.run for point in points(settings))])
    if is_first_rank():
        with atomic_write(settings.run / "table.md") as tmp:
            tmp.write_text(table, encoding="utf-8")
    say(f"\n{table}\nwrote {settings.run / 'table.md'}")
    return table


if __name__ == "__main__":
    run(main)
