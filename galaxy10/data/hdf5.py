"""Open and check a labelled HDF5 file before any pixel is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from galaxy10.classes import GALAXY10_CLASSES
from galaxy10.errors import Galaxy10Error, first_line

REQUIRED = ("images", "ans")
OPTIONAL_COLUMNS = ("ra", "dec", "redshift", "pxscale")  # degrees, degrees, –, arcsec per pixel
MIN_SIZE_PX = 8


@dataclass(frozen=True)
class SourceFile:
    """The contents of a checked HDF5 file, without its pixels.

    Attributes:
        table: one line per image, in file order: row, label, ra, dec (degrees), redshift, pxscale (arcsec/pixel), NaN
            if the file has no such column; and group (int64, −1 for none) if the file has it.
        class_names: in label order; None if neither the file nor the caller names the classes.
    """

    path: Path
    num_images: int
    height: int
    width: int
    num_classes: int
    class_names: tuple[str, ...] | None
    table: pd.DataFrame
    chunks: tuple[int, ...] | None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the class names; the class numbers if the classes have no names."""
        return self.class_names or tuple(str(i) for i in range(self.num_classes))


def open_source(path: Path, class_names: Sequence[str] | None = None, key: str = "data.path") -> SourceFile:
    """Check an HDF5 file of galaxies and read everything except its pixels.

    Args:
        path: a file with `images` (N, H, W, 3) uint8 and `ans` (N,) integers; ra, dec, redshift, pxscale are optional,
            as is `group` (N,), whole numbers or texts: rows of one group stay in one subset.
        class_names: names in label order; else the attribute `class_names` on `ans`; else None.
        key: the setting or option that holds the path, for messages.

    Raises:
        Galaxy10Error: the file is missing, damaged, no HDF5 file, or has another layout.
    """
    path = Path(path)
    if path.is_dir():
        raise Galaxy10Error(f"{key}={path} is a folder; give an HDF5 file (galaxy10 pack makes one)")
    if not path.exists():
        raise Galaxy10Error(f"{key}={path} does not exist; give the path of an HDF5 file with `images` and `ans`")
    if path.stat().st_size == 0:
        raise Galaxy10Error(f"{key}={path} is empty (0 bytes); copy or download it again")
    try:
        with h5py.File(path, "r") as file:
            return _read(file, path, class_names)
    except OSError as error:
        raise Galaxy10Error(_unreadable(path, error)) from error


def _unreadable(path: Path, error: OSError) -> str:
    text = first_line(error)
    if isinstance(error, PermissionError) or "ermission denied" in text:
        return f"{path} cannot be read by this user; change its permissions"
    if "truncated" in text:
        return f"{path} is truncated: it is shorter than its header says; copy or download it again"
    if "signature not found" in text:
        return f"{path} is not an HDF5 file; expected one with `images` (N, H, W, 3) and `ans` (N,)"
    return f"{path} cannot be read as HDF5 ({text}); copy or download it again"


def _read(file: h5py.File, path: Path, class_names: Sequence[str] | None) -> SourceFile:
    for key in REQUIRED:
        if not isinstance(file.get(key), h5py.Dataset):
            have = ", ".join(sorted(file)) or "nothing"
            raise Galaxy10Error(f"{path} has no dataset `{key}`; it holds {have}, expected `images` and `ans`")
    images, labels = file["images"], file["ans"]
    _check_images(images, path)
    num_images = images.shape[0]
    table = pd.DataFrame({"row": np.arange(num_images), "label": _read_labels(labels, num_images, path)})
    for key in OPTIONAL_COLUMNS:
        table[key] = _read_column(file, key, num_images, path)
    if "group" in file:
        table["group"] = _read_groups(file["group"], num_images, path)
    table.loc[_is_placeholder(table["ra"], table["dec"]), ["ra", "dec"]] = np.nan
    names = _class_names(labels, class_names, path)
    highest = int(table["label"].max())
    if names is not None and highest >= len(names):
        raise Galaxy10Error(
            f"{path}: `ans` holds label {highest}, but there are only {len(names)} class names "
            f"({', '.join(names)}); give one name per class in data.class_names"
        )
    num_classes = len(names) if names is not None else highest + 1
    if table["label"].nunique() < 2:
        raise Galaxy10Error(f"{path}: every image has label {highest}; a classifier needs at least two classes")
    _, height, width, _ = images.shape
    return SourceFile(path, num_images, height, width, num_classes, names, table, images.chunks)


