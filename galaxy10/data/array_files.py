"""Arrays in .npy files, in C order, written atomically and joined without holding them in memory."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from galaxy10.files import atomic_write

_BLOCK = 2**24  # bytes in memory at once


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array as a .npy file.

    Raises:
        Galaxy10Error: the disk is full or the folder cannot be written.
    """
    with atomic_write(path) as part, part.open("wb") as file:
        np.save(file, np.ascontiguousarray(array))


def join_arrays(path: Path, parts: Sequence[Path]) -> None:
    """Join the .npy files of arrays (n, …) of one type and width, at least one, into one file (N, …).

    Raises:
        Galaxy10Error: the disk is full or the folder cannot be written.
    """
    headers = [_header(part) for part in parts]
    (_, shape, dtype), total = headers[0], sum(shape[0] for _, shape, _ in headers)
    with atomic_write(path) as target, target.open("wb") as file:
        descr = np.lib.format.dtype_to_descr(dtype)
        about = {"descr": descr, "fortran_order": False, "shape": (total, *shape[1:])}
        np.lib.format.write_array_header_1_0(file, about)
        for part, (start, _, _) in zip(parts, headers, strict=True):
            with part.open("rb") as opened:
                opened.seek(start)
                shutil.copyfileobj(opened, file, _BLOCK)


def _header(path: Path) -> tuple[int, tuple[int, ...], np.dtype]:
    """Return where the values of a .npy file in C order begin, its shape and its type."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return file.tell(), shape, dtype
