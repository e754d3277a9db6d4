"""How near predicted probabilities are to the fractions of people's votes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from galaxy10.classes import slugs

_SMALLEST = 1e-12  # probabilities below it count as this, as in the loss


def vote_metrics(table: pd.DataFrame, class_names: Sequence[str]) -> dict[str, float | None]:
    """Return the metrics of a prediction table with votes; none of a table without.

    Args:
        table: p_<slug> and vote_<slug> of every class, with a row at least.

    Returns:
        With probabilities p and vote fractions f (N, C), vote_brier: the mean of Σ (p − f)² over the galaxies (Brier
        1950, Mon. Weather Rev. 78, 1, with fractions in place of outcomes; 0 to 2). vote_kl: the mean Kullback-Leibler
        divergence Σ f ln(f / p), in nats. vote_entropy_correlation: Spearman's rank correlation of the entropies of p
        and f, that is of the network's uncertainty and people's disagreement (−1 to 1); None where either is constant.
    """
    names = slugs(class_names)
    if not all({f"p_{slug}", f"vote_{slug}"} <= set(table.columns) for slug in names):
        return {}
    p, f = (table[[f"{kind}_{slug}" for slug in names]].to_numpy(np.float64) for kind in ("p", "vote"))
    divergence = (f * np.log(np.maximum(f, _SMALLEST) / np.maximum(p, _SMALLEST))).sum(axis=1)
    return {
        "vote_brier": float(np.square(p - f).sum(axis=1).mean()),
        "vote_kl": float(divergence.mean()),
        "vote_entropy_correlation": _rank_correlation(_entropy(p), _entropy(f)),
    }


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    nats: np.ndarray = -(probabilities * np.log(np.maximum(probabilities, _SMALLEST))).sum(axis=1)
    return nats


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    from scipy.stats import spearmanr  # takes a second: only where there are votes

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one, other).statistic)