def _check_images(images: h5py.Dataset, path: Path) -> None:
    expected = "expected (N, H, W, 3) uint8"
    if images.ndim != 4 or images.shape[3] != 3:
        raise Galaxy10Error(f"{path}: `images` has shape {images.shape}; {expected}")
    if images.dtype != np.uint8:
        raise Galaxy10Error(f"{path}: `images` is {images.dtype}; {expected} (scale the colours to 0–255 first)")
    if images.shape[0] == 0:
        raise Galaxy10Error(f"{path}: `images` holds no image; {expected}")
    if min(images.shape[1:3]) < MIN_SIZE_PX:
        raise Galaxy10Error(f"{path}: images of {images.shape[1]}×{images.shape[2]} px; at least {MIN_SIZE_PX} px")


def _read_labels(labels: h5py.Dataset, num_images: int, path: Path) -> np.ndarray:
    if labels.shape != (num_images,):
        raise Galaxy10Error(f"{path}: `ans` has shape {labels.shape}; expected ({num_images},), one label per image")
    if labels.dtype.kind not in "iu":
        raise Galaxy10Error(f"{path}: `ans` is {labels.dtype}; expected whole numbers, one class number per image")
    values: np.ndarray = labels[:].astype(np.int64)
    if values.min() < 0:
        raise Galaxy10Error(f"{path}: `ans` holds the negative label {values.min()}; expected class numbers from 0")
    if values.max() > 65535:
        raise Galaxy10Error(f"{path}: `ans` holds label {values.max()}; expected class numbers from 0 without gaps")
    return values


def _read_column(file: h5py.File, key: str, num_images: int, path: Path) -> np.ndarray:
    if key not in file:
        return np.full(num_images, np.nan)
    column = file[key]
    if not isinstance(column, h5py.Dataset) or column.shape != (num_images,) or column.dtype.kind not in "iuf":
        found = column.shape if isinstance(column, h5py.Dataset) else "an HDF5 group"
        raise Galaxy10Error(f"{path}: `{key}` is {found}; expected ({num_images},) numbers, or leave it out")
    values: np.ndarray = column[:].astype(np.float64)
    return values


def _read_groups(column: object, num_images: int, path: Path) -> np.ndarray:
    """Return group numbers (N,) int64, equal for equal values; −1 for an empty text, NaN, or a negative number."""
    if not isinstance(column, h5py.Dataset) or column.shape != (num_images,):
        found = column.shape if isinstance(column, h5py.Dataset) else "an HDF5 group"
        raise Galaxy10Error(f"{path}: `group` is {found}; expected ({num_images},), one value per image")
    if h5py.check_string_dtype(column.dtype) is not None:
        texts = pd.Series(column.asstr()[:], dtype=object)
        return pd.factorize(texts.where(texts != "", None))[0].astype(np.int64)
    if column.dtype.kind not in "iuf":
        raise Galaxy10Error(f"{path}: `group` is {column.dtype}; expected whole numbers or texts")
    values = column[:]
    return np.where(values < 0, -1, pd.factorize(values)[0]).astype(np.int64)


def _is_placeholder(ra: pd.Series, dec: pd.Series) -> pd.Series:
    """Return which positions are placeholders for unknown ones, such as −999 or two zeros."""
    return (dec.abs() > 90) | (ra < -180) | (ra > 360) | ((ra == 0) & (dec == 0))


def _class_names(labels: h5py.Dataset, given: Sequence[str] | None, path: Path) -> tuple[str, ...] | None:
    if given is not None:
        names = tuple(str(name) for name in given)
    elif "class_names" in labels.attrs:
        raw = np.atleast_1d(labels.attrs["class_names"])
        names = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in raw)
    else:
        return None
    if len(set(names)) != len(names):
        raise Galaxy10Error(f"{path}: class names must differ, found {', '.join(names)}; set data.class_names")
    return names


def published_names(source: SourceFile) -> tuple[str, ...]:
    """Return the Galaxy10 class names for a file of the published layout, which has none.

    Raises:
        Galaxy10Error: the file has more than ten classes.
    """
    if source.num_classes > len(GALAXY10_CLASSES):
        raise Galaxy10Error(
            f"{source.path} has {source.num_classes} classes, Galaxy10 has 10; type data=hdf5 for this file"
        )
    return GALAXY10_CLASSES
