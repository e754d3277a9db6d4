"""The kinds of input that hold images: single files, tables of paths, HDF5 files."""

import logging
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import pyarrow as pa

from galaxy10.data.galaxy_image import GalaxyImage, ImageReadError, as_image
from galaxy10.data.hdf5_file import READ_ERRORS, dataset_named, hdf5_file, hdf5_reason, names_in, open_hdf5
from galaxy10.data.hdf5_limits import check_columns, check_pixels
from galaxy10.data.images import read_image
from galaxy10.data.lines import Lines
from galaxy10.data.path_lines import open_path_table
from galaxy10.data.path_tables import catalogue_column_names, read_path_table
from galaxy10.data.text import decode_text
from galaxy10.errors import Galaxy10Error

logger = logging.getLogger(__name__)

_SLAB_BYTES = 256 * 2**20
_ENDS_BYTES = 64 * 2**10


class ImageSource(Protocol):
    """One input. columns: one line per image, `path` and `row` first, then the input's own columns."""

    columns: Lines

    def read(self, index: int) -> GalaxyImage:
        """Return the image of one line; raise ImageReadError if it cannot be read. Must be thread-safe."""
        ...

    def files(self, first: int, stop: int) -> Iterable[str]:
        """Yield the image file of each of these lines; nothing if the images are in one file."""
        ...

    def fingerprint(self) -> bytes:
        """Return bytes that change if the images of `columns` change and `files` is empty, without reading all.

        Copies of a file on other machines have the same fingerprint.
        """
        ...


class ImageFiles:
    """Single files, one image each."""

    def __init__(self, paths: Sequence[str], stretch: str, hdu: Sequence[str] = ()):
        self._stretch, self._hdu, self._paths = stretch, hdu, list(paths)
        array = pa.array(map(printable_path, paths), pa.string())
        self.columns: Lines = pa.table({"path": array, "row": pa.array(np.zeros(len(array), np.int64))})

    def read(self, index: int) -> GalaxyImage:
        """Return the image of one file."""
        return read_image(self._paths[index], self._stretch, self._hdu)

    def files(self, first: int, stop: int) -> Iterable[str]:
        """Return some of the files."""
        return self._paths[first:stop]

    def fingerprint(self) -> bytes:
        """Return nothing: the sizes of the files tell them apart."""
        return b""


class PathTable:
    """A table with a column of paths, relative to the table's folder; its other columns are kept.

    Args:
        label: another column that must exist; with it, the table is in memory as a whole.

    Attributes:
        names: the name in `columns` of each column of the table.
    """

    columns: Lines

    def __init__(self, file: Path, column: str | None, stretch: str, label: str | None = None, hdu: Sequence[str] = ()):
        self._stretch, self._hdu, self._folder = stretch, hdu, file.parent
        if label is None:
            self.columns, self.names = open_path_table(file, column)
        else:
            self.columns, self.names = read_path_table(file, column, label)

    def read(self, index: int) -> GalaxyImage:
        """Return the image that one line names."""
        path = self.columns.slice(index, 1)["path"][0].as_py()
        if not path:
            raise ImageReadError("the table has no path in this line")
        return read_image(self._folder / path, self._stretch, self._hdu)

    def files(self, first: int, stop: int) -> Iterator[str]:
        """Yield the files that some lines name; an empty text for a line without a path."""
        for path in self.columns.slice(first, stop - first)["path"].to_pylist():
            yield os.path.join(self._folder, path) if path else ""

    def fingerprint(self) -> bytes:
        """Return nothing: the lines and the sizes of the files that they name tell them apart."""
        return b""


class HDF5Images:
    """The data set `images` of an HDF5 file; columns of the same length (ra, dec, ans, …) are kept.

    Raises:
        Galaxy10Error: the file is damaged or has no `images`.
    """

    def __init__(self, file: Path, stretch: str):
        self._path, self._stretch, self._lock = file, stretch, threading.Lock()
        self._file: h5py.File | None = None
        self.columns: Lines
        self._slabs: dict[int, np.ndarray] = {}  # by first row; two, since threads read across a border
        with open_hdf5(file) as opened:
            self._shape, self._chunks, self.columns = self._open(opened)

    def _open(self, opened: h5py.File) -> tuple[tuple[int, ...], int, pa.Table]:
        images = dataset_named(opened, "images")
        if images is None or images.ndim not in (3, 4):
            raise Galaxy10Error(
                f"{self._path} has no `images` (N, H, W, 3), only {names_in(opened)}; give another file"
            )
        check_pixels(images, self._path)
        check_columns(opened, len(images), self._path)
        number = len(images)
        columns: dict[str, Any] = {
            "path": pa.array([printable_path(str(self._path))], pa.string()).take(pa.array(np.zeros(number, np.int64))),
            "row": pa.array(np.arange(number)),
        }
        carried = {name: _carried(values) for name, values in _readable(opened).items() if _is_column(values, number)}
        columns |= {name: carried[given] for given, name in catalogue_column_names(carried).items()}
        # An image of the published file is in 768 chunks of 555 images each: whole chunks are read at a time.
        rows = images.chunks[0] if images.chunks else 1
        image_bytes = int(np.prod(images.shape[1:])) * images.dtype.itemsize
        chunks = rows if rows * image_bytes <= _SLAB_BYTES else 1
        return images.shape, max(chunks, 16), pa.table(columns)

    def read(self, index: int) -> GalaxyImage:
        """Return the image of one row."""
        first = index - index % self._chunks
        with self._lock:
            if first not in self._slabs:
                try:
                    self._file = self._file or hdf5_file(self._path)
                    slab = self._file["images"][first : first + self._chunks]
                except READ_ERRORS as error:
                    raise ImageReadError(hdf5_reason(self._path, error)) from error
                except Galaxy10Error as error:
                    raise ImageReadError(str(error)) from error
                if len(self._slabs) == 2:
                    del self._slabs[min(self._slabs)]
                self._slabs[first] = slab
            values = self._slabs[first][index - first]
        return as_image(values, self._stretch)

    def files(self, first: int, stop: int) -> Iterable[str]:
        """Return nothing: the images are in one file."""
        return ()

    def fingerprint(self) -> bytes:
        """Return the file's size, beginning and end, but not its date, which a copy may not keep."""
        with self._path.open("rb") as file:
            beginning = file.read(_ENDS_BYTES)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _ENDS_BYTES))
            return size.to_bytes(8, "little") + beginning + file.read()


def _readable(opened: h5py.File) -> dict[str, h5py.Dataset | None]:
    """Return the data sets of a file that can be read; say which cannot."""
    found = {}
    for name in opened:
        try:
            found[decode_text(name)] = dataset_named(opened, name)
        except Galaxy10Error as error:
            logger.info(f"note: {error}; the column is left out")
    return found


def _is_column(values: Any, number: int) -> bool:
    if not isinstance(values, h5py.Dataset) or values.shape != (number,):
        return False
    return values.dtype.kind in "iufb" or h5py.check_string_dtype(values.dtype) is not None


def _carried(values: h5py.Dataset) -> pa.Array:
    if h5py.check_string_dtype(values.dtype) is not None:
        return pa.array([decode_text(value) for value in values[:]], pa.string())
    return pa.array(values[:].astype(values.dtype.newbyteorder("="), copy=False))


def printable_path(path: str) -> str:
    r"""Return a path as UTF-8: bytes of a file's name that are none are written as \\xff."""
    return os.fsencode(path).decode(errors="backslashreplace")
