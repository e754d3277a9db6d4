"""`galaxy10 split`: write the split of a labelled file as a table that other projects can read."""

import logging
from pathlib import Path
from typing import Any

from galaxy10.data.published import is_published, with_published_names
from galaxy10.data.settings import galaxy_data_settings
from galaxy10.data.source import obtain_source, obtain_store
from galaxy10.data.split_settings import split_of_settings
from galaxy10.data.split_table import check_suffix, split_table, write_split_table
from galaxy10.data.train_fraction import keep_train_fraction
from galaxy10.data.votes import votes_of

logger = logging.getLogger(__name__)


def write_split(
    file: Path, out: Path, *, num_folds: int | None = None, train_fraction: float | None = None, **options: Any
) -> Path:
    """Write the subsets, and with num_folds also the folds, of a labelled file as CSV or Parquet.

    The subsets and folds are those that training has with the same settings.

    Args:
        file: an HDF5 file, a folder, or a table of paths and labels, as for data.path.
        out: a .csv or .parquet file.
        num_folds: of the column `fold`.
        train_fraction: of the training images, to keep in subset train, drawn with split_seed; the others are in none.
        options: protocol, split_seed, duplicates, blanks, group_radius_arcsec, store_dir, as in GalaxyData.

    Raises:
        Galaxy10Error: the file cannot be read or split, or the table cannot be written.
    """
    check_suffix(out)
    settings = galaxy_data_settings({**_DEFAULTS, "path": file, "train_fraction": train_fraction, **options})
    source = obtain_source(settings)
    if is_published(source):
        source = with_published_names(source)
    store = obtain_store(settings, source)
    split = split_of_settings(settings, store, source.names)
    every_class = votes_of(store.table) is None
    split = keep_train_fraction(split, train_fraction, settings["split_seed"], source.names, every_class)
    folds = None
    if num_folds is not None:
        folded = galaxy_data_settings({**settings, "num_folds": num_folds, "fold": 0, "protocol": "default"})
        folds = split_of_settings(folded, store, source.names).table
    write_split_table(split_table(store.table, source.names, split.table, folds), out)
    for note in (*source.notes, *split.notes):
        logger.info(f"note: {note}")
    counts = ", ".join(f"{number:,} {subset}" for subset, number in split.counts().items())
    logger.info(f"{counts}; {split.table['group'].nunique():,} groups; split {split.hash}")
    return out


_DEFAULTS = {
    "name": None,
    "variant": None,
    "dir": Path("data"),
    "class_names": None,
    "store_dir": None,
    "reader": None,
    "vote_columns": None,
    "soft_labels": "auto",
    "protocol": "default",
    "split_seed": 0,
    "num_folds": None,
    "fold": None,
    "split_file": None,
    "duplicates": "drop",
    "blanks": "drop",
    "group_radius_arcsec": None,
}
