"""McNemar's test of two models on the same galaxies, and Holm's correction for several tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, chi2

EXACT_BELOW = 25  # below this number of disagreements the χ² approximation is poor and the binomial test is cheap


@dataclass(frozen=True)
class McNemarResult:
    """The result of McNemar's test.

    Attributes:
        only_first: number of galaxies that only the first model classifies correctly.
        only_second: number of galaxies that only the second model classifies correctly.
        p: two-sided p-value.
        exact: whether p comes from the binomial test.
    """

    only_first: int
    only_second: int
    p: float
    exact: bool


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> McNemarResult:
    """Compare two classifiers with McNemar's test (1947, Psychometrika 12, 153).

    The test is the exact binomial below 25 disagreements, else χ² with Edwards' correction. Without a disagreement,
    p is 1.

    Args:
        first_right, second_right: (N,) bool, whether each model classifies each galaxy correctly, in the same order.
    """
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    disagree = only_first + only_second
    if disagree < EXACT_BELOW:
        p = float(binomtest(only_first, disagree).pvalue) if disagree else 1.0
        return McNemarResult(only_first, only_second, p, exact=True)
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / disagree
    return McNemarResult(only_first, only_second, float(chi2.sf(statistic, 1)), exact=False)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for multiple tests with Holm's method (1979, Scand. J. Statist. 6, 65)."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    highest = 0.0
    for step, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[index]))
        corrected[index] = highest
    return corrected.tolist()
