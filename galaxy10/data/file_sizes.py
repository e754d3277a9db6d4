"""A hash of the sizes of image files that can be computed shard by shard: those of all shards add up to the whole's."""

import os
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd


def file_sizes(paths: Iterable[str | os.PathLike[str]]) -> np.ndarray:
    """Return the sizes of N files in bytes (N,) int64; −1 for a missing file."""
    return np.fromiter(map(_size, paths), np.int64)


def sizes_digest(first: int, paths: Iterable[str | os.PathLike[str]]) -> str:
    """Return a hash of the sizes of files, 16 hexadecimal digits; a missing file has the size −1.

    Args:
        first: number of the first path among all images; the others follow it.
    """
    sizes = file_sizes(paths).view(np.uint64)
    lines = np.arange(first, first + len(sizes), dtype=np.uint64)
    mixed = pd.util.hash_array(pd.util.hash_array(lines, categorize=False) ^ sizes, categorize=False)
    return f"{int(mixed.sum(dtype=np.uint64)):016x}"


def add_digests(digests: Sequence[str]) -> str:
    """Return the hash of all files from the hashes of groups of them, in any order.

    >>> add_digests([sizes_digest(0, ["a", "b"]), sizes_digest(2, ["c"])]) == sizes_digest(0, ["a", "b", "c"])
    True
    """
    return f"{sum(int(digest, 16) for digest in digests) % 2**64:016x}"


def _size(path: str | os.PathLike[str]) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):  # a null character is in no path
        return -1
