"""galaxy10-split-v1: the split of Galaxy10 DECaLS that travels with the package, so that numbers compare.

The table has a line for each of the 17,736 rows of the published file: subsets of 70/10/20 % and five folds, both
stratified, with galaxies within 67″ in one group, and without the 59 galaxies that are there under two labels. It is
made by benchmarks/published_split.py. A later version is another file under another name.
"""

import hashlib
import io
import zlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.classes import GALAXY10_COUNTS, GALAXY10_COUNTS_NO_DUPLICATES
from galaxy10.data.given_split import GivenSplit
from galaxy10.data.sky_match import match_positions
from galaxy10.errors import Galaxy10Error

NAME = "galaxy10-split-v1"
FILE = f"{NAME}.csv.gz"
SHA256 = "aa43f205e12d0f49e309f77c34bd2b6799a254afbd7c680790a3d540094fbbff"  # of the uncompressed table
NUM_FOLDS = 5
# The settings that the table was made with; with others, the split is drawn.
_SETTINGS = {"protocol": "default", "split_seed": 0, "duplicates": "drop", "group_radius_arcsec": None}


@cache
def published_split_table() -> pd.DataFrame:
    """Return the table: row, ra, dec (degrees), label, class, subset, fold, group, reason."""
    return pd.read_csv(io.BytesIO(_content()), keep_default_na=False)


def published_split(settings: Mapping[str, Any], table: pd.DataFrame) -> tuple[GivenSplit | None, str | None]:
    """Return galaxy10-split-v1 for the rows of a file, or None if it is another file; and a remark if there is one.

    A file is the published one, or the one without duplicates, if it has as many images of every class, and each of
    them is in the table by position (within 0.5″) and label; the order of its rows does not matter.

    Args:
        settings: of GalaxyData; with other settings than the table was made with, the split is None.
        table: of the file: ra, dec (degrees), label.
    """
    standard = all(settings[key] == value for key, value in _SETTINGS.items())
    counts = tuple(np.bincount(table["label"]).tolist())
    if not standard or settings["num_folds"] not in (None, NUM_FOLDS):
        return None, None
    if counts not in (GALAXY10_COUNTS, GALAXY10_COUNTS_NO_DUPLICATES):
        return None, None
    ours = published_split_table()
    place = match_positions(table["ra"].to_numpy(), table["dec"].to_numpy(), table["label"].to_numpy(), ours)
    if (place < 0).any() or len(np.unique(place)) < len(place):
        return None, (
            f"the file has the classes of Galaxy10 DECaLS, but not its positions (ra, dec): {NAME} is not used, and "
            "results compare with no others"
        )
    lines = ours.iloc[place]
    subset = np.where(lines["subset"] == "dropped", "", lines["subset"]).astype(object)
    note = f"the split is {NAME} (sha256 {SHA256[:16]}), the same for everybody who trains on this file"
    given = GivenSplit(
        name=NAME,
        setting=NAME,
        instead="data.split_seed=1 for a split of your own",
        subset=subset,
        fold=lines["fold"].to_numpy(np.int64),
        reason=lines["reason"].to_numpy(object),
        sha256=SHA256,
        notes=(note,),
    )
    return given, None


def _content() -> bytes:
    packed = resources.files("galaxy10.data").joinpath(FILE).read_bytes()
    content = zlib.decompress(packed, wbits=31)
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise Galaxy10Error(f"{FILE} of this installation is damaged; install galaxy10 again")
    return content
