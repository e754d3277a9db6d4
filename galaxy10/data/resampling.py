"""Which training galaxies one epoch shows, and how often: the answer to unequal classes. No pixel is copied."""

import numpy as np

NUM_ORIENTATIONS = 8
METHODS = ("none", "soft", "dihedral", "weighted")


def repeats_per_row(labels: np.ndarray, method: str) -> np.ndarray | None:
    """How often each training row is shown in an epoch, (n,) whole numbers; None where it is drawn anew (weighted).

    dihedral: rows of rarer classes are shown in more of their eight flips and quarter turns, until the class is
    as large as the largest, or eight times its size. What does not divide goes to the first rows of the class.
    soft: half-way there, on a logarithmic scale: class sizes as the square root of what they were (Mahajan et al.
    2018, arXiv 1805.00932). Rare classes are learnt without the common ones being suspected everywhere.
    """
    if method == "weighted":
        return None
    showings = np.ones(len(labels), dtype=np.int64)
    if method in ("dihedral", "soft"):
        largest = np.bincount(labels).max()
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            wanted = largest if method == "dihedral" else round((largest * len(rows)) ** 0.5)
            total = min(wanted, NUM_ORIENTATIONS * len(rows))
            showings[rows] = total // len(rows)
            showings[rows[: total % len(rows)]] += 1
    return showings


def epoch_plan(labels: np.ndarray, method: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One epoch's showings in random order: positions in the training subset, copy numbers, dihedral, each (E,).

    labels: (n,) of the training subset. A row that is shown k times comes as copies 0…k−1 in k different dihedral.
    weighted: n draws with replacement, each class equally likely.
    """
    showings = repeats_per_row(labels, method)
    if showings is None:
        weight = 1.0 / np.bincount(labels)[labels]
        drawn = rng.choice(len(labels), size=len(labels), p=weight / weight.sum())
        showings = np.bincount(drawn, minlength=len(labels))
    positions = np.repeat(np.arange(len(labels)), showings)
    copies = np.arange(len(positions)) - np.repeat(np.cumsum(showings) - showings, showings)
    dihedral = np.zeros_like(copies) if method == "weighted" else copies
    order = rng.permutation(len(positions))
    return positions[order], copies[order], dihedral[order]


def samples_per_class(labels: np.ndarray, method: str, num_classes: int) -> np.ndarray:
    """How many training galaxies of each class an epoch shows, (C,); the expected number where they are drawn."""
    showings = repeats_per_row(labels, method)
    if showings is None:
        present = np.bincount(labels, minlength=num_classes) > 0
        return np.where(present, len(labels) / present.sum(), 0.0)
    return np.bincount(labels, weights=showings, minlength=num_classes)
