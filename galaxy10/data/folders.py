"""Readers of ours: a folder per class, and a table of paths and labels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.data.hdf5 import COORDINATES
from galaxy10.data.images import MIN_SIZE_PX, ImageReadError
from galaxy10.data.input_files import Files, PathTable, Source
from galaxy10.data.inputs import pictures_below
from galaxy10.data.prefetch import read_ahead
from galaxy10.data.stretch import STRETCHES
from galaxy10.errors import Galaxy10Error

Reading = tuple[Iterator[np.ndarray | Exception], np.ndarray, list[str] | None, pd.DataFrame]

_BATCH = 64
_LOOKED_AT = 100  # images whose median side becomes the file's


def read_folders(path: str | Path, *, size: int | None = None, stretch: str = "auto") -> Reading:
    """Read a folder that has one folder per class, named as the class.

    Args:
        size: px; default: the median side of the first hundred images. Others are cut to their central square and
            resized.
        stretch: how values that are no 8-bit image are stretched, see `galaxy10 pack --help`.

    Returns:
        Images (size, size, 3) uint8, one after another, an exception in place of one that cannot be read; labels (N,)
        int64; class names; a table with each image's path.

    Raises:
        Galaxy10Error: fewer than two classes, or no image that can be read.
    """
    paths, labels, names = find_classes(Path(path))
    _check(size, stretch)
    source = Files(paths, stretch)
    return _images(source, labels, size), labels, names, pd.DataFrame({"path": paths})


def find_classes(origin: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """Find the images of a folder that has one folder per class: paths, labels (N,) int64, class names.

    Raises:
        Galaxy10Error: fewer than two classes.
    """
    folders = sorted(p for p in origin.iterdir() if p.is_dir() and not p.name.startswith("."))
    paths = {folder.name: list(pictures_below(folder)) for folder in folders}
    names = [name for name, inside in paths.items() if inside]
    if len(names) < 2:
        raise Galaxy10Error(
            f"{origin} has {len(names)} folders with images in them; make one folder per class, or give a table with "
            "the columns path and label"
        )
    labels = np.repeat(np.arange(len(names)), [len(paths[name]) for name in names])
    return [path for name in names for path in paths[name]], labels, names


def read_table(
    path: str | Path,
    *,
    path_column: str | None = None,
    label_column: str = "label",
    size: int | None = None,
    stretch: str = "auto",
) -> Reading:
    """Read the images that a table names (CSV, Parquet or FITS); relative paths count from the table's folder.

    Labels are class names, or numbers from 0; −1 where the table has none. ra, dec, redshift, pxscale and group come
    along. See read_folders for the rest.

    Raises:
        Galaxy10Error: no such column, labels that are no classes, or no image that can be read.
    """
    _check(size, stretch)
    source = PathTable(Path(path), path_column, stretch, label_column)
    given = source.columns[source.names[label_column]].to_pandas()
    columns = pd.DataFrame({"path": source.columns["path"].to_pandas().fillna("")})
    for name in COORDINATES:
        if name in source.columns.column_names:
            columns[name] = pd.to_numeric(source.columns[name].to_pandas(), errors="coerce").astype(np.float64)
    if "group" in source.columns.column_names:
        columns["group"] = source.columns["group"].to_pandas()
    labels, names = _labels(Path(path), given, label_column)
    return _images(source, labels, size), labels, names, columns


def _fingerprint(path: Path, path_column: str | None = None, label_column: str = "label", **_: Any) -> bytes:
    return PathTable(path, path_column, "auto", label_column).fingerprint()


read_table.fingerprint = _fingerprint  # type: ignore[attr-defined]


def _labels(file: Path, given: pd.Series, label_column: str) -> tuple[np.ndarray, list[str] | None]:
    if pd.api.types.is_numeric_dtype(given) and not pd.api.types.is_bool_dtype(given):
        numbers = given.to_numpy(np.float64)
        whole = np.isfinite(numbers)
        if (numbers[whole] % 1 != 0).any() or (numbers[whole] < 0).any():
            raise Galaxy10Error(
                f"{file}: column {label_column} holds numbers that are no classes; give names or 0, 1, …"
            )
        return np.where(whole, numbers, -1).astype(np.int64), None
    texts = given.map(lambda value: str(value).strip(), na_action="ignore")
    names = sorted({text for text in texts.dropna() if text})
    order = {name: number for number, name in enumerate(names)}
    return np.array([order.get(text, -1) for text in texts], dtype=np.int64), names


def _check(size: int | None, stretch: str) -> None:
    if stretch not in STRETCHES:
        raise Galaxy10Error(f"--stretch {stretch} is not known; there are {', '.join(STRETCHES)}")
    if size is not None and size < MIN_SIZE_PX:
        raise Galaxy10Error(f"--size {size} is too small; give at least {MIN_SIZE_PX} px")


def _images(source: Source, labels: np.ndarray, size: int | None) -> Iterator[np.ndarray | Exception]:
    """Images at one size, read ahead by threads; an exception for one that cannot be read or has no label."""
    size = size or _median_side(source)

    def prepare(index: int) -> np.ndarray:
        if labels[index] < 0:
            raise ImageReadError("no label")
        return brought_to(source.read(index).pixels, size)

    def one_by_one() -> Iterator[np.ndarray | Exception]:
        batches = [range(start, min(start + _BATCH, len(labels))) for start in range(0, len(labels), _BATCH)]
        for _, images in read_ahead(prepare, batches, None):
            yield from (ImageReadError(image) if isinstance(image, str) else image for image in images)

    return one_by_one()


def _median_side(source: Source) -> int:
    sides = []
    for index in range(min(_LOOKED_AT, len(source.columns))):
        try:
            sides.append(min(source.read(index).pixels.shape[:2]))
        except ImageReadError:
            continue
    if not sides:
        raise Galaxy10Error(
            f"none of the first {_LOOKED_AT} images can be read; give a size (--size, data.reader.size)"
        )
    return int(np.median(sides))


def brought_to(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return the central square of an image (H, W, 3) uint8 at another size, (size, size, 3) uint8."""
    import torch  # takes seconds: not for looking at a folder

    from galaxy10.data.augment import center_square, resize

    return resize(center_square(torch.from_numpy(pixels)[None]), size)[0].contiguous().numpy()
