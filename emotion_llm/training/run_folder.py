"""A run folder is self-contained: it holds its settings and a copy of its encoder.

settings, encoder  ->  <run>/settings.json, <run>/encoder
"""

from __future__ import annotations

import shutil
from pathlib import Path

from emotion_llm.pretraining.trained_encoder import ABOUT, WEIGHTS
from emotion_llm.runtime.console import settings_to_dict
from emotion_llm.runtime.files import atomic_write, write_json
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.stopping import remove_marker
from emotion_llm.training.settings import FinetuneSettings


def open_run_folder(settings: FinetuneSettings) -> None:
    """Copies what evaluation and prediction need into the folder before the first step."""
    if is_first_rank():
        remove_marker(settings.run)
        write_json(settings.run / "settings.json", settings_to_dict(settings))
        for name in (WEIGHTS, ABOUT):
            _copy(settings.encoder / name, settings.run / "encoder" / name)


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as tmp:
        shutil.copyfile(source, tmp)
