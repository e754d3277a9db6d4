"""Read image files of any format as RGB images of 8 bits."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from galaxy10.data.stretch import StretchError, apply_stretch
from galaxy10.errors import first_line

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".npy"),
    *(".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fits.fz"),
)
MIN_SIZE_PX = 16
_FITS, _NUMPY, _HDF5, _GZIP = b"SIMPLE  =", b"\x93NUMPY", b"\x89HDF\r\n\x1a\n", b"\x1f\x8b"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_SIZE_PX = 30_000


class ImageReadError(Exception):
    """The reason why a file cannot be read as an image, in a few words, for the table of failed images."""


@dataclass(frozen=True)
class GalaxyImage:
    """An RGB image.

    Attributes:
        pixels: (H, W, 3) uint8.
        filled: share of pixels (0–1) that were NaN or infinite and are filled with the median.
    """

    pixels: np.ndarray
    filled: float = 0.0


def read_image(path: str | Path, stretch: str = "auto") -> GalaxyImage:
    """Read an image file: any format of Pillow, TIFF of any depth, FITS, or an array (.npy).

    The format is found from the content, not from the name. See `as_image` for the conversion to 8 bits.

    Raises:
        ImageReadError: the file is no image, broken, or smaller than 16 px.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(16)
        if not head:
            raise ImageReadError("empty file (0 bytes)")
        if head.startswith(_FITS) or (head.startswith(_GZIP) and ".fit" in str(path).lower()):
            return _read_fits(path, stretch)
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


def as_image(values: np.ndarray, stretch: str = "auto", is_flux: bool = False) -> GalaxyImage:
    """Convert an array to an RGB image of 8 bits.

    uint8 values are kept, and uint16 values are scaled from 0–65535 unless they are flux. All other values are
    stretched; `auto` reads them as an image on the scale 0–1, or, if they are flux, as nanomaggies, which are shown as
    in the Legacy Surveys viewer. NaN and infinity become the median of their band. Grey images become three equal
    channels, and transparent pixels black.

    Args:
        values: (H, W), (H, W, 1 | 3 | 4), or bands first (1 | 3, H, W).
        is_flux: whether the values are flux (FITS) and not an image.

    Raises:
        ImageReadError: the shape is another one, a side is shorter than 16 px, a band has no finite pixel, or the
            values do not fit the stretch.
    """
    planes = _planes(values)
    planes = planes.astype(planes.dtype.newbyteorder("="), copy=False)
    if min(planes.shape[1:]) < MIN_SIZE_PX:
        raise ImageReadError(f"{planes.shape[2]}×{planes.shape[1]} px; at least {MIN_SIZE_PX} px a side are needed")
    if planes.dtype == bool:
        planes = planes.astype(np.uint8) * np.uint8(255)
    if planes.dtype == np.uint16 and not is_flux:
        planes = ((planes.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if planes.dtype == np.uint8:
        if len(planes) == 4:
            planes = _on_black(planes)
        colours = np.broadcast_to(planes, (3, *planes.shape[1:])).transpose(1, 2, 0)
        return GalaxyImage(np.array(colours, order="C"))  # a copy: torch needs a writable array
    if planes.dtype.kind not in "iuf":
        raise ImageReadError(f"values of kind {planes.dtype}; expected numbers")
    if stretch == "auto":
        stretch = "legacy" if is_flux else "unit"
    light, filled = _without_gaps(planes[:3].astype(np.float32))
    try:
        return GalaxyImage(apply_stretch(light, stretch), filled)
    except StretchError as error:
        raise ImageReadError(str(error)) from error


def _planes(values: np.ndarray) -> np.ndarray:
    """Return values as (1 | 3 | 4, H, W)."""
    if values.ndim == 2:
        return np.asarray(values)[None]
    if values.ndim == 3 and values.shape[2] in (1, 3, 4):
        return np.asarray(values).transpose(2, 0, 1)
    if values.ndim == 3 and values.shape[0] in (1, 3):
        return np.asarray(values)
    raise ImageReadError(f"an array of shape {values.shape}; expected (H, W), (H, W, 3) or (3, H, W)")


def _on_black(planes: np.ndarray) -> np.ndarray:
    """Blend (4, H, W) with transparency onto black: (3, H, W)."""
    opaque: np.ndarray = (planes[:3].astype(np.uint16) * planes[3] // 255).astype(np.uint8)
    return opaque


def _without_gaps(light: np.ndarray) -> tuple[np.ndarray, float]:
    finite = np.isfinite(light)
    if finite.all():
        return light, 0.0
    medians = []
    for band, known in zip(light, finite, strict=True):
        if not known.any():
            raise ImageReadError("no finite pixel" if len(light) == 1 else "a band without any finite pixel")
        medians.append(np.median(band[known]))
    filled = np.where(finite, light, np.array(medians, dtype=np.float32)[:, None, None])
    return filled, float((~finite).any(axis=0).mean())


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


def _read_fits(path: str | Path, stretch: str) -> GalaxyImage:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about non-standard headers and truncated files
            with fits.open(path, memmap=False) as units:
                images = (unit.data for unit in units if getattr(unit, "is_image", False) and unit.header.get("NAXIS"))
                values = next(images, None)
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise ImageReadError(f"broken FITS file: {first_line(error)}") from error
    if values is None:
        raise ImageReadError("a FITS file without an image")
    values = np.squeeze(values)
    if values.ndim not in (2, 3) or (values.ndim == 3 and len(values) != 3):
        raise ImageReadError(f"a FITS image of shape {values.shape}; expected one or three bands: (H, W) or (3, H, W)")
    values = values[..., ::-1, :]  # the first row of a FITS image is the lowest
    if values.dtype.kind == "f":
        values = values.astype(np.float32)
    return as_image(values, stretch, is_flux=values.dtype != np.uint8)
