"""Confusion matrix, scores of each class and reliability of a prediction table, in NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import pandas as pd


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the galaxies of each true class (row) with each predicted class (column).

    Args:
        labels, predicted: (N,) class numbers from 0 to C − 1.

    Returns:
        (C, C) integers; all 0 without galaxies.
    """
    flat = np.asarray(labels, dtype=np.int64) * num_classes + np.asarray(predicted, dtype=np.int64)
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_scores(counts: np.ndarray, absent: Sequence[int] = ()) -> pd.DataFrame:
    """Return precision, recall and F1 of every class from the confusion matrix (C, C).

    The table has one row per class: support, predicted, precision, recall, f1. A class among neither labels nor
    predictions has F1 NaN; a class that is never predicted has F1 0, as in scikit-learn, and precision NaN.

    absent: classes that the evaluated file does not have at all; their F1 is NaN, whatever is predicted.
    """
    hits = np.diag(counts).astype(float)
    support, predicted = counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        table = pd.DataFrame(
            {
                "support": support,
                "predicted": predicted,
                "precision": hits / predicted,
                "recall": hits / support,
                "f1": 2 * hits / (support + predicted),
            }
        )
    table.loc[list(absent), "f1"] = np.nan
    return table


def accuracy_interval(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson interval of an accuracy measured on `total` galaxies (Wilson 1927, JASA 22, 209).

    z = 1.96 gives 95 % coverage. Without galaxies, both ends are NaN.
    """
    if total == 0:
        return float("nan"), float("nan")
    share = correct / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: one entry per bin of the top probability, all (bins,).

    confidence and accuracy are means within the bin, NaN where the bin is empty; error is the expected calibration
    error (L1, weighted by count).
    """

    edges: np.ndarray  # (bins + 1,)
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> Reliability | None:
    """Compute a reliability diagram with equal bins (Guo et al. 2017, arXiv 1706.04599).

    Args:
        labels: (N,) class numbers.
        probabilities: (N, C); rows that are not finite are left out.

    Returns:
        None without a finite row.
    """
    finite = np.isfinite(probabilities).all(axis=1) if probabilities.size else np.zeros(len(labels), bool)
    if not finite.any():
        return None
    probabilities, labels = probabilities[finite], np.asarray(labels)[finite]
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    # A top probability of exactly 1 belongs to the last bin, not to one of its own.
    index = np.clip(np.digitize(top, edges) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(divide="ignore", invalid="ignore"):
        confidence = np.bincount(index, weights=top, minlength=bins) / count
        accuracy = np.bincount(index, weights=right, minlength=bins) / count
    error = float(np.nansum(np.abs(confidence - accuracy) * count) / count.sum())
    return Reliability(edges, count, confidence, accuracy, error)
