"""Limits on HDF5 files that come from anybody: shapes that the file cannot hold, and bytes of other files."""

import mmap
import os
from pathlib import Path

import h5py

from galaxy10.data.image_limits import LimitError, check_samples
from galaxy10.data.votes import VOTES
from galaxy10.errors import Galaxy10Error

_VALUE_BYTES = 65_536  # of one value of a column: a name, not a document
_SEARCHED_BYTES = 64 * 2**20  # at each end of a file
_HEAP = b"GCOL\1\0\0\0"
_HEAP_HEADER = _OBJECT_HEADER = 16


def check_heaps(path: Path) -> None:
    """Check the heaps that hold texts of any length: in a damaged one, the HDF5 library searches for ever.

    Heaps further than 64 MiB from both ends of a file are not checked.

    Raises:
        Galaxy10Error: a heap has an object of no size, or one that is longer than the heap.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for start in {0, max(0, size - _SEARCHED_BYTES)}:
                place = content.find(_HEAP, start, start + _SEARCHED_BYTES)
                while place >= 0:
                    if not _is_whole(content, place):
                        raise Galaxy10Error(f"{path} is damaged (its texts); copy or download it again")
                    place = content.find(_HEAP, place + 1, start + _SEARCHED_BYTES)


def _is_whole(content: mmap.mmap, place: int) -> bool:
    """Return whether the objects of a heap fill it (HDF5 File Format Specification, III.E)."""
    end = place + int.from_bytes(content[place + 8 : place + 16], "little")
    place += _HEAP_HEADER
    while place + _OBJECT_HEADER <= end:
        number = int.from_bytes(content[place : place + 2], "little")
        size = int.from_bytes(content[place + 8 : place + 16], "little")
        taken = _OBJECT_HEADER + -(-size // 8) * 8 if number else size
        if taken < _OBJECT_HEADER or place + taken > end:
            return False
        place += taken
    return end <= len(content)


def check_pixels(images: h5py.Dataset, path: Path) -> None:
    """Check that a data set of images (N, H, W[, 3]) is one that its file can hold, before anything is allocated.

    Raises:
        Galaxy10Error: an image is too large, there are more images than bytes, or the pixels are bytes of other files.
    """
    if images.external:
        named = images.external[0][0]
        raise Galaxy10Error(
            f"{path}: the pixels of `{images.name[1:]}` are bytes of another file ({named}), which is not read: "
            "write them into this file (h5repack)"
        )
    try:
        check_samples(images.shape[1:])
    except LimitError as error:
        raise Galaxy10Error(f"{path}: images of shape {images.shape[1:]}: {error}") from error
    # The sources of a virtual data set, and the target of a link, have their own lengths.
    elsewhere = images.is_virtual or images.file.filename != os.fspath(path)
    if not elsewhere and len(images) > (held := os.path.getsize(path)):
        raise Galaxy10Error(
            f"{path}: {len(images):,} images in a file of {held:,} bytes; the file is damaged or forged: copy it again"
        )


def check_columns(file: h5py.File, num_images: int, path: Path) -> None:
    """Check that no column (N,), nor the votes (N, C), has values longer than any name, before it is read.

    Raises:
        Galaxy10Error: one has.
    """
    for name in file:
        linked = isinstance(file.get(name, getlink=True), h5py.HardLink)
        column = file.get(name) if linked else None
        if not isinstance(column, h5py.Dataset) or (column.shape != (num_images,) and name != VOTES):
            continue
        if column.dtype.itemsize > _VALUE_BYTES:
            raise Galaxy10Error(
                f"{path}: each value of `{name}` takes {column.dtype.itemsize:,} bytes; leave the column out"
            )
        if column.external:
            raise Galaxy10Error(f"{path}: the values of `{name}` are bytes of another file; leave the column out")
