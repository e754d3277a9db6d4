"""Train with fewer labels: nested, stratified subsets of the training subset."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np
import pandas as pd

from galaxy10.data.split import Split
from galaxy10.errors import Galaxy10Error

_STREAM = 18  # separates these draws from those of the split, which may have the same seed


def keep_train_fraction(
    split: Split, fraction: float | None, seed: int, class_names: Sequence[str], every_class: bool = True
) -> Split:
    """Return a split that trains on a fraction of its training images; validation, test and hash stay.

    The subsets are nested: with one seed, a smaller fraction is part of every larger one. Each class keeps its share,
    each group of the split is kept or left out as a whole. Rows that are left out are dropped, with this reason.

    Args:
        fraction: of the training images, above 0, at most 1; None: all.
        seed: of the draw.
        every_class: whether each class needs training images, and not only one of them.

    Raises:
        Galaxy10Error: a class keeps no training image; names the smallest fraction that keeps one.
    """
    if fraction in (None, 1):
        return split
    train = split.table[split.table["subset"] == "train"]
    place = _places(train["group"].to_numpy(), train["label"].to_numpy(), seed)
    labels = train["label"].to_numpy()
    first = ((float(place[labels == label].min()), int(label)) for label in np.unique(labels))
    needed, label = max(first) if every_class else min(first)
    if needed > fraction:
        raise Galaxy10Error(
            f"data.train_fraction={fraction:g} keeps no training image of class {class_names[label]!r}, which has "
            f"{int((labels == label).sum())}; type data.train_fraction={ceil(needed * 1e4) / 1e4:g} or more"
        )
    table, left_out = split.table.copy(), train.index[place > fraction]
    table.loc[left_out, "subset"] = "dropped"
    table.loc[left_out, "reason"] = f"left out by data.train_fraction={fraction:g}"
    note = (
        f"data.train_fraction={fraction:g}: {len(train) - len(left_out)} of {len(train)} training images are used, "
        f"drawn with seed {seed}"
    )
    return replace(split, table=table, notes=(*split.notes, note))


def _places(groups: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Return a number in (0, 1) for each row (N,), equal within a group: a fraction above it keeps the row.

    In random order, the groups of each class divide (0, 1) in proportion to their size; a group is placed at the middle
    of its part. A group of several classes belongs to the rarest of them.
    """
    rows = pd.DataFrame({"group": groups, "label": labels})
    rows["images"] = rows.groupby("label")["group"].transform("size")
    rarest = rows.sort_values(["images", "label"]).drop_duplicates("group")[["group", "label"]]
    parts = rarest.merge(rows.groupby("group").size().rename("size"), on="group").sort_values("group")
    parts = parts.iloc[np.random.default_rng((seed, _STREAM)).permutation(len(parts))]
    end = parts.groupby("label")["size"].cumsum()
    parts["place"] = (end - parts["size"] / 2) / parts.groupby("label")["size"].transform("sum")
    place: np.ndarray = rows["group"].map(parts.set_index("group")["place"]).to_numpy()
    return place
