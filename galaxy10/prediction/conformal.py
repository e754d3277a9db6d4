"""Split conformal prediction: sets of classes that contain the true one with a chosen coverage, and are never empty."""

from collections.abc import Sequence
from math import ceil

import numpy as np


def set_scores(probabilities: np.ndarray) -> np.ndarray:
    """Return the conformal score (N, C) of every class: 0 for the most probable class, one minus p for the others.

    With 1 − p for all classes (Sadinle, Lei & Wasserman 2019, JASA 114, 223) the sets of a network that is more
    accurate than the coverage are empty for its most ambiguous galaxies. The score 0 keeps the most probable class in
    every set, and the coverage is still that of split conformal prediction. On Galaxy Zoo images the mean size is below
    that of adaptive sets (Romano et al. 2020, arXiv 2006.02544; Angelopoulos et al. 2021, arXiv 2009.14193) at the
    same coverage; docs/catalogue.md has the numbers.
    """
    scores: np.ndarray = 1 - probabilities
    if scores.size:
        scores[np.arange(len(scores)), probabilities.argmax(axis=1)] = 0
    return scores


def scores_by_class(probabilities: np.ndarray, labels: np.ndarray) -> list[list[float]]:
    """Return the scores of the true classes of N galaxies, sorted, one list for each of C classes.

    probabilities: (N, C). labels: (N,) class numbers.
    """
    scores = set_scores(probabilities)[np.arange(len(labels)), labels]
    order = np.lexsort((scores, labels))
    ends = np.cumsum(np.bincount(labels, minlength=probabilities.shape[1]))[:-1]
    return [part.tolist() for part in np.split(scores[order], ends)]


def threshold(scores: Sequence[float], coverage: float) -> float:
    """Return the highest score that is still in a prediction set: the ⌈(n + 1) · coverage⌉-th smallest of n scores.

    This is the finite-sample quantile of Angelopoulos & Bates (2021, arXiv 2107.07511). Infinite, so that a class is in
    every set, if n is too small for this coverage.
    """
    rank = ceil((len(scores) + 1) * coverage - 1e-9)  # (9 + 1) · .9 is 9, whatever floats make of it
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float("inf")


def set_thresholds(scores: Sequence[Sequence[float]], coverage: float, per_class: bool) -> np.ndarray:
    """Return the threshold of each class (C,).

    Args:
        scores: of the true classes of validation galaxies, by class.
        coverage: between 0 and 1.
        per_class: whether each class has a threshold of its own, from its own galaxies, so that the coverage holds for
            each class (Mondrian conformal prediction; Vovk et al. 2005); else all have the same.
    """
    if per_class:
        return np.array([threshold(of_class, coverage) for of_class in scores])
    return np.full(len(scores), threshold([score for of_class in scores for score in of_class], coverage))


def prediction_set_mask(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return which classes are in the prediction sets, (N, C) bool; at least one class is in each.

    probabilities: (N, C). thresholds: (C,).
    """
    # The margin keeps the galaxy that defines the threshold in its own set, whatever another batch rounds to.
    inside: np.ndarray = set_scores(probabilities) <= thresholds + 1e-6
    return inside
