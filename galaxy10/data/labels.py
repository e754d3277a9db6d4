"""Class numbers as people write them (1, 2, 3 or 0, 65536), and the classes that they stand for."""

from collections.abc import Sequence

import numpy as np

from galaxy10.errors import Galaxy10Error

_SHOWN = 12


def classes_of(ids: np.ndarray, names: Sequence[str] | None, where: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the classes of class numbers as positions (N,) int64, and the number of each class.

    Without names, the classes are the numbers that occur, sorted. With names, numbers below len(names) are positions;
    other numbers must be as many as the names, and are matched with them in sorted order.

    Args:
        ids: (N,) int64, from 0.
        where: the file, for messages.

    Raises:
        Galaxy10Error: the numbers do not fit the names.
    """
    found, positions = np.unique(ids, return_inverse=True)
    if names is not None and found[-1] < len(names):
        return ids.astype(np.int64), tuple(range(len(names)))
    if names is not None and len(found) != len(names):
        raise Galaxy10Error(
            f"{where}: `ans` holds label {found[-1]}, but there are only {len(names)} class names "
            f"({shortened(names)}); give one name per class in data.class_names"
        )
    return positions.astype(np.int64), tuple(found.tolist())


def numbering_note(class_ids: Sequence[int], names: Sequence[str] | None, where: str) -> str | None:
    """Return one line that says which classes the numbers of a file are; None if they are positions from 0."""
    if tuple(class_ids) == tuple(range(len(class_ids))):
        return None
    if names is None:
        ids = shortened(list(map(str, class_ids)))
        return f"{where}: labels {ids} are {len(class_ids)} classes, named by their numbers"
    pairs = [f"{number} is {name}" for number, name in zip(class_ids, names, strict=True)]
    return f"{where}: the labels are not numbered from 0, class names are matched in sorted order: {shortened(pairs)}"


def shortened(words: Sequence[str]) -> str:
    """Return words separated by commas; of many only the first and the last."""
    shown = list(words) if len(words) <= _SHOWN else [*words[: _SHOWN - 1], "…", words[-1]]
    return ", ".join(shown)
