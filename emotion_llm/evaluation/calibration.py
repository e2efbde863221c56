"""Calibration: one temperature makes probabilities as large as they are right.

probabilities (N, K) and emotions (N,) of clips that no model was trained on and no result is reported of  ->  temperature
probabilities (..., K), temperature  ->  calibrated probabilities (..., K)

The temperature divides the logarithms of a clip's probabilities (Guo et al. 2017, "On calibration of modern neural networks"), so it
changes no answer. It works on what predictions.jsonl holds: the mean over a clip's windows, rounded to six decimals.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

SMALLEST_PROBABILITY = 1e-7
"""Probabilities are rounded to six decimals: what reads 0 is taken as this."""
BOUNDS = (0.1, 10.0)
"""Of a temperature: a few clips, all of them right, would otherwise ask for zero."""


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Calibrated probabilities.

    Shape:
        (..., K)  ->  (..., K); rows sum to 1
    """
    return softmax(np.log(np.maximum(probabilities, SMALLEST_PROBABILITY)) / temperature, axis=-1)


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The temperature of the least cross-entropy, within BOUNDS.

    Args:
        probabilities: (N, K).
        truth: (N,) index of the true emotion.
    """
    logarithms = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))

    def cross_entropy(log_temperature: float) -> float:
        return -log_softmax(logarithms / np.exp(log_temperature), axis=1)[np.arange(len(truth)), truth].mean()

    return float(np.exp(minimize_scalar(cross_entropy, bounds=np.log(BOUNDS), method="bounded").x))
