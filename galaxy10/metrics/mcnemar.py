"""Is one model better than another, or was it luck? Both have judged the same galaxies, so the test pairs them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, chi2

EXACT_BELOW = 25  # fewer disagreements than this: the χ² approximation is poor, the binomial is cheap


@dataclass(frozen=True)
class McNemar:
    """only_first, only_second: galaxies that only the one model got right; p: two-sided; exact: by the binomial."""

    only_first: int
    only_second: int
    p: float
    exact: bool


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> McNemar:
    """McNemar's test (1947, Psychometrika 12, 153), χ² with Edwards' correction from 25 disagreements on.

    Args:
        first_right, second_right: (N,) whether each model was right about each galaxy, in the same order.
    """
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    disagree = only_first + only_second
    if disagree < EXACT_BELOW:
        p = float(binomtest(only_first, disagree).pvalue) if disagree else 1.0
        return McNemar(only_first, only_second, p, exact=True)
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / disagree
    return McNemar(only_first, only_second, float(chi2.sf(statistic, 1)), exact=False)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for having asked several questions (Holm 1979, Scand. J. Statist. 6, 65)."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    highest = 0.0
    for step, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[index]))
        corrected[index] = highest
    return corrected.tolist()
