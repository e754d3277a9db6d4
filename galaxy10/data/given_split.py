"""A split that is given as a table, by row: of the file itself, of a split table, or the published one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.data.stratify import assign_parts
from galaxy10.errors import Galaxy10Error

_VAL_SHARE = 0.1  # of the training groups, if a split has no validation images


@dataclass(frozen=True)
class GivenSplit:
    """Subsets and folds of the N rows of a file.

    Attributes:
        name: for records, such as galaxy10-split-v1.
        setting: what was typed for it, for messages.
        instead: what to type to do without it.
        subset: (N,) train, val, test, or an empty text.
        fold: (N,) int64 from 0, −1 for a row in no fold; None without folds.
        reason: (N,) text, why a row is in no subset or fold.
        sha256: of the table's file; None for the split of a labelled file, which the file's content covers.
        notes: remarks for the report.
    """

    name: str
    setting: str
    instead: str
    subset: np.ndarray
    fold: np.ndarray | None
    reason: np.ndarray
    sha256: str | None = None
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of_file(cls, table: pd.DataFrame) -> "GivenSplit":
        """Return the split that is in a labelled file.

        Raises:
            Galaxy10Error: the file has none.
        """
        if "given_subset" not in table:
            raise Galaxy10Error(
                "data.protocol=file needs a data set or column `subset` (train, val, test), which the file does not "
                "have; type data.protocol=default"
            )
        reason = np.full(len(table), "in no subset of the file", dtype=object)
        subset = table["given_subset"].to_numpy(object)
        return cls("the file's split", "data.protocol=file", "data.protocol=default", subset, None, reason)

    def record(self) -> dict[str, Any]:
        """Return name and hash, for provenance.json."""
        return {"name": self.name, "sha256": self.sha256}


def given_subsets(
    given: GivenSplit,
    labels: np.ndarray,
    kept: np.ndarray,
    groups: np.ndarray,
    class_names: Sequence[str],
    *,
    split_seed: int,
    num_folds: int | None,
    fold: int | None,
    every_class: bool = True,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the subset and the fold (−1 without folds) of each row, (N,) and (N,), and remarks.

    Args:
        labels, groups: (N,) class and group numbers.
        kept: (N,) bool; all other rows are dropped.
        split_seed: draws the validation images of a split that has none.
        every_class: whether each class needs training images.

    Raises:
        Galaxy10Error: no training or test images, a class without training images, or other folds than these.
    """
    folds, notes = np.full(len(labels), -1), list(given.notes)
    if num_folds:
        folds = np.where(kept, _folds(given, num_folds), -1)
        subset = fold_subsets(folds, num_folds, fold)
    else:
        subset = np.where(kept & (given.subset != ""), given.subset, "dropped").astype(object)
    for name in ("train", "test"):
        if not (subset == name).any():
            raise Galaxy10Error(f"{given.setting}: {given.name} has no {name} images; type {given.instead}")
    train = subset == "train"
    if not (subset == "val").any():
        shares, rng = np.array((1 - _VAL_SHARE, _VAL_SHARE)), np.random.default_rng(split_seed)
        part = assign_parts(groups[train], labels[train], len(class_names), shares, rng)
        subset[np.flatnonzero(train)[part == 1]] = "val"
        notes.append(f"{given.name} has no validation images: a tenth of its training images is taken")
    used = subset != "dropped"
    absent = sorted(set(labels[used]) - set(labels[subset == "train"]))
    if absent and every_class:
        raise Galaxy10Error(
            f"{given.setting}: class {class_names[absent[0]]!r} has no training images in {given.name}; "
            f"type {given.instead}"
        )
    spread = pd.Series(subset[used]).groupby(groups[used]).transform("nunique").to_numpy() > 1
    if spread.any():
        notes.append(
            f"{int(spread.sum())} images overlap with images in another subset of {given.name} (one field of sky, "
            "identical pixels, or one group): validation and test metrics are too optimistic"
        )
    return subset, folds, notes


def fold_subsets(folds: np.ndarray, num_folds: int, fold: int | None) -> np.ndarray:
    """Return the subset (N,) of each row: fold k is test, fold (k+1) mod n is val, rows of fold −1 are dropped."""
    assert fold is not None
    subset = np.where(folds >= 0, "train", "dropped").astype(object)
    subset[folds == fold] = "test"
    subset[folds == (fold + 1) % num_folds] = "val"
    return subset


def _folds(given: GivenSplit, num_folds: int) -> np.ndarray:
    if given.fold is None:
        raise Galaxy10Error(f"{given.setting} has no folds (column `fold`), which data.num_folds needs; leave it out")
    found = int(given.fold.max()) + 1
    if found != num_folds:
        raise Galaxy10Error(f"{given.setting} has {found} folds; type data.num_folds={found}")
    return given.fold
