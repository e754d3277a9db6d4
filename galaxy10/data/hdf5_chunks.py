"""Decompress the chunks of an HDF5 data set on several cores; the HDF5 library decompresses one after another."""

import math
import zlib
from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial
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
        places = _places(pixels.shape, images.chunks)
        place = partial(_place, pixels, images.chunks)
        try:
            while group := list(islice(places, _CHUNKS_AT_ONCE)):
                stored = [images.id.read_direct_chunk((rows.start + first, *others)) for first, *others in group]
                list(pool.map(place, group, stored))  # raises what a thread has raised
            return pixels
        except Exception:  # a chunk that was never written, or is damaged, or not compressed after all
            pass
    return np.ascontiguousarray(images[rows])


def _is_only_gzipped(images: h5py.Dataset) -> bool:
    if images.chunks is None or images.dtype != np.uint8:
        return False
    properties = images.id.get_create_plist()
    return bool(properties.get_nfilters() == 1 and properties.get_filter(0)[0] == _GZIP)


def _places(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the position of the first value of each chunk."""
    return product(*(range(0, size, step) for size, step in zip(shape, chunks, strict=True)))


def _place(pixels: np.ndarray, chunks: tuple[int, ...], place: tuple[int, ...], stored: tuple[int, bytes]) -> None:
    """Put a chunk, as (filters that were skipped, bytes), into its place; what lies beyond the pixels is left out."""
    skipped_filters, compressed = stored
    if skipped_filters:
        raise ValueError("a chunk without its filters")
    whole = np.frombuffer(zlib.decompress(compressed, bufsize=math.prod(chunks)), np.uint8).reshape(chunks)
    target = pixels[tuple(slice(first, first + size) for first, size in zip(place, chunks, strict=True))]
    target[:] = whole[tuple(slice(size) for size in target.shape)]
