"""Make galaxy10-split-v1, the split of Galaxy10 DECaLS that travels with the package.

python benchmarks/published_split.py galaxy10_coordinates.csv

The table of RA and DEC (degrees) of the published file's 17,736 rows, in file order, is in the public repository
henrysky/Galaxy10 (MIT licence). The script prints the hash that galaxy10/data/published_split.py names.
"""

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from galaxy10.classes import GALAXY10_CLASSES, GALAXY10_COUNTS
from galaxy10.data.groups import FIELD_ARCSEC
from galaxy10.data.published_split import FILE, NUM_FOLDS
from galaxy10.data.split import make_split
from galaxy10.data.split_table import split_table

TARGET = Path(__file__).resolve().parents[1] / "galaxy10" / "data" / FILE


def published_table(coordinates: Path) -> pd.DataFrame:
    """Return what is known of the file without its pixels: row, label, ra, dec; no pixels equal, none blank."""
    sky = pd.read_csv(coordinates)
    table = pd.DataFrame({"ra": sky["RA"], "dec": sky["DEC"], "label": np.repeat(np.arange(10), GALAXY10_COUNTS)})
    return table.assign(row=np.arange(len(table)), pixel_hash=np.arange(len(table)), blank=False)


def make_table(coordinates: Path) -> bytes:
    """Return the content of the table."""
    table = published_table(coordinates)
    options = {"group_radius_arcsec": FIELD_ARCSEC}
    split = make_split(table, "", GALAXY10_CLASSES, **options).table
    folds = make_split(table, "", GALAXY10_CLASSES, num_folds=NUM_FOLDS, fold=0, **options).table
    made = split_table(table, GALAXY10_CLASSES, split, folds)
    return made.to_csv(index=False, lineterminator="\n").encode()


def main() -> None:
    content = make_table(Path(sys.argv[1]))
    TARGET.write_bytes(gzip.compress(content, mtime=0))
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
