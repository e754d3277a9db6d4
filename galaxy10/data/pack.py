"""Pack a folder per class, or a table of paths and labels, into the HDF5 file that training reads."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galaxy10.data.folders import read_folders, read_table
from galaxy10.data.hdf5 import open_source
from galaxy10.data.readers import Reader, list_failures
from galaxy10.data.sidecars import check_packed_sidecars, failed_path
from galaxy10.errors import Galaxy10Error
from galaxy10.files import atomic_write

logger = logging.getLogger(__name__)


def pack(
    origin: Path,
    output: Path,
    *,
    size: int | None = None,
    stretch: str = "auto",
    hdu: str | None = None,
    path_column: str | None = None,
    label_column: str = "label",
    vote_columns: Sequence[str] | None = None,
    class_level: int | None = None,
    coordinates: bool = True,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write an HDF5 file of labelled images, and list images that cannot be read in NAME.failed.csv.

    The file has `images` (N, size, size, 3) uint8, `ans` with its class names, `votes` (N, C) with vote_columns,
    `path`, and the table's columns ra, dec, redshift, pxscale and group.

    Args:
        origin: a folder with one folder per class, or a table.
        size: px; None: the median side of the first hundred images. Other images are cut to their central square and
            resized.
        vote_columns: the table's columns with the votes for each class, in place of label_column.
        hdu: the name or number of the image in FITS files that have several, or three for blue, green and red.
        class_level: the level of the class folders, see folder_layout.find_classes.
        coordinates: keep the table's ra and dec.

    Returns:
        The numbers of images `catalogued` and `failed`.

    Raises:
        Galaxy10Error: there are no classes, labels or readable images, or the name is in use.
    """
    if output.suffix.lower() not in (".h5", ".hdf5"):
        raise Galaxy10Error(f"{output} has no suffix of HDF5; end the name in .h5")
    if output.exists() and not overwrite:
        raise Galaxy10Error(f"{output} exists already; give another name, or add --overwrite")
    check_packed_sidecars(output)
    if vote_columns and not origin.is_file():
        raise Galaxy10Error(f"--vote-columns names columns of a table, and {origin} is none; leave it out")
    if origin.is_dir():
        options = {"size": size, "stretch": stretch, "hdu": hdu, "class_level": class_level}
        reader = Reader(read_folders, options, "galaxy10.data.read_folders")
    elif origin.is_file():
        columns: dict[str, Any] = {"path_column": path_column, "label_column": label_column, "coordinates": coordinates}
        columns |= {"vote_columns": vote_columns}
        reader = Reader(
            read_table, {**columns, "size": size, "stretch": stretch, "hdu": hdu}, "galaxy10.data.read_table"
        )
    else:
        raise Galaxy10Error(f"{origin} does not exist; give a folder with one folder per class, or a table")
    with atomic_write(output) as part:
        kept, failures = reader.write(origin, part)
    list_failures(failed_path(output), failures)
    source = open_source(output)
    failed = f", {len(failures):,} could not be used: {failed_path(output)}" if failures else ""
    present = source.table["label"].nunique()
    if "given_subset" in source.table:
        logger.info("note: the split is in the file, too; train with data.protocol=file to use it")
    for note in source.notes:
        logger.info(f"note: {note}")
    logger.info(f"{len(kept):,} images of {present} classes at {source.height} px{failed}")
    return {"catalogued": len(kept), "failed": len(failures)}
