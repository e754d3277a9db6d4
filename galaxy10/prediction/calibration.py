"""What a run's validation galaxies say about how far its probabilities can be believed."""

from math import exp, log

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from galaxy10.metrics.classification import classification_metrics
from galaxy10.prediction.calibration_file import Calibration

_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 0.05, 20.0
# What is believed of ln T beforehand: normal around 0. A dozen galaxies that are all judged right would otherwise call
# for certainty; against hundreds it counts for nothing.
_PRIOR_WIDTH = 0.5


def apply_temperature(samples: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (…, C) as if the logits had been divided by a temperature (Guo et al. 2017, arXiv 1706.04599)."""
    if temperature == 1:
        return samples
    logits = np.log(np.maximum(samples.astype(np.float64), 1e-30)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(samples.dtype)


def calibrate(samples: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit one temperature to all samples, so that the mean of what they say loses least; then the conformal scores.

    The fit is the most probable temperature under a broad prior around 1.

    Args:
        samples: (K, N, C) probabilities: K answers (members, dropouts) for each validation galaxy.
        labels: (N,) class numbers.
    """
    samples = samples.astype(np.float64)
    picked = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        mean = apply_temperature(samples, exp(log_temperature)).mean(axis=0)
        return float(-np.log(np.maximum(mean[picked, labels], 1e-12)).mean())

    bounds = (log(_LOWEST_TEMPERATURE), log(_HIGHEST_TEMPERATURE))

    def regret(log_temperature: float) -> float:
        return len(labels) * loss(log_temperature) + 0.5 * (log_temperature / _PRIOR_WIDTH) ** 2

    best = round(exp(minimize_scalar(regret, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x), 4)
    before, after = samples.mean(axis=0), apply_temperature(samples, best).mean(axis=0)
    return Calibration(
        temperature=best,
        scores=np.sort(1 - after[picked, labels]).tolist(),
        raw_scores=np.sort(1 - before[picked, labels]).tolist(),
        loss=(loss(0.0), loss(log(best))),
        calibration_error=(_calibration_error(before, labels), _calibration_error(after, labels)),
    )


def _calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    names = [str(number) for number in range(probabilities.shape[1])]
    error = classification_metrics(torch.tensor(probabilities), torch.tensor(labels), names)
    return float(error["calibration_error"] or 0.0)
