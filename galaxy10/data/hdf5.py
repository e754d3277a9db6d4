"""Open and check a labelled HDF5 file before any pixel is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from galaxy10.data.coordinates import column_named, read_degrees
from galaxy10.data.hdf5_file import dataset_named, names_in, open_hdf5, source_files
from galaxy10.data.hdf5_limits import check_columns, check_pixels
from galaxy10.data.labels import classes_of, numbering_note, shortened
from galaxy10.data.subsets import subset_named
from galaxy10.data.text import decode_text
from galaxy10.data.votes import MAX_CLASSES, VOTES, check_votes, majority, vote_columns, votes_note
from galaxy10.errors import Galaxy10Error

IMAGES, LABELS = "images", "ans"
OPTIONAL_COLUMNS = ("ra", "dec", "redshift", "pxscale")  # degrees, degrees, –, arcsec per pixel
MIN_SIZE_PX = 8
_PLACEHOLDERS = 3  # different ones in one file, at most


@dataclass(frozen=True)
class SourceFile:
    """The contents of a checked HDF5 file, without its pixels.

    Attributes:
        table: one line per image, in file order: row, label (a position among the classes), ra, dec (degrees),
            redshift, pxscale (arcsec/pixel), NaN if the file has no such column; and, if the file has them, group
            (int64, −1 for none), given_subset (train, val, test, or an empty text), and the votes for each class
            (votes.votes_of).
        class_ids: the number in `ans` of each class.
        class_names: in the order of class_ids; None if neither the file nor the caller names the classes.
        notes: remarks for the run's output.
        parts: other files that hold pixels: of a link or a virtual data set.
    """

    path: Path
    num_images: int
    height: int
    width: int
    num_classes: int
    class_names: tuple[str, ...] | None
    table: pd.DataFrame
    chunks: tuple[int, ...] | None
    class_ids: tuple[int, ...]
    notes: tuple[str, ...] = ()
    parts: tuple[Path, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the class names; the numbers in `ans` as text if the classes have no names."""
        return self.class_names or tuple(map(str, self.class_ids))

    @property
    def label_ids(self) -> np.ndarray:
        """Return the numbers in `ans` (N,) int64."""
        ids: np.ndarray = np.array(self.class_ids, dtype=np.int64)[self.table["label"].to_numpy()]
        return ids


