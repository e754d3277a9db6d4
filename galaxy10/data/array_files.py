"""Arrays in .npy files, written atomically and joined without holding them in memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from galaxy10.files import atomic_write

_ROWS = 4096  # in memory at once


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array as a .npy file.

    Raises:
        Galaxy10Error: the disk is full or the folder cannot be written.
    """
    with atomic_write(path) as part, part.open("wb") as file:
        np.save(file, array)


def join_arrays(path: Path, parts: Sequence[Path]) -> None:
    """Join the .npy files of arrays (n, …) of one type and width, at least one, into one file (N, …).

    Raises:
        Galaxy10Error: the disk is full or the folder cannot be written.
    """
    shapes = [np.load(part, mmap_mode="r").shape for part in parts]
    shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    with atomic_write(path) as target, target.open("wb") as file:
        descr = np.lib.format.dtype_to_descr(np.load(parts[0], mmap_mode="r").dtype)
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
        for part in parts:
            array = np.load(part, mmap_mode="r")
            for start in range(0, len(array), _ROWS):
                file.write(np.ascontiguousarray(array[start : start + _ROWS]).tobytes())
