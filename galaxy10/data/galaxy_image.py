"""Images as networks take them: RGB of 8 bits, made from arrays of any kind."""

from dataclasses import dataclass

import numpy as np

from galaxy10.data.image_limits import MAX_SAMPLES, TOO_LARGE
from galaxy10.data.quality import OK, image_quality
from galaxy10.data.stretch import STRETCHES_OF_ANY_UNIT, StretchError, apply_stretch

MIN_SIZE_PX = 16
MAX_PIXELS = MAX_SAMPLES // 3
_SMALLEST, _LARGEST = 1e-30, 1e30  # beyond these, float32 has no room for sums and ratios


class ImageReadError(Exception):
    """The reason why a file cannot be read as an image, in a few words, for the table of failed images."""


@dataclass(frozen=True)
class GalaxyImage:
    """An RGB image.

    Attributes:
        pixels: (H, W, 3) uint8.
        filled: share of pixels (0–1) that were NaN or infinite and are filled with the median.
        quality: ok, saturated or empty, see quality.image_quality.
        remedy: the stretch with which a saturated or empty image would be ok; empty if there is none.
        assumed: how the values were understood where the file leaves it open; empty if it does not.
    """

    pixels: np.ndarray
    filled: float = 0.0
    quality: str = OK
    remedy: str = ""
    assumed: str = ""


def as_image(
    values: np.ndarray, stretch: str = "auto", is_flux: bool = False, assumed: str = "", bits: int | None = None
) -> GalaxyImage:
    """Convert an array to an RGB image of 8 bits.

    uint8 values are kept, and uint16 values are scaled from 0–65535 unless they are flux; if none is above 4095, from
    0–4095 (12 bits), or above 255, from 0–255. All other values are stretched; `auto` reads them as an image on the
    scale 0–1, or, if they are flux, as nanomaggies, which are shown as in the Legacy Surveys viewer. NaN and infinity
    become the median of their band. Grey images become three equal channels, and transparent pixels black.

    Args:
        values: (H, W), (H, W, 1 | 3 | 4), or bands first (1 | 3, H, W).
        is_flux: whether the values are flux (FITS) and not an image.
        assumed: how the caller has understood the values, for GalaxyImage.assumed.
        bits: the significant bits of uint16 values, if the file names them.

    Raises:
        ImageReadError: the shape is another one, a side is shorter than 16 px, a band has no finite pixel, or the
            values do not fit the stretch.
    """
    planes = _planes(values)
    planes = planes.astype(planes.dtype.newbyteorder("="), copy=False)
    check_size(planes.shape[2], planes.shape[1])
    if planes.dtype == bool:
        planes = planes.astype(np.uint8) * np.uint8(255)
    if planes.dtype == np.uint16 and not is_flux:
        planes, assumed = _eight_bits(planes, bits)
    if planes.dtype == np.uint8:
        if len(planes) == 4:
            planes = _on_black(planes)
        colours = np.broadcast_to(planes, (3, *planes.shape[1:])).transpose(1, 2, 0)
        pixels = np.array(colours, order="C")  # a copy: torch needs a writable array
        return GalaxyImage(pixels, quality=image_quality(pixels), assumed=assumed)
    if planes.dtype.kind not in "iuf":
        raise ImageReadError(f"values of kind {planes.dtype}; expected numbers")
    if stretch == "auto":
        stretch = "legacy" if is_flux else "unit"
    light, filled = _without_gaps(_as_floats(planes[:3]))
    try:
        pixels = apply_stretch(light, stretch)
    except StretchError as error:
        raise ImageReadError(str(error)) from error
    quality = image_quality(pixels)
    return GalaxyImage(pixels, filled, quality, _remedy(light, stretch) if quality != OK else "", assumed)


def check_size(width: int, height: int) -> None:
    """Check the size of an image; before it is decoded, where the file says it.

    Raises:
        ImageReadError: the image is too small, or too large for memory.
    """
    if min(width, height) < MIN_SIZE_PX:
        raise ImageReadError(f"{width}×{height} px; at least {MIN_SIZE_PX} px a side are needed")
    if width * height > MAX_PIXELS:
        raise ImageReadError(f"{width}×{height} px: {TOO_LARGE}")


def _remedy(light: np.ndarray, stretch: str) -> str:
    others = (other for other in STRETCHES_OF_ANY_UNIT if other != stretch)
    return next((other for other in others if image_quality(apply_stretch(light, other)) == OK), "")


def _eight_bits(planes: np.ndarray, bits: int | None) -> tuple[np.ndarray, str]:
    """Scale uint16 values to uint8; return also what was assumed."""
    colours = planes[:3] if len(planes) == 4 else planes  # opaque pixels have the highest alpha of all
    highest = int(colours.max(initial=0))
    used = bits or (8 if highest <= 255 else 12 if highest <= 4095 else 16)
    full = 65535 if used >= 16 or highest >= 2**used else 2**used - 1
    assumed = f"no 16-bit value is above {full}: scaled from 0–{full}" if not bits and full < 65535 else ""
    scaled = ((colours.astype(np.uint32) * 510 + full) // (2 * full)).astype(np.uint8)
    if len(planes) == 4:
        top = 65535 if int(planes[3].max()) > full else full
        alpha = ((planes[3:].astype(np.uint32) * 510 + top) // (2 * top)).astype(np.uint8)
        scaled = np.concatenate([scaled, alpha])
    return scaled, assumed if highest else ""


def _as_floats(planes: np.ndarray) -> np.ndarray:
    """Return values as float32; as float64 if they are too large or too small for it."""
    if planes.dtype.kind != "f" or planes.dtype.itemsize < 8:
        return planes.astype(np.float32)
    planes = planes.astype(np.float64, copy=False)
    largest = np.abs(planes, where=np.isfinite(planes), out=np.zeros_like(planes)).max(initial=0.0)
    return planes if largest > _LARGEST or 0 < largest < _SMALLEST else planes.astype(np.float32)


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
    filled = np.where(finite, light, np.array(medians, dtype=light.dtype)[:, None, None])
    return filled, float((~finite).any(axis=0).mean())
