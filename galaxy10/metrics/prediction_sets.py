"""Coverage and size of prediction sets, of all galaxies and of each class."""

from collections.abc import Sequence

import numpy as np

from galaxy10.classes import slugs

COVERAGE, SET_SIZE = "coverage", "set_size"


def set_metrics(inside: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> dict[str, float | None]:
    """Return coverage, mean_set_size, and coverage_<slug>, set_size_<slug> of every class.

    Coverage is the share of galaxies (0–1) whose true class is in their prediction set, the size is the mean number of
    classes in a set. A class is the galaxies with this label; None for a class without galaxies.

    Args:
        inside: (N, C) bool, the prediction sets, N at least 1.
        labels: (N,) class numbers.
    """
    covered = inside[np.arange(len(labels)), labels].astype(float)
    size = inside.sum(axis=1).astype(float)
    result: dict[str, float | None] = {"coverage": float(covered.mean()), "mean_set_size": float(size.mean())}
    number = np.bincount(labels, minlength=len(class_names))
    for key, values in ((COVERAGE, covered), (SET_SIZE, size)):
        total = np.bincount(labels, weights=values, minlength=len(class_names))
        for slug, n, sum_of_class in zip(slugs(class_names), number, total, strict=True):
            result[f"{key}_{slug}"] = float(sum_of_class / n) if n else None
    return result
