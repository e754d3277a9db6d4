"""The kinds of input that hold pictures: single files, tables of paths, HDF5 files."""

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import pyarrow as pa

from galaxy10.data.images import ImageReadError, Picture, as_picture, read_picture
from galaxy10.data.path_tables import carried_names, read_table
from galaxy10.errors import Galaxy10Error, first_line

_SLAB_BYTES = 256 * 2**20
_ENDS_BYTES = 64 * 2**10


class Source(Protocol):
    """One input. columns: what comes along with each picture, `path` and `row` first, one line per picture."""

    columns: pa.Table

    def read(self, index: int) -> Picture:
        """The picture of one line; raises ImageReadError. May be called by several threads at once."""
        ...

    def fingerprint(self) -> bytes:
        """What tells, at the price of a look, whether the pictures behind `columns` are still the same.

        Copies of a file on other machines have the same.
        """
        ...


def _sizes(paths: Iterable[str | Path]) -> bytes:
    """The files' sizes as bytes; −1 where there is none."""

    def size(path: str | Path) -> int:
        try:
            return os.stat(path).st_size
        except OSError:
            return -1

    return np.fromiter(map(size, paths), np.int64).tobytes()


class Files:
    """Single files, one picture each."""

    def __init__(self, paths: Sequence[str], stretch: str):
        self._stretch = stretch
        array = _texts(paths)
        self.columns = pa.table({"path": array, "row": pa.array(np.zeros(len(array), np.int64))})

    def read(self, index: int) -> Picture:
        """The picture of one file."""
        return read_picture(self.columns["path"][index].as_py(), self._stretch)

    def fingerprint(self) -> bytes:
        """The files' sizes."""
        return _sizes(self.columns["path"].to_pylist())


class PathTable:
    """A table with a column of paths; its other columns come along. Relative paths count from the table's folder.

    names: under which names the table's columns stand in `columns`.
    """

    def __init__(self, file: Path, column: str | None, stretch: str, label: str | None = None):
        self._stretch, self._folder = stretch, file.parent
        self.columns, self.names = read_table(file, column, label)

    def read(self, index: int) -> Picture:
        """The picture that one line names."""
        path = self.columns["path"][index].as_py()
        if not path:
            raise ImageReadError("the table names no file here")
        return read_picture(self._folder / path, self._stretch)

    def fingerprint(self) -> bytes:
        """The sizes of the files it names."""
        return _sizes(os.path.join(self._folder, path or "") for path in self.columns["path"].to_pylist())


class Survey:
    """The data set `images` of an HDF5 file; its columns of the same length (ra, dec, ans, …) come along."""

    def __init__(self, file: Path, stretch: str):
        self._path, self._stretch, self._lock = file, stretch, threading.Lock()
        self._file: h5py.File | None = None
        self._slabs: dict[int, np.ndarray] = {}  # by their first row; two, as readers cross a border one by one
        try:
            with h5py.File(file, "r") as opened:
                self._shape, self._chunks, self.columns = self._look(opened)
        except OSError as error:
            raise Galaxy10Error(f"{file} cannot be read as HDF5 ({first_line(error)}); copy it again") from error

    def _look(self, opened: h5py.File) -> tuple[tuple[int, ...], int, pa.Table]:
        images = opened.get("images")
        if not isinstance(images, h5py.Dataset) or images.ndim not in (3, 4):
            have = ", ".join(sorted(opened)) or "nothing"
            raise Galaxy10Error(f"{self._path} has no `images` (N, H, W, 3); it holds {have}")
        number = len(images)
        columns: dict[str, Any] = {
            "path": _texts([str(self._path)]).take(pa.array(np.zeros(number, np.int64))),
            "row": pa.array(np.arange(number)),
        }
        carried = {name: _carried(values) for name, values in opened.items() if _is_column(values, number)}
        columns |= {name: carried[given] for given, name in carried_names(carried).items()}
        # A picture of the published file lies in 768 chunks of 555 pictures each: whole chunks at a time.
        rows = images.chunks[0] if images.chunks else 1
        image_bytes = int(np.prod(images.shape[1:])) * images.dtype.itemsize
        chunks = rows if rows * image_bytes <= _SLAB_BYTES else 1
        return images.shape, max(chunks, 16), pa.table(columns)

    def read(self, index: int) -> Picture:
        """The picture of one row."""
        first = index - index % self._chunks
        with self._lock:
            if first not in self._slabs:
                self._file = self._file or h5py.File(self._path, "r")
                try:
                    slab = self._file["images"][first : first + self._chunks]
                except OSError as error:
                    raise ImageReadError(f"damaged in the HDF5 file: {first_line(error)}") from error
                if len(self._slabs) == 2:
                    del self._slabs[min(self._slabs)]
                self._slabs[first] = slab
            values = self._slabs[first][index - first]
        return as_picture(values, self._stretch)

    def fingerprint(self) -> bytes:
        """The file's size, its beginning and its end: not its date, which a copy need not have."""
        with self._path.open("rb") as file:
            beginning = file.read(_ENDS_BYTES)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _ENDS_BYTES))
            return size.to_bytes(8, "little") + beginning + file.read()


def _is_column(values: Any, number: int) -> bool:
    if not isinstance(values, h5py.Dataset) or values.shape != (number,):
        return False
    return values.dtype.kind in "iufb" or h5py.check_string_dtype(values.dtype) is not None


def _carried(values: h5py.Dataset) -> pa.Array:
    if h5py.check_string_dtype(values.dtype) is not None:
        return pa.array(values.asstr(errors="replace")[:], pa.string())
    return pa.array(values[:].astype(values.dtype.newbyteorder("="), copy=False))


def _texts(paths: Sequence[str]) -> pa.Array:
    """File names as a column.

    Raises:
        Galaxy10Error: one that is not UTF-8, which a catalogue could not hold.
    """
    try:
        return pa.array(paths, pa.string())
    except UnicodeEncodeError as error:
        name = next(path for path in paths if not path.isascii() and path != path.encode(errors="replace").decode())
        raise Galaxy10Error(f"the name of the file {name!a} is not UTF-8; rename it") from error
