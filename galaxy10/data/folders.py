"""The built-in readers: a folder per class, and a table of paths and labels."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.config.fields import did_you_mean
from galaxy10.data.coordinates import column_named, read_numbers
from galaxy10.data.file_sizes import file_sizes
from galaxy10.data.fits_images import parse_hdu
from galaxy10.data.folder_layout import find_classes
from galaxy10.data.galaxy_image import MIN_SIZE_PX, GalaxyImage, ImageReadError
from galaxy10.data.hdf5 import OPTIONAL_COLUMNS
from galaxy10.data.input_files import ImageFiles, ImageSource, PathTable, printable_path
from galaxy10.data.prefetch import read_ahead
from galaxy10.data.quality import ReadingNotes
from galaxy10.data.stretch import STRETCHES
from galaxy10.data.votes import NO_VOTES, check_votes
from galaxy10.errors import Galaxy10Error

logger = logging.getLogger(__name__)

LabelledImages = tuple["ResizedImages", np.ndarray, list[str] | None, pd.DataFrame]

_BATCH = 64
_SAMPLED = 100  # images whose median side becomes the size


def read_folders(
    path: str | Path,
    *,
    size: int | None = None,
    stretch: str = "auto",
    hdu: int | str | Sequence[int | str] | None = None,
    class_level: int | None = None,
) -> LabelledImages:
    """Read a folder that has one folder per class, named as the class, or such folders in train, val and test.

    Args:
        size: px; default: the median side of the first hundred images. Other images are cut to their central square
            and resized.
        stretch: how raw flux values are stretched to 8 bits, see `galaxy10 pack --help`.
        hdu: the name or number of the image in FITS files that have several, or three for blue, green and red.
        class_level: the level of the class folders, see folder_layout.find_classes.

    Returns:
        Images (size, size, 3) uint8, with an exception for each that cannot be read; labels (N,) int64;
        class names; a table with each image's path, and its subset if the folders are a split.

    Raises:
        Galaxy10Error: there are fewer than two classes, the folders could mean several things, or no readable image.
    """
    found = find_classes(Path(path), class_level)
    _check(size, stretch)
    columns = pd.DataFrame({"path": [printable_path(path) for path in found.paths]})
    if found.subsets is not None:
        columns["subset"] = found.subsets
    return (
        ResizedImages(ImageFiles(found.paths, stretch, parse_hdu(hdu)), found.labels, size),
        found.labels,
        found.names,
        columns,
    )


def read_table(
    path: str | Path,
    *,
    path_column: str | None = None,
    label_column: str = "label",
    size: int | None = None,
    stretch: str = "auto",
    hdu: int | str | Sequence[int | str] | None = None,
    coordinates: bool = True,
    vote_columns: Sequence[str] | None = None,
) -> LabelledImages:
    """Read the images that a table names (CSV, Parquet or FITS); paths are relative to the table's folder.

    Labels are class names or numbers; −1 where the table has none. With vote_columns, they are votes (N, C): these
    columns, named as the classes, hold counts or fractions, and label_column is not read. The columns ra and dec
    (degrees or sexagesimal), redshift, pxscale, group and subset (or split) are kept, in any case; ra and dec only with
    `coordinates`. The other arguments and the result are those of read_folders.

    Raises:
        Galaxy10Error: a column is missing, labels are no classes, or no image is readable.
    """
    _check(size, stretch)
    source = PathTable(Path(path), path_column, stretch, None if vote_columns else label_column, parse_hdu(hdu))
    table = source.columns.slice()
    columns = pd.DataFrame({"path": table["path"].to_pandas().fillna("")})
    there = table.column_names
    for name in (*OPTIONAL_COLUMNS, "group", "split", "subset"):
        column = column_named(there, name, str(path))
        if column is None or (name in ("ra", "dec") and not coordinates):
            continue
        values = table[column].to_pandas()
        if name in ("ra", "dec"):
            columns[name] = values  # read_degrees reads them, as those of every reader
        elif name in OPTIONAL_COLUMNS:
            columns[name], remark = read_numbers(values, name, str(path))
            if remark:
                logger.info(f"note: {remark}")
        else:
            columns["subset" if name == "split" else name] = values
    if vote_columns:
        votes = _votes(Path(path), source, vote_columns)
        labelled = np.where(votes.any(axis=1), 0, -1)
        return ResizedImages(source, labelled, size, NO_VOTES), votes, list(vote_columns), columns
    given = table[source.names[label_column]].to_pandas()
    labels, names = _labels(Path(path), given, label_column)
    return ResizedImages(source, labels, size), labels, names, columns


def _fingerprint(
    path: Path,
    path_column: str | None = None,
    label_column: str = "label",
    vote_columns: Sequence[str] | None = None,
    **_: Any,
) -> bytes:
    source = PathTable(path, path_column, "auto", None if vote_columns else label_column)
    return file_sizes(source.files(0, len(source.columns))).tobytes()


read_table.fingerprint = _fingerprint  # type: ignore[attr-defined]


def _votes(file: Path, source: PathTable, names: Sequence[str]) -> np.ndarray:
    """Return the columns of votes as (N, C) float64, checked."""
    found, table = [], source.columns.slice()
    for name in names:
        if name not in source.names:
            raise Galaxy10Error(
                f"{file} has no column {name}{did_you_mean(name, list(source.names))} (vote_columns); it has "
                f"{', '.join(source.names)}"
            )
        values, remark = read_numbers(table[source.names[name]].to_pandas(), name, str(file))
        if remark:
            raise Galaxy10Error(f"{remark}; correct them: votes are counts or fractions")
        found.append(values)
    return check_votes(np.column_stack(found), f"{file}: the table of votes")


def _labels(file: Path, given: pd.Series, label_column: str) -> tuple[np.ndarray, list[str] | None]:
    if pd.api.types.is_numeric_dtype(given) and not pd.api.types.is_bool_dtype(given):
        try:
            numbers = given.astype("Float64" if pd.api.types.is_float_dtype(given) else "Int64").fillna(-1)
            ids = numbers.astype("Int64").to_numpy(np.int64)  # never through a float, which holds 2^53 only
        except (TypeError, ValueError, OverflowError):
            ids = None
        if ids is None or (given.dropna() < 0).any():
            raise Galaxy10Error(f"{file}: column {label_column} has numbers that are no classes; give names or 0, 1, …")
        return ids, None
    texts = given.map(lambda value: str(value).strip(), na_action="ignore")
    names = sorted({text for text in texts.dropna() if text})
    order = {name: number for number, name in enumerate(names)}
    return np.array([order.get(text, -1) for text in texts], dtype=np.int64), names


def _check(size: int | None, stretch: str) -> None:
    if stretch not in STRETCHES:
        raise Galaxy10Error(f"--stretch {stretch} is unknown; type one of {', '.join(STRETCHES)}")
    if size is not None and size < MIN_SIZE_PX:
        raise Galaxy10Error(f"--size {size} is too small; give at least {MIN_SIZE_PX} px")


class ResizedImages:
    """Images of one size, prefetched by threads; an exception if an image has no label or cannot be read.

    Args:
        labels: (N,) negative for an image without a label.
        size: px; None: the median side of the first hundred images.
        unlabelled: the reason of such an exception.

    shrunk: (N,) pixels of the given image per pixel of the resized one, by which its pixel scale grows; known when the
    image has been read.
    """

    def __init__(self, source: ImageSource, labels: np.ndarray, size: int | None, unlabelled: str = "no label"):
        self._unlabelled = unlabelled
        self._source, self._labels, self._size = source, labels, size or _median_side(source)
        self.shrunk = np.ones(len(labels))

    def __iter__(self) -> Iterator[np.ndarray | Exception]:
        number = len(self._labels)
        batches = [range(start, min(start + _BATCH, number)) for start in range(0, number, _BATCH)]
        notes = ReadingNotes()
        for _, images in read_ahead(self._prepare, batches, None):
            for image in images:
                if isinstance(image, str):
                    yield ImageReadError(image)
                else:
                    notes.add(image)
                    yield image.pixels
        for line in notes.lines():
            logger.info(f"note: {line}")

    def _prepare(self, index: int) -> GalaxyImage:
        if self._labels[index] < 0:
            raise ImageReadError(self._unlabelled)
        image = self._source.read(index)
        self.shrunk[index] = min(image.pixels.shape[:2]) / self._size
        return replace(image, pixels=resize_center_square(image.pixels, self._size))


def _median_side(source: ImageSource) -> int:
    sides: list[int] = []
    reasons: list[str] = []
    for index in range(min(_SAMPLED, len(source.columns))):
        try:
            sides.append(min(source.read(index).pixels.shape[:2]))
        except ImageReadError as error:
            reasons.append(f"{source.columns.slice(index, 1)['path'][0].as_py()}: {error}")
    if not sides:
        raise Galaxy10Error(
            f"none of the first {len(reasons)} images can be read; the first: {reasons[0]} (or give a size: --size)"
        )
    return int(np.median(sides))


def resize_center_square(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return the central square of an image (H, W, 3) uint8, resized to (size, size, 3) uint8."""
    import torch  # takes seconds: only if images are read

    from galaxy10.data.image_geometry import center_square, resize

    return resize(center_square(torch.from_numpy(pixels)[None]), size)[0].contiguous().numpy()
