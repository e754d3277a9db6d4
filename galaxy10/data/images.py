"""Read image files of any format as RGB images of 8 bits."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from galaxy10.data.fits_images import read_fits
from galaxy10.data.galaxy_image import MIN_SIZE_PX, GalaxyImage, ImageReadError, as_image
from galaxy10.errors import first_line

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".npy"),
    *(".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fits.fz"),
)
_FITS, _NUMPY, _HDF5, _GZIP = b"SIMPLE  =", b"\x93NUMPY", b"\x89HDF\r\n\x1a\n", b"\x1f\x8b"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_SIZE_PX = 30_000


def read_image(path: str | Path, stretch: str = "auto", hdu: Sequence[str] = ()) -> GalaxyImage:
    """Read an image file: any format of Pillow, TIFF of any depth, FITS, or an array (.npy).

    The format is found from the content, not from the name. See `as_image` for the conversion to 8 bits.

    Args:
        hdu: which image of a FITS file, or which three, see fits_images.read_fits.

    Raises:
        ImageReadError: the file is no image, broken, or smaller than 16 px.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(16)
        if not head:
            raise ImageReadError("empty file (0 bytes)")
        if head.startswith(_FITS) or (head.startswith(_GZIP) and ".fit" in str(path).lower()):
            return read_fits(path, stretch, hdu)
        if head.startswith(_NUMPY):
            return as_image(np.load(path, mmap_mode="r", allow_pickle=False), stretch)
        if head.startswith(_HDF5):
            raise ImageReadError("an HDF5 file, not an image: give it as an input by itself")
        return _read_with_pillow(path, stretch, head.startswith(_TIFF))
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
    except Exception as error:  # a decoder may raise anything on a broken file
        raise ImageReadError(f"broken: {type(error).__name__}: {first_line(error)}") from error


def _read_with_pillow(path: str | Path, stretch: str, is_tiff: bool) -> GalaxyImage:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large images; the largest raise an error
            with Image.open(path) as image:
                if min(image.size) < MIN_SIZE_PX:  # before it is decoded
                    raise ImageReadError(
                        f"{image.width}×{image.height} px; at least {MIN_SIZE_PX} px a side are needed"
                    )
                image.load()
                return as_image(pillow_to_array(image), stretch)
    except UnidentifiedImageError:
        if is_tiff:  # colours of more than 8 bits
            return _read_tiff(path, stretch)
        raise ImageReadError("not an image of a known format") from None
    except Image.DecompressionBombError:
        raise ImageReadError("more pixels than any cutout has; cut the galaxy out first") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # raised by Pillow's plugins
        raise ImageReadError(f"broken: {first_line(error)}") from error


def _read_tiff(path: str | Path, stretch: str) -> GalaxyImage:
    from tifffile import TiffFile

    try:
        with TiffFile(path) as file:
            shape = file.series[0].shape
            if max(shape) > MAX_SIZE_PX:
                raise ImageReadError("more pixels than any cutout has; cut the galaxy out first")
            values = np.squeeze(file.series[0].asarray())
    except ImageReadError:
        raise
    except Exception as error:  # its decoders may raise anything
        raise ImageReadError(f"broken TIFF file: {first_line(error)}") from error
    return as_image(values, stretch)


def pillow_to_array(image: Image.Image) -> np.ndarray:
    """Return a Pillow image of any mode as an array for `as_image`."""
    if image.mode in ("L", "RGB", "RGBA", "F"):
        return np.asarray(image)
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":  # 16-bit PNGs in older versions of Pillow
        values = np.asarray(image)
        return values.astype(np.uint16) if image.format == "PNG" else values
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode in ("P", "PA", "LA", "La", "RGBa"):
        return np.asarray(image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))
