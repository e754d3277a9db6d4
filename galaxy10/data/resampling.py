"""Resampling of unequal classes: how often an epoch repeats each training image. No pixel is copied."""

import numpy as np

NUM_DIHEDRAL = 8  # flips and quarter turns of a square
METHODS = ("none", "soft", "dihedral", "weighted")


def repeats_per_row(labels: np.ndarray, method: str) -> np.ndarray | None:
    """Return how often an epoch repeats each training row, (n,) int64; None if it is drawn anew (weighted).

    none: every row once.
    dihedral: rows of rarer classes are repeated in more of their eight flips and quarter turns, until the class is as
        large as the largest one, or eight times its own size. The remainder goes to the first rows of the class.
    soft: half of that on a logarithmic scale, class sizes ∝ the square root of the original ones (Mahajan et al. 2018,
        arXiv 1805.00932), with the same limit of eight repeats.

    Args:
        labels: (n,) of the training subset.
        method: one of METHODS.
    """
    if method == "weighted":
        return None
    repeats = np.ones(len(labels), dtype=np.int64)
    if method in ("dihedral", "soft"):
        largest = np.bincount(labels).max()
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            wanted = largest if method == "dihedral" else round((largest * len(rows)) ** 0.5)
            total = min(wanted, NUM_DIHEDRAL * len(rows))
            repeats[rows] = total // len(rows)
            repeats[rows[: total % len(rows)]] += 1
    return repeats


def epoch_plan(labels: np.ndarray, method: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one epoch in random order: positions in the training subset, repeat_index and dihedral, each (E,).

    A row that is repeated k times has repeat_index 0…k−1 and k different flips or turns. weighted: n draws with
    replacement, each class equally likely.

    Args:
        labels: (n,) of the training subset.
    """
    repeats = repeats_per_row(labels, method)
    if repeats is None:
        weight = 1.0 / np.bincount(labels)[labels]
        drawn = rng.choice(len(labels), size=len(labels), p=weight / weight.sum())
        repeats = np.bincount(drawn, minlength=len(labels))
    positions = np.repeat(np.arange(len(labels)), repeats)
    repeat_index = np.arange(len(positions)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    dihedral = np.zeros_like(repeat_index) if method == "weighted" else repeat_index
    order = rng.permutation(len(positions))
    return positions[order], repeat_index[order], dihedral[order]


def samples_per_class(labels: np.ndarray, method: str, num_classes: int) -> np.ndarray:
    """Return the number of training samples of each class in an epoch, (C,); the expected number for weighted."""
    repeats = repeats_per_row(labels, method)
    if repeats is None:
        present = np.bincount(labels, minlength=num_classes) > 0
        return np.where(present, len(labels) / present.sum(), 0.0)
    return np.bincount(labels, weights=repeats, minlength=num_classes)
