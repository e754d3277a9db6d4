"""Take the label smoothing of the training back from a network's probabilities."""

from pathlib import Path

import numpy as np

from galaxy10.config.building import TARGET
from galaxy10.runs.trained import run_config

_UNEVEN = "galaxy10.models.losses.LogitAdjusted"  # spreads it over the classes in other shares
SMALLEST_SHARE = 0.1  # of a probability that stays, however small it is: none becomes 0, and their order stays


def remove_label_smoothing(samples: np.ndarray, amount: float) -> np.ndarray:
    """Return probabilities (…, C) as they would be without a label smoothing of this amount in the training.

    A network that is trained on targets (1 − ε) · label + ε / C learns (1 − ε) · p + ε / C. A temperature cannot undo
    it: sure galaxies stay underconfident while others become overconfident. Solved for p; it is the inverse of a noise
    matrix (Patrini et al. 2017, arXiv 1609.03683, theorem 2). What a probability lies below ε / C is noise: a tenth of
    it stays.

    Args:
        amount: ε, at least 0 and below 1; 0 changes nothing.
    """
    if amount == 0:
        return samples
    probabilities = samples.astype(np.float64)
    found = np.maximum((probabilities - amount / samples.shape[-1]) / (1 - amount), SMALLEST_SHARE * probabilities)
    normalised: np.ndarray = (found / found.sum(axis=-1, keepdims=True)).astype(samples.dtype)
    return normalised


def trained_label_smoothing(run: Path) -> float:
    """Return the label smoothing that a run was trained with, spread evenly: `label_smoothing` of its loss, or 0."""
    loss = run_config(run).get("loss") or {}
    value = loss.get("label_smoothing") if loss.get(TARGET) != _UNEVEN else None
    return float(value) if isinstance(value, int | float) and 0 < value < 1 else 0.0
