"""Writes a trained run as one folder that works on another machine, and whose LLM opens in plain transformers.

    python launch/export.py exported --run runs/description                # the adapter merged into the LLM's weights
    python launch/export.py exported --run runs/description --no-merge     # base LLM and adapter apart

Needs a run of launch/finetune.py.
"""

from emotion_llm.inference.exporting import PRESETS, export
from emotion_llm.inference.trained_run import find_run
from emotion_llm.runtime.console import parse_settings, run, say


def main() -> None:
    settings = parse_settings(PRESETS, __doc__)
    folder = export(find_run(settings.run), settings)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    say(f"{folder}: ready, {size / 1e6:,.1f} MB; complete the words in capitals in {folder / 'README.md'} before you pass it on")


if __name__ == "__main__":
    run(main)
