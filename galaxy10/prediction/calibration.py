"""Temperature scaling and conformal scores, fitted to a run's validation galaxies."""

from math import exp, log

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from galaxy10.metrics.classification import classification_metrics
from galaxy10.prediction.calibration_file import Calibration
from galaxy10.prediction.conformal import scores_by_class
from galaxy10.prediction.temperature import apply_temperature

_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 0.05, 20.0
# The prior of ln T: normal around 0. Without it, a dozen galaxies that are all classified correctly would fit T = 0;
# with hundreds of galaxies it makes no difference.
_PRIOR_WIDTH = 0.5


def calibrate(samples: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit one temperature to all samples, then compute the conformal scores.

    The temperature minimises the cross-entropy of the mean over the samples, under a broad prior around 1.

    Args:
        samples: (K, N, C) probabilities: K outputs (members, dropout samples) for each validation galaxy.
        labels: (N,) class numbers.
    """
    samples = samples.astype(np.float64)
    picked = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        mean = apply_temperature(samples, exp(log_temperature)).mean(axis=0)
        return float(-np.log(np.maximum(mean[picked, labels], 1e-12)).mean())

    bounds = (log(_LOWEST_TEMPERATURE), log(_HIGHEST_TEMPERATURE))

    def objective(log_temperature: float) -> float:
        return len(labels) * loss(log_temperature) + 0.5 * (log_temperature / _PRIOR_WIDTH) ** 2

    best = round(exp(minimize_scalar(objective, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x), 4)
    before, after = samples.mean(axis=0), apply_temperature(samples, best).mean(axis=0)
    return Calibration(
        temperature=best,
        conformal_scores=scores_by_class(after, labels),
        uncalibrated_scores=scores_by_class(before, labels),
        loss=(loss(0.0), loss(log(best))),
        calibration_error=(_calibration_error(before, labels), _calibration_error(after, labels)),
    )


def _calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    names = [str(number) for number in range(probabilities.shape[1])]
    error = classification_metrics(torch.tensor(probabilities), torch.tensor(labels), names)
    return float(error["calibration_error"] or 0.0)
