"""Check the output of a reader, and write it as an HDF5 file that open_source reads."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from galaxy10.data.coordinates import column_named, read_degrees
from galaxy10.data.hdf5 import IMAGES, LABELS, MIN_SIZE_PX, OPTIONAL_COLUMNS
from galaxy10.data.sidecars import Failure
from galaxy10.data.votes import NO_VOTES, VOTES, check_votes, majority
from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.progress import progress

logger = logging.getLogger(__name__)

_BLOCK = 64  # images in memory at once
_CONTRACT = "expected (images, labels, class names[, table])"


@dataclass(frozen=True)
class ReaderOutput:
    """The checked output of a reader; the images are checked when they are written.

    Attributes:
        labels: (N,) int64; negative only if the image is an exception.
        names: class names in label order; None for numbers.
        columns: N lines.
        who: the reader's name, for messages.
        votes: (N, C) float64, of which labels are the majority; None if the reader returns classes. Images without
            votes are left out.
    """

    images: Any
    labels: np.ndarray
    names: list[str] | None
    columns: pd.DataFrame
    who: str
    votes: np.ndarray | None = None


def check_output(returned: Any, who: str) -> ReaderOutput:
    """Check the value that a reader has returned.

    Args:
        returned: (images, labels, class names[, table]). images: (N, H, W, 3) uint8, or an iterable of (H, W, 3) uint8
            with an exception, or None, in place of each that cannot be read. labels: (N,) class numbers or names, or
            (N, C) votes for each class, counts or fractions. class names: in label order; None: the numbers, or the
            names that occur, sorted. table: a DataFrame or a mapping of columns with N lines: ra, dec, redshift,
            pxscale, group, and any others.

    Raises:
        Galaxy10Error: the value has another form; the message names the reader.
    """
    if not isinstance(returned, tuple | list) or len(returned) not in (3, 4):
        found = f"{len(returned)} values" if isinstance(returned, tuple | list) else type(returned).__name__
        raise Galaxy10Error(f"{who} returns {found}; {_CONTRACT}")
    images, given_labels, given_names, *tables = returned
    names = _names(given_names, who)
    votes = _votes(given_labels, names, who)
    labels, names = _labels(given_labels, names, who) if votes is None else (majority(votes), names)
    shape = getattr(images, "shape", None)
    if shape is not None and (len(shape) != 4 or shape[3] != 3):
        raise Galaxy10Error(f"{who} returns images of shape {tuple(shape)}; expected (N, H, W, 3) uint8")
    if shape is None and (not isinstance(images, Iterable) or isinstance(images, str | bytes | Mapping)):
        raise Galaxy10Error(
            f"{who} returns images of type {type(images).__name__}; expected (N, H, W, 3) uint8, or an iterator of "
            "(H, W, 3) uint8"
        )
    if shape is not None and shape[0] != len(labels):
        raise _counts_differ(who, str(shape[0]), len(labels))
    columns = _columns(tables[0] if tables else None, len(labels), who, () if votes is None else (VOTES,))
    return ReaderOutput(images, labels, names, columns, who, votes)


def _counts_differ(who: str, images: str, labels: int) -> Galaxy10Error:
    return Galaxy10Error(f"{who} returns {images} images and {labels} labels; expected one label per image")


def _names(given: Any, who: str) -> list[str] | None:
    if given is None:
        return None
    given = given if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise Galaxy10Error(f"{who} returns class names {given!r}; expected a list of names in label order")
    names = [str(name) for name in given]
    if len(set(names)) != len(names):
        raise Galaxy10Error(f"{who} returns a class name twice ({', '.join(names)}); name every class differently")
    return names


def _votes(given: Any, names: list[str] | None, who: str) -> np.ndarray | None:
    """Return labels (N, C) as checked votes; None for labels of another form."""
    try:
        values = np.asarray(given)
    except ValueError:  # lists of several lengths: see _labels
        return None
    if values.ndim != 2 or len(values) == 0:
        return None
    votes = check_votes(values, f"{who}: the array of votes")
    if names is not None and len(names) != votes.shape[1]:
        raise Galaxy10Error(
            f"{who} returns votes for {votes.shape[1]} classes, but {len(names)} class names ({', '.join(names)})"
        )
    return votes


def _labels(given: Any, names: list[str] | None, who: str) -> tuple[np.ndarray, list[str] | None]:
    try:
        values = np.asarray(given)
    except ValueError as error:  # lists of several lengths
        raise Galaxy10Error(
            f"{who} returns labels that are no array ({first_line(error)}); expected (N,), one label per image"
        ) from error
    if values.ndim != 1:
        raise Galaxy10Error(
            f"{who} returns labels of shape {values.shape}; expected (N,), one label per image, or votes (N, C)"
        )
    if len(values) == 0:
        raise Galaxy10Error(f"{who} returns no labels; expected one label per image")
    if values.dtype.kind in "iu":
        if values.max() > np.iinfo(np.int64).max:
            raise Galaxy10Error(f"{who} returns label {values.max()}; expected numbers below 2^63")
        labels = values.astype(np.int64)
        if names is not None and labels.max() >= len(names):
            raise Galaxy10Error(
                f"{who} returns label {labels.max()}, but only {len(names)} class names ({', '.join(names)})"
            )
        return labels, names
    if values.dtype.kind not in "OUST" or not all(isinstance(value, str) for value in values.tolist()):
        raise Galaxy10Error(f"{who} returns labels of type {values.dtype}; expected class numbers or class names")
    names = names if names is not None else sorted(set(values.tolist()))
    order = {name: number for number, name in enumerate(names)}
    unknown = next((value for value in values.tolist() if value not in order), None)
    if unknown is not None:
        raise Galaxy10Error(
            f"{who} returns the label {unknown!r}, which is not among its class names ({', '.join(names)})"
        )
    return np.array([order[value] for value in values.tolist()], dtype=np.int64), names


def _columns(table: Any, number: int, who: str, more_taken: Sequence[str] = ()) -> pd.DataFrame:
    if table is None:
        return pd.DataFrame(index=range(number))
    if not isinstance(table, pd.DataFrame | Mapping):
        raise Galaxy10Error(f"{who} returns a table of type {type(table).__name__}; expected a DataFrame or a mapping")
    try:
        columns = pd.DataFrame(dict(table)).reset_index(drop=True)
    except ValueError as error:
        raise Galaxy10Error(f"{who} returns a table whose columns do not fit together ({first_line(error)})") from error
    if len(columns) != number:
        raise Galaxy10Error(
            f"{who} returns a table of {len(columns)} lines and {number} labels; expected one line per label"
        )
    taken = next((name for name in (IMAGES, LABELS, *more_taken) if name in columns), None)
    if taken:
        raise Galaxy10Error(f"{who} returns a table with a column {taken}, a name that the file uses; rename it")
    columns = columns.rename(columns={c: k for k in OPTIONAL_COLUMNS if (c := column_named(map(str, columns), k, who))})
    for name in ("ra", "dec"):
        if name in columns:
            columns[name], remark = read_degrees(columns[name], name, who)
            if remark:
                logger.info(f"note: {remark}")
    if ("ra" in columns) != ("dec" in columns):
        logger.info(f"note: {who}: ra and dec go together, and one is missing: there are no sky positions")
    for name in OPTIONAL_COLUMNS:
        if name in columns and not pd.api.types.is_numeric_dtype(columns[name]):
            raise Galaxy10Error(f"{who} returns a column {name} of type {columns[name].dtype}; expected numbers")
    return columns


def blocks_of(images: Any) -> Iterator[Sequence[Any]]:
    """Yield the images of a reader's output in blocks."""
    if hasattr(images, "shape"):
        for start in range(0, images.shape[0], _BLOCK):
            yield list(np.asarray(images[start : start + _BLOCK]))
        return
    iterator = iter(images)
    while block := list(islice(iterator, _BLOCK)):
        yield block


