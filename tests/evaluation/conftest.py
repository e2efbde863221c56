"""A recognition run and a description run of a few steps, on the small world."""

import pytest


@pytest.fixture(scope="session")
def recognition_run(small_world):
    run = small_world.folder / "recognition"
    small_world.train(run)
    return run


@pytest.fixture(scope="session")
def description_run(small_world, recognition_run):
    run = small_world.folder / "description"
    small_world.train(run, "description", start_from=recognition_run)
    return run
