"""data.protocol=file keeps the split that a file brings, and checks it."""

import numpy as np
import pandas as pd
import pytest

from galaxy10.data.split import make_split
from galaxy10.errors import Galaxy10Error


def split_of(given, labels, drop="redshift", **columns):
    number = len(given)
    table = pd.DataFrame(
        {"row": range(number), "label": labels, "ra": np.nan, "redshift": 0.1, "dec": np.nan, "blank": False}
    )
    table = table.assign(pixel_hash=np.arange(number), given_subset=given).assign(**columns).drop(columns=drop)
    return make_split(table, "x", ("a", "b"), protocol="file")


def test_the_split_of_a_file_is_kept_and_checked():
    given = ["train"] * 40 + ["test"] * 10
    split = split_of([*given, ""], [*[0, 1] * 25, 0])
    assert split.counts() == {"train": 36, "val": 4, "test": 10, "dropped": 1}
    assert any("a tenth of its training images" in note for note in split.notes)
    spread = split_of(["train"] * 8 + ["val", "test"], [0, 1] * 5, group=[0, *range(1, 9), 1])
    assert any(note.startswith("2 images overlap with images in another subset") for note in spread.notes)
    with pytest.raises(Galaxy10Error, match="no test images"):
        split_of(["train"] * 9 + ["val"], [0, 1] * 5)
    with pytest.raises(Galaxy10Error, match="class 'b' has no training images"):
        split_of(["train"] * 5 + ["val"] * 3 + ["test"] * 2, [0] * 5 + [1] * 5)


def test_a_file_without_a_split_has_none_to_use():
    with pytest.raises(Galaxy10Error, match=r"needs a data set or column `subset`.*type data.protocol=default"):
        split_of(["train", "test"], [0, 1], drop="given_subset")