def write_output(part: Path, output: ReaderOutput, blocks: Iterable[Sequence[Any]]) -> tuple[np.ndarray, list[Failure]]:
    """Write `images`, `ans` with its class names, votes, and the table's columns to an HDF5 file, block by block.

    Args:
        blocks: the images, as blocks_of yields them.

    Returns:
        The rows (n,) that are in the file, and path, row and reason of the images that could not be read, or have no
        votes.

    Raises:
        Galaxy10Error: an image has another form or size than the others, or the numbers of images and labels differ.
    """
    total = len(output.labels)
    kept: list[int] = []
    failures: list[Failure] = []
    row = 0
    with h5py.File(part, "w") as file, progress("reading images", total) as update:
        images: h5py.Dataset | None = None
        for block in blocks:
            good: list[np.ndarray] = []
            for image in block:
                if row >= total:
                    raise _counts_differ(output.who, f"more than {total}", total)
                if image is None or isinstance(image, Exception):
                    failures.append((_path_of(output, row), row, first_line(image) if image else "not readable"))
                elif output.votes is not None and not output.votes[row].any():
                    failures.append((_path_of(output, row), row, NO_VOTES))
                else:
                    good.append(_checked(image, row, None if images is None else images.shape[1:], output, good))
                    kept.append(row)
                row += 1
            if good:
                stacked = np.stack(good)
                if images is None:
                    shape = stacked.shape[1:]
                    images = file.create_dataset(
                        "images", (0, *shape), np.uint8, maxshape=(None, *shape), chunks=(16, *shape)
                    )
                images.resize(len(kept), axis=0)
                images[len(kept) - len(good) :] = stacked
            update(row)
        if row < total:
            raise _counts_differ(output.who, str(row), total)
        rows = np.array(kept, dtype=np.int64)
        if images is not None:
            _write_columns(file, output, rows)
    return rows, failures


