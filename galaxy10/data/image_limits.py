"""Limits on files of images that come from anybody: sizes that no cutout has, and formats that run other programs."""

import gzip
import math
import mmap
import os
import stat
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

MAX_SAMPLES = 3 * 2**25  # values of all bands of one image: 5,792 px a side in three bands
TOO_LARGE = "more pixels than any cutout has; cut the galaxy out first"
# Pillow hands EPS files to Ghostscript, and guesses other formats of which no survey makes images.
_FORMATS = ("PNG", "JPEG", "MPO", "TIFF", "WEBP", "AVIF", "JPEG2000", "BMP", "DIB", "GIF", "PPM", "TGA")
_UNCHECKED_BYTES = 64 * 2**20  # of a FITS file whose data are as long as its headers say
_UNPACKED_BYTES = 512 * 2**20
_DEFLATE_RATIO = 1032  # nothing that gzip wrote grows more
_BLOCK_BYTES = 2**20


class LimitError(Exception):
    """The reason why a file is not decoded, in a few words."""


def check_samples(shape: Iterable[int]) -> None:
    """Check that an array of a shape is not larger than an image of one galaxy can be.

    Raises:
        LimitError: it has more than MAX_SAMPLES values.
    """
    if math.prod(map(int, shape)) > MAX_SAMPLES:
        raise LimitError(TOO_LARGE)


def check_is_file(path: str | Path) -> None:
    """Check that a path is a file: a pipe or a device would be waited for, perhaps for ever.

    Raises:
        LimitError: it is something else.
        OSError: there is nothing, or it cannot be looked at.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise LimitError("a pipe, socket or device, not a file")


@cache
def pillow_formats() -> tuple[str, ...]:
    """Return the formats that Pillow may read here."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def check_fits(path: str | Path, zipped: bool) -> None:
    """Check that a FITS file, or one that gzip has compressed, does not grow beyond all bounds when it is read.

    A file without compression is as long as its images, and is checked from 64 MiB.

    Raises:
        LimitError: it would unpack to more than 512 MiB, or an image in it has more than MAX_SAMPLES values.
        Exception: the file is damaged.
    """
    if zipped:
        _check_unpacked(path)
    elif os.path.getsize(path) < _UNCHECKED_BYTES and not _has_compressed_images(path):
        return
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False, disable_image_compression=True) as units:
            for unit in units:
                header = unit.header
                prefix = "ZNAXIS" if header.get("ZIMAGE") else "NAXIS"
                if prefix == "ZNAXIS" or unit.is_image:
                    check_samples(_axes(header, prefix))


def _axes(header: Any, prefix: str) -> list[int]:
    number = header.get(prefix, 0)
    return [abs(int(header.get(f"{prefix}{axis}", 1))) for axis in range(1, number + 1)] if number else []


def _check_unpacked(path: str | Path) -> None:
    if os.path.getsize(path) * _DEFLATE_RATIO <= _UNPACKED_BYTES:
        return
    unpacked = 0
    with gzip.open(path) as file:
        while block := file.read(_BLOCK_BYTES):
            unpacked += len(block)
            if unpacked > _UNPACKED_BYTES:
                raise LimitError(TOO_LARGE)


def _has_compressed_images(path: str | Path) -> bool:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"ZIMAGE") >= 0