def open_source(
    path: Path, class_names: Sequence[str] | None = None, key: str = "data.path", one_class: bool = False
) -> SourceFile:
    """Check an HDF5 file of galaxies and read everything except its pixels.

    Args:
        path: a file with `images` (N, H, W, 3) uint8 and `ans` (N,) integers; ra, dec, redshift, pxscale are optional,
            as are `group` (N,), whole numbers or texts: rows of one group stay in one subset, and `subset` (N,): train,
            val or test. With `votes` (N, C), counts or fractions for each class, `ans` is optional, too.
        class_names: names in label order; else the attribute `class_names` on `ans` or `votes`; else None.
        key: the setting or option that holds the path, for messages.
        one_class: whether all images may be of one class, as in the evaluation of a trained run.

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
    with open_hdf5(path) as file:
        return _read(file, path, class_names, one_class)


def _read(file: h5py.File, path: Path, class_names: Sequence[str] | None, one_class: bool) -> SourceFile:
    images = _required(file, IMAGES, path)
    _check_images(images, path)
    check_columns(file, images.shape[0], path)
    num_images = images.shape[0]
    given_votes = dataset_named(file, VOTES)
    votes = _read_votes(given_votes, num_images, path)
    labels = _required(file, LABELS, path) if votes is None else dataset_named(file, LABELS)
    names = _class_names([labels, None if votes is None else given_votes], class_names, path)
    known = names if votes is None else _names_of_votes(votes, names, path)
    ids = _read_labels(labels, num_images, path) if labels is not None else majority(np.asarray(votes))
    label, class_ids = classes_of(ids, known, str(path))
    table = pd.DataFrame({"row": np.arange(num_images), "label": label})
    notes = [numbering_note(class_ids, names, path.name)]
    if votes is not None:
        _check_majority(label, votes, path)
        table = table.assign(**vote_columns(votes))
        notes.append(f"{path.name}: {votes_note(votes)}")
    for key in OPTIONAL_COLUMNS:
        table[key], note = _read_column(file, key, num_images, path)
        notes.append(note)
    if "group" in list(file):  # also a broken link
        table["group"] = _read_groups(dataset_named(file, "group"), num_images, path)
    given = _read_subsets(dataset_named(file, "subset"), num_images)
    if given is not None:
        table["given_subset"] = given
    notes.append(_drop_placeholders(table, path))
    if (ids == ids[0]).all() and not one_class:
        raise Galaxy10Error(f"{path}: every image has label {ids[0]}; a classifier needs at least two classes")
    said = tuple(note for note in notes if note)
    _, height, width, _ = images.shape
    parts, _ = source_files(images)
    if images.file.filename != file.filename:
        parts = [Path(images.file.filename), *parts]
    return SourceFile(
        path, num_images, height, width, len(class_ids), names, table, images.chunks, class_ids, said, tuple(parts)
    )


def _read_votes(votes: h5py.Dataset | None, num_images: int, path: Path) -> np.ndarray | None:
    """Return votes (N, C) float64; None if a file has no data set `votes`, or one without a column for each class."""
    if votes is None or votes.ndim != 2:  # another column of this name
        return None
    if len(votes) != num_images:
        raise Galaxy10Error(f"{path}: `{VOTES}` has {len(votes):,} rows for {num_images:,} images; give one per image")
    return check_votes(votes[:] if votes.shape[1] <= MAX_CLASSES else votes[:0], f"{path}: `{VOTES}`")


def _names_of_votes(votes: np.ndarray, names: Sequence[str] | None, path: Path) -> Sequence[str]:
    """Return the class names after a check of their number; numbers as text if there are no names."""
    if names is not None and len(names) != votes.shape[1]:
        raise Galaxy10Error(
            f"{path}: `{VOTES}` has {votes.shape[1]} columns, but there are {len(names)} class names "
            f"({shortened(names)}); give a column for each class, or rename `{VOTES}`"
        )
    return names or [str(number) for number in range(votes.shape[1])]


def _check_majority(label: np.ndarray, votes: np.ndarray, path: Path) -> None:
    """Check that labels (N,) are classes with the most votes (N, C), of which there may be several."""
    wrong = np.flatnonzero(votes[np.arange(len(label)), label] < votes.max(axis=1))
    if len(wrong):
        raise Galaxy10Error(
            f"{path}: `{LABELS}` is not the class with the most votes in {len(wrong):,} rows (the first: row "
            f"{wrong[0]}); leave out `{LABELS}`, or rename `{VOTES}` if these votes are for other classes"
        )


def _required(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    found = dataset_named(file, key)
    if found is None:
        raise Galaxy10Error(f"{path} has no dataset `{key}`; it holds {names_in(file)}, expected `images` and `ans`")
    return found


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
    check_pixels(images, path)


def _read_labels(labels: h5py.Dataset, num_images: int, path: Path) -> np.ndarray:
    if labels.shape != (num_images,):
        hint = f" (votes for each class are a data set `{VOTES}`)" if labels.ndim == 2 else ""
        raise Galaxy10Error(
            f"{path}: `ans` has shape {labels.shape}; expected ({num_images},), one label per image{hint}"
        )
    if labels.dtype.kind not in "iu":
        raise Galaxy10Error(f"{path}: `ans` is {labels.dtype}; expected whole numbers, one class number per image")
    if labels.dtype.kind == "u" and labels[:].max() > np.iinfo(np.int64).max:
        raise Galaxy10Error(f"{path}: `ans` holds label {labels[:].max()}; expected numbers below 2^63")
    values: np.ndarray = labels[:].astype(np.int64)
    if values.min() < 0:
        raise Galaxy10Error(f"{path}: `ans` holds the negative label {values.min()}; expected class numbers from 0")
    return values


def _read_column(file: h5py.File, key: str, num_images: int, path: Path) -> tuple[np.ndarray, str | None]:
    """Return a column (N,) in any case, NaN if the file has none, and a remark."""
    name = column_named(map(decode_text, file), key, str(path))
    if name is None:
        return np.full(num_images, np.nan), None
    column = dataset_named(file, name)
    texts = isinstance(column, h5py.Dataset) and h5py.check_string_dtype(column.dtype) is not None
    if isinstance(column, h5py.Dataset) and column.shape == (num_images,) and texts and key in ("ra", "dec"):
        return read_degrees([decode_text(value) for value in column[:]], key, path.name)
    if not isinstance(column, h5py.Dataset) or column.shape != (num_images,) or column.dtype.kind not in "iuf":
        found = column.shape if isinstance(column, h5py.Dataset) else "an HDF5 group"
        raise Galaxy10Error(f"{path}: `{name}` is {found}; expected ({num_images},) numbers, or leave it out")
    values: np.ndarray = column[:].astype(np.float64)
    return values, None


def _read_groups(column: object, num_images: int, path: Path) -> np.ndarray:
    """Return group numbers (N,) int64, equal for equal values; −1 for an empty text, NaN, or a negative number."""
    if not isinstance(column, h5py.Dataset) or column.shape != (num_images,):
        found = column.shape if isinstance(column, h5py.Dataset) else "an HDF5 group"
        raise Galaxy10Error(f"{path}: `group` is {found}; expected ({num_images},), one value per image")
    if h5py.check_string_dtype(column.dtype) is not None:
        texts = pd.Series([decode_text(value) for value in column[:]], dtype=object)
        return pd.factorize(texts.where(texts != "", None))[0].astype(np.int64)
    if column.dtype.kind not in "iuf":
        raise Galaxy10Error(f"{path}: `group` is {column.dtype}; expected whole numbers or texts")
    values = column[:]
    return np.where(values < 0, -1, pd.factorize(values)[0]).astype(np.int64)


def _read_subsets(column: object, num_images: int) -> np.ndarray | None:
    """Return the subset of each row (N,), an empty text for none; None if the file names no subsets."""
    if not isinstance(column, h5py.Dataset) or column.shape != (num_images,):
        return None
    if h5py.check_string_dtype(column.dtype) is None:
        return None
    found = np.array([subset_named(decode_text(value)) or "" for value in column[:]], dtype=object)
    return found if (found != "").any() else None


def _drop_placeholders(table: pd.DataFrame, path: Path) -> str | None:
    """Remove positions that are placeholders for unknown ones, such as −999 or two zeros; return a remark.

    Raises:
        Galaxy10Error: no position is left of many different ones: they are in another unit.
    """
    ra, dec = table["ra"], table["dec"]
    if not ra.notna().any() or not dec.notna().any():
        one = ra.notna().any() or dec.notna().any()
        return f"{path.name}: ra and dec go together, and one is missing: there are no sky positions" if one else None
    dropped = (dec.abs() > 90) | (ra < -180) | (ra > 360) | ((ra == 0) & (dec == 0))
    lost = table.loc[dropped, ["ra", "dec"]]
    table.loc[dropped, ["ra", "dec"]] = np.nan
    left = (table["ra"].notna() & table["dec"].notna()).any()
    if not left and len(lost.drop_duplicates()) > _PLACEHOLDERS:
        raise Galaxy10Error(
            f"{path}: no sky position is in range (the first: ra {lost['ra'].iloc[0]:g}, dec {lost['dec'].iloc[0]:g}); "
            "expected degrees, or leave ra and dec out"
        )
    return f"{path.name}: {len(lost):,} sky positions are out of range and not used" if len(lost) else None


def _class_names(named: Sequence[Any], given: Sequence[str] | None, path: Path) -> tuple[str, ...] | None:
    """Return the given class names, else those of the first of several data sets that has the attribute."""
    listed = [values.attrs["class_names"] for values in named if values is not None and "class_names" in values.attrs]
    if given is None and not listed:
        return None
    names = tuple(map(decode_text, np.atleast_1d(listed[0]))) if given is None else tuple(map(str, given))
    if len(set(names)) != len(names):
        raise Galaxy10Error(f"{path}: class names must differ, found {', '.join(names)}; set data.class_names")
    return names
