"""Read image files of any format as RGB images of 8 bits."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from galaxy10.data.fits_images import read_fits
from galaxy10.data.galaxy_image import GalaxyImage, ImageReadError, as_image
from galaxy10.data.image_limits import LimitError, check_fits, check_is_file
from galaxy10.data.pillow_images import PNG_HEADER, read_with_pillow
from galaxy10.data.tiff_images import read_deep_tiff
from galaxy10.errors import first_line, system_reason

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".npy"),
    *(".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fits.fz"),
)
_FITS, _NUMPY, _HDF5, _GZIP = b"SIMPLE  =", b"\x93NUMPY", b"\x89HDF\r\n\x1a\n", b"\x1f\x8b"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_image(path: str | Path, stretch: str = "auto", hdu: Sequence[str] = ()) -> GalaxyImage:
    """Read an image file: any format of Pillow, TIFF and PNG of any depth, FITS, or an array (.npy).

    The format and the decoder are found from the content, not from the name. See `as_image` for the conversion to 8
    bits.

    Args:
        hdu: which image of a FITS file, or which three, see fits_images.read_fits.

    Raises:
        ImageReadError: the file is no image, broken, or smaller than 16 px.
    """
    try:
        check_is_file(path)
        with open(path, "rb") as file:
            head = file.read(PNG_HEADER)
        if not head:
            raise ImageReadError("empty file (0 bytes)")
        if head.startswith(_FITS) or (head.startswith(_GZIP) and ".fit" in str(path).lower()):
            check_fits(path, zipped=head.startswith(_GZIP))
            return read_fits(path, stretch, hdu)
        if head.startswith(_NUMPY):
            return as_image(np.load(path, mmap_mode="r", allow_pickle=False), stretch)
        if head.startswith(_HDF5):
            raise ImageReadError("an HDF5 file, not an image: give it as an input by itself")
        deep = read_deep_tiff(path, stretch) if head.startswith(_TIFF) else None
        return deep or read_with_pillow(path, stretch, head)
    except FileNotFoundError:
        if os.path.islink(path):
            raise ImageReadError(f"dangling link: {os.readlink(path)} does not exist") from None
        raise ImageReadError("no such file") from None
    except IsADirectoryError:
        raise ImageReadError("a folder") from None
    except PermissionError:
        raise ImageReadError("cannot be read by this user") from None
    except ImageReadError:
        raise
    except LimitError as error:
        raise ImageReadError(str(error)) from error
    except OSError as error:
        raise ImageReadError(system_reason(error) or f"broken: {first_line(error)}") from error
    except Exception as error:  # a decoder may raise anything on a broken file
        raise ImageReadError(f"broken: {type(error).__name__}: {first_line(error)}") from error
