"""Decompress the chunks of an HDF5 data set on several cores; the HDF5 library decompresses one after another."""

import math
import zlib
from collections.abc import Iterator
from concurrent.futures import Executor
from itertools import islice, product

import h5py
import numpy as np

_GZIP = 1  # the number of its filter in HDF5
_CHUNKS_AT_ONCE = 128  # compressed ones that are in memory


def read_rows(images: h5py.Dataset, rows: slice, pool: Executor) -> np.ndarray:
    """Return rows of a data set (N, H, W, 3) uint8, from the start of a chunk to the end of one or of the data set.

    Chunks that are compressed with gzip alone, as those of the published file, are decompressed in the threads of a
    pool; anything else, such as damage, is left to the HDF5 library.

    Raises:
        one of galaxy10.data.hdf5_file.READ_ERRORS: the data set cannot be read.
    """
    if _is_only_gzipped(images):
        pixels = np.empty((rows.stop - rows.start, *images.shape[1:]), images.dtype)
        corners = _corners(images, rows)
        try:
            while group := list(islice(corners, _CHUNKS_AT_ONCE)):
                stored = [images.id.read_direct_chunk(corner) for corner in group]
                for _ in pool.map(lambda corner, chunk: _place(images, pixels, rows, corner, chunk), group, stored):
                    pass
            return pixels
        except Exception:  # a chunk that was never written, or is damaged, or not compressed after all
            pass
    return np.ascontiguousarray(images[rows])


def _is_only_gzipped(images: h5py.Dataset) -> bool:
    if images.chunks is None or images.dtype != np.uint8:
        return False
    properties = images.id.get_create_plist()
    return bool(properties.get_nfilters() == 1 and properties.get_filter(0)[0] == _GZIP)


def _corners(images: h5py.Dataset, rows: slice) -> Iterator[tuple[int, ...]]:
    """Yield the position of the first value of each chunk."""
    sides = zip(images.shape[1:], images.chunks[1:], strict=True)
    return product(range(rows.start, rows.stop, images.chunks[0]), *(range(0, size, step) for size, step in sides))


def _place(
    images: h5py.Dataset, pixels: np.ndarray, rows: slice, corner: tuple[int, ...], stored: tuple[int, bytes]
) -> None:
    skipped_filters, compressed = stored
    if skipped_filters:
        raise ValueError("a chunk without its filters")
    whole = np.frombuffer(zlib.decompress(compressed, bufsize=math.prod(images.chunks)), np.uint8).reshape(
        images.chunks
    )
    ends = (rows.stop, *images.shape[1:])
    inside = tuple(
        slice(0, min(size, end - first)) for first, size, end in zip(corner, images.chunks, ends, strict=True)
    )
    first_row, *others = corner
    places = (first_row - rows.start, *others)
    pixels[tuple(slice(p, p + part.stop) for p, part in zip(places, inside, strict=True))] = whole[inside]
