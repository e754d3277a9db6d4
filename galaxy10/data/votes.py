"""Votes: how many people, or which share of them, chose each class for a galaxy.

A file's votes are columns of the store's table, one for each class. A galaxy's label is the class with the most votes.
"""

from typing import Any

import numpy as np
import pandas as pd

from galaxy10.errors import Galaxy10Error

VOTES = "votes"  # the data set of an HDF5 file, and the key of a batch
NO_VOTES = "no votes"  # the reason in the split
MAX_CLASSES = 1000
_PREFIX = "votes_"  # of the columns in the store's table
_MORE_THAN_ONE = 1.5  # the sum of a galaxy's votes; fractions add up to 1, apart from rounding


def check_votes(values: Any, where: str) -> np.ndarray:
    """Return votes (N, C) float64 after a check; a row of NaN, as in a survey without an answer, has no votes.

    Args:
        values: (N, C), counts or fractions.
        where: the file and the name of the values, for messages.

    Raises:
        Galaxy10Error: the values are no numbers, not finite or negative, there are fewer than two classes, or no row
            has a vote.
    """
    given = np.asarray(values)
    if given.ndim != 2 or not 2 <= given.shape[1] <= MAX_CLASSES:
        raise Galaxy10Error(f"{where} has shape {given.shape}; expected (N, C), the votes for each of C ≥ 2 classes")
    if given.dtype.kind not in "iuf":
        raise Galaxy10Error(f"{where} is {given.dtype}; expected numbers: counts of votes, or fractions")
    votes = given.astype(np.float64)
    votes[np.isnan(votes).all(axis=1)] = 0
    for wrong, what in ((~np.isfinite(votes), "not finite"), (votes < 0, "negative")):
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            raise Galaxy10Error(
                f"{where} is {what} in row {row} (class {column}: {given[row, column]:g}); give counts or fractions "
                "from 0, and only zeros for a galaxy without votes"
            )
    if len(votes) and not votes.any():
        raise Galaxy10Error(f"{where} holds no vote; give counts or fractions above 0")
    return votes


def majority(votes: np.ndarray) -> np.ndarray:
    """Return the class with the most votes, (N,) int64; of equally many, the first one."""
    most: np.ndarray = votes.argmax(axis=1).astype(np.int64)
    return most


def fractions(votes: np.ndarray) -> np.ndarray:
    """Return votes (N, C) divided by their sum in each row; zeros for a row without votes."""
    total = votes.sum(axis=1, keepdims=True)
    shares: np.ndarray = votes / np.where(total > 0, total, 1)
    return shares


def are_counts(votes: np.ndarray) -> bool:
    """Return whether votes (N, C) are counts: in some row they add up to more than 1; otherwise they are fractions."""
    return bool((votes.sum(axis=1) > _MORE_THAN_ONE).any())


def vote_columns(votes: np.ndarray) -> dict[str, np.ndarray]:
    """Return votes (N, C) as columns of a store's table."""
    return {f"{_PREFIX}{k}": votes[:, k] for k in range(votes.shape[1])}


def votes_of(table: pd.DataFrame) -> np.ndarray | None:
    """Return the votes (N, C) float64 in a store's table; None if the file has none."""
    names = [name for name in map(str, table.columns) if name.removeprefix(_PREFIX).isdecimal()]
    names = sorted((name for name in names if name.startswith(_PREFIX)), key=lambda name: int(name[len(_PREFIX) :]))
    return table[names].to_numpy(np.float64) if names else None


def without_votes(table: pd.DataFrame) -> np.ndarray:
    """Return which rows (N,) bool of a store's table have no votes; none of a file without any."""
    votes = votes_of(table)
    return np.zeros(len(table), dtype=bool) if votes is None else votes.sum(axis=1) == 0


def check_soft_labels(soft_labels: bool | str, table: pd.DataFrame, path: object) -> None:
    """Check that a store's table has votes if data.soft_labels=true.

    Raises:
        Galaxy10Error: it has none.
    """
    if soft_labels is True and votes_of(table) is None:
        raise Galaxy10Error(
            f"data.soft_labels=true trains on votes, and {path} has none; give a data set `{VOTES}` (N, C), or type "
            "data.soft_labels=auto"
        )


def votes_note(votes: np.ndarray) -> str:
    """Return one line that describes votes (N, C)."""
    total = votes.sum(axis=1)
    given = total[total > 0]
    what = f"counts, {given.min():g} to {given.max():g} of a galaxy" if are_counts(votes) else "fractions"
    missing = len(total) - len(given)
    dropped = f"; {missing:,} galaxies have none and are dropped" if missing else ""
    return f"labels are the majority of votes ({what}){dropped}"


def seen_per_class(images: np.ndarray, labels: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return how many images of each class, (C,), a network sees that is trained on vote fractions.

    Args:
        images: (C,) number of images of each majority class.
        labels, votes: (n,) and (n, C) of the training images; n at least 1.
    """
    total = np.zeros((len(images), votes.shape[1]))
    np.add.at(total, labels, fractions(votes))
    number = np.bincount(labels, minlength=len(images))
    seen: np.ndarray = (images / np.maximum(number, 1)) @ total
    return seen
