"""A run tells in TensorBoard where its time goes and how much of the device it uses."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from emotion_llm.runtime.tensorboard import Tag
from emotion_llm.training.efficiency import PHASES, StepClock, matrix_peak, peak_memory_bytes

CPU = torch.device("cpu")


def scalars(run) -> dict[str, list[float]]:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {name: [event.value for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_phases_are_logged_and_add_up_to_no_more_than_the_step(small_world, tmp_path):
    settings = small_world.train(tmp_path, max_steps=2)
    logged = scalars(tmp_path)
    for step, rate in enumerate(logged[Tag.SAMPLES_PER_SECOND]):
        phases = [logged[f"{Tag.SECONDS_IN}_{phase}"][step] for phase in PHASES]
        assert min(phases) > 0
        assert sum(phases) <= settings.global_batch / rate * 1.000001  # TensorBoard keeps float32


def test_mfu_and_peak_memory_are_logged(small_world, tmp_path):
    small_world.train(tmp_path, max_steps=2)
    logged = scalars(tmp_path)
    assert len(logged["speed/mfu"]) == 2
    assert all(0 < mfu < 1 for mfu in logged["speed/mfu"])
    assert logged["speed/peak_memory_gb"][-1] == pytest.approx(peak_memory_bytes(CPU) / 1e9, rel=0.2)
    assert all(value > 0 for name in ("samples", "tokens") for value in logged[f"speed/{name}_per_second"])


def test_a_phase_that_comes_again_adds_up():
    clock = StepClock(CPU)
    for _ in range(3):
        with clock.phase("forward"):
            torch.ones(1000).sum()
    assert 0 < clock.phases["forward"] <= clock.seconds
    assert clock.phases["backward"] == 0


def test_measuring_the_matrix_peak_leaves_the_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert matrix_peak(CPU, torch.float32, seconds=0.05) > 1e8
    assert torch.equal(torch.rand(3), expected)
