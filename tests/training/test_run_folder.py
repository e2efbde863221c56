"""A run folder needs nothing beside it."""

import json

from emotion_llm.pretraining.trained_encoder import load_encoder
from emotion_llm.runtime.stopping import MARKER, leave_marker
from emotion_llm.training.assembly import open_run_folder


def test_the_folder_holds_all_that_evaluation_needs_and_no_old_marker(small_world, tmp_path):
    settings = small_world.settings(tmp_path / "run")
    leave_marker(settings.run, 3, "SIGTERM")
    open_run_folder(settings)
    assert not (settings.run / MARKER).exists()
    assert json.loads((settings.run / "settings.json").read_text())["max_steps"] == settings.max_steps
    assert load_encoder(settings.run / "encoder").encoder_hash == load_encoder(small_world.encoder).encoder_hash
