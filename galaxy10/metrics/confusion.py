"""Confusion matrix and scores of each class of a prediction table, in NumPy."""

from collections.abc import Sequence
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