def _checked(
    image: Any, row: int, shape: tuple[int, ...] | None, output: ReaderOutput, before: Sequence[np.ndarray]
) -> np.ndarray:
    """Return an image after a check of its type, size and label."""
    pixels = np.asarray(image)
    shape = shape or (before[0].shape if before else None)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise Galaxy10Error(f"{output.who}: image {row} has shape {pixels.shape}; expected (H, W, 3) uint8")
    if pixels.dtype != np.uint8:
        raise Galaxy10Error(
            f"{output.who}: image {row} is {pixels.dtype}; expected (H, W, 3) uint8 (scale the colours to 0–255 first)"
        )
    if min(pixels.shape[:2]) < MIN_SIZE_PX:
        raise Galaxy10Error(
            f"{output.who}: image {row} is {pixels.shape[0]}×{pixels.shape[1]} px; at least {MIN_SIZE_PX}"
        )
    if shape is not None and pixels.shape != shape:
        raise Galaxy10Error(
            f"{output.who}: image {row} is {pixels.shape[0]}×{pixels.shape[1]} px, those before it "
            f"{shape[0]}×{shape[1]}; resize all to one size"
        )
    label = output.labels[row]
    if label < 0:
        raise Galaxy10Error(f"{output.who}: image {row} has label {label}; expected class numbers from 0")
    return pixels


def _path_of(output: ReaderOutput, row: int) -> str:
    return str(output.columns["path"].iloc[row]) if "path" in output.columns else ""


def _write_columns(file: h5py.File, output: ReaderOutput, rows: np.ndarray) -> None:
    labels = output.labels[rows]
    text = h5py.string_dtype()
    file["ans"] = labels.astype(np.min_scalar_type(labels.max(initial=0)))
    if output.names is not None:
        file["ans"].attrs["class_names"] = np.array(output.names, dtype=text)
    if output.votes is not None:
        file[VOTES] = output.votes[rows]
    for name in output.columns:
        values, key = output.columns[name].iloc[rows], str(name).replace("/", "_")
        if name == "pxscale" and hasattr(output.images, "shrunk"):  # the scale of the images as they are in the file
            values = values * output.images.shrunk[rows]
        if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iufb":
            file[key] = values.to_numpy()
        elif pd.api.types.is_numeric_dtype(values):  # a nullable type of pandas
            file[key] = values.to_numpy(np.float64, na_value=np.nan)
        else:
            texts = ["" if pd.isna(value) else str(value) for value in values]
            file.create_dataset(key, data=np.array(texts, dtype=object), dtype=text)
