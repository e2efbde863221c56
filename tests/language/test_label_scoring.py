"""Label scoring of clips: every clip and window counts once, at any number of processes, and the model is left as it was."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from emotion_llm.inference.trained_model import load
from emotion_llm.language import label_scoring
from emotion_llm.language.label_scoring import CorpusScores, emotion_probabilities, pooled, score_clips
from emotion_llm.language.model import EmotionLLM
from emotion_llm.skeleton_tokens.encoded_corpus import encode_corpora

CPU = torch.device("cpu")
WINDOWS = {5: [0, 1, 2], 6: [3], 8: [4, 5]}
"""Clip -> its windows."""
EMOTIONS = ("anger", "joy", "sadness")


def probabilities(windows: list[int]) -> torch.Tensor:
    return torch.softmax(torch.tensor([[0.1, 0.7, 0.2]], dtype=torch.float64) * torch.tensor(windows)[:, None], dim=1)


@pytest.fixture
def score(monkeypatch):
    """score() -> the probabilities of the clips of WINDOWS, under a model that knows each window by its number."""
    monkeypatch.setattr(label_scoring, "emotion_probabilities", lambda model, prompts, windows, emotions, device: probabilities(windows))
    encoded = SimpleNamespace(
        corpus=SimpleNamespace(name="toy", emotions=EMOTIONS),
        windows_of_clips=lambda clips: [window for clip in clips for window in WINDOWS[clip]],
        skeleton_tokens=lambda window: (window * 5) % 6,
        emotion_index=lambda window: window % 3,
    )
    model = SimpleNamespace(evaluating=nullcontext)
    return lambda: score_clips(model, None, encoded, tuple(WINDOWS), CPU, motion=lambda window: window)


def test_a_label_is_scored_the_same_alone_and_in_company(small_world, recognition_run):
    run = load(recognition_run, None, CPU, torch.float32)
    encoded = encode_corpora(run.encoder, small_world.data, ("egbm",), "cpu")[0]
    motions = [encoded.motion(window) for window in range(20)]
    together = emotion_probabilities(run.model, run.prompts, motions, encoded.corpus.emotions, CPU)
    alone = torch.cat([emotion_probabilities(run.model, run.prompts, [m], encoded.corpus.emotions, CPU) for m in motions])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(together.sum(1), torch.ones(20, dtype=torch.float64))


def test_a_clips_probabilities_are_the_mean_over_its_windows(score):
    scores = score()
    for row, windows in zip(scores.probabilities, WINDOWS.values(), strict=True):
        torch.testing.assert_close(row, probabilities(windows).mean(0))
    assert scores.truth.tolist() == [0, 0, 1]


def test_each_process_scores_its_own_clips_and_all_get_the_sum(score, monkeypatch):
    alone, parts = score().probabilities, []
    monkeypatch.setattr(label_scoring, "process_count", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(label_scoring, "process_rank", lambda rank=rank: rank)
        parts.append(score().probabilities)
    torch.testing.assert_close(parts[0] + parts[1], alone)
    assert [part.any(1).tolist() for part in parts] == [[True, False, True], [False, True, False]]


def test_accuracy_is_that_of_the_likeliest_emotion_and_chance_that_of_the_label_set():
    scores = CorpusScores(EMOTIONS, (1, 2), torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]]), torch.tensor([1, 2]))
    assert scores.accuracy == 0.5
    assert scores.chance == pytest.approx(1 / 3)
    assert scores.never_answered == ("sadness",), "shown by the second clip; no clip shows anger"


@pytest.mark.parametrize("training", [True, False])
def test_a_model_is_left_in_the_mode_in_which_it_was(training):
    model = torch.nn.Dropout().train(training)
    with EmotionLLM.evaluating(model):
        assert not model.training
    assert model.training is training
    with pytest.raises(OSError), EmotionLLM.evaluating(model):
        raise OSError
    assert model.training is training


def test_the_pooled_answer_lies_between_the_llms_and_the_encoders():
    llm, encoder = torch.tensor([[0.9, 0.1, 0.0]]), torch.tensor([[0.2, 0.3, 0.5]])
    torch.testing.assert_close(pooled(llm, encoder, 0.0), llm.double())
    torch.testing.assert_close(pooled(llm, encoder, 1.0), encoder.double())
    torch.testing.assert_close(pooled(encoder, encoder, 0.3), encoder.double())
    product = (0.9 * 0.2) ** 0.5, (0.1 * 0.3) ** 0.5
    expected = [product[0] / sum(product), product[1] / sum(product), 0.0]  # what one of them rules out stays ruled out
    torch.testing.assert_close(pooled(llm, encoder, 0.5)[0], torch.tensor(expected, dtype=torch.float64))


def test_what_both_rule_out_is_still_a_distribution():
    certain = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(pooled(*certain, 0.5), torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64))
