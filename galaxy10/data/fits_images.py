"""Read FITS images: the science image or the bands of a file, in the order that colours need, and their unit."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from galaxy10.data.galaxy_image import GalaxyImage, ImageReadError, as_image, check_size
from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.simulation.sky import NATIVE_PIXEL_ARCSEC

_SCIENCE = ("SCI", "SCIENCE")
# Names of images that belong to a science image, as HST, JWST, SDSS, DECam and the Legacy Surveys write them.
_AUXILIARY = re.compile(
    r"(?:^|[_\W])(?:ERR(?:OR)?S?|UNC(?:ERT(?:AINTY)?)?|STD(?:DEV)?|SIG(?:MA)?|RMS|NOISE|VAR(?:IANCE)?"
    r"|I(?:NV)?VAR|INVVAR|WHT|WGT|WEIGHTS?|WTMAP|DQ|(?:BIT)?MASK(?:BITS)?|MSK|FLAGS?|EXP(?:TIME|OSURE)?|N?EXP|TIME|CON|CTX"
    r"|BKG|BACKGROUND|SKY|PSF|SEG(?:M(?:AP|ENTATION)?)?|MODEL|RESID(?:UAL)?|COV(?:ERAGE)?|AREA|SAMP)\d*(?:$|[_\W])"
)
_BAND = re.compile(r"(?:^|[_\W])([ugrizy])(?:$|[_\W])|^([ugrizy])[_-]?band$|^band[_-]?([ugrizy])$", re.IGNORECASE)
_BLUE_TO_RED = "ugrizy"
_COLOURS = ("g", "r", "z")  # the bands of Galaxy10 DECaLS
_MAGGY_JY = 3631.0


@dataclass(frozen=True)
class _Hdu:
    """An image in a FITS file: its number, name and shape without axes of length 1."""

    number: int
    name: str
    shape: tuple[int, ...]
    band: str | None

    def __str__(self) -> str:
        return f"{self.number} {self.name or '(no name)'} {'×'.join(map(str, self.shape[::-1]))}"


def parse_hdu(given: Any) -> tuple[str, ...]:
    """Return the names or numbers of one image, or of three for blue, green and red, as users write them.

    >>> parse_hdu("SCI"), parse_hdu(1), parse_hdu("g, r,z"), parse_hdu(None)
    (('SCI',), ('1',), ('g', 'r', 'z'), ())

    Raises:
        Galaxy10Error: there are neither one nor three.
    """
    if given is None:
        return ()
    parts = given.split(",") if isinstance(given, str) else given if isinstance(given, list | tuple) else [given]
    names = tuple(str(part).strip() for part in parts)
    if len(names) not in (1, 3) or not all(names):
        raise Galaxy10Error(
            f"--hdu {','.join(names)} is not allowed; give the name or number of one image, or three for blue, green "
            "and red, such as g,r,z"
        )
    return names


def read_fits(path: str | Path, stretch: str, hdu: Sequence[str] = ()) -> GalaxyImage:
    """Read the science image of a FITS file, or its bands g, r and z from one cube or three images.

    Args:
        hdu: names or numbers of one image, or of three for blue, green and red; empty: the only image, the one named
            SCI, or the three named g, r and z, beside errors, weights and masks.

    Raises:
        ImageReadError: the file is broken, has no image, several that could be meant, or one of another shape.
    """
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about non-standard headers and truncated files
            with fits.open(path, memmap=False) as units:
                images = [_described(number, unit) for number, unit in enumerate(units) if _is_image(unit)]
                chosen = _chosen(images, hdu)
                headers = [units[image.number].header for image in chosen]
                planes = [np.squeeze(units[image.number].data) for image in chosen]
                unit = str(headers[0].get("BUNIT") or units[0].header.get("BUNIT") or "").strip()
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not astropy's
            raise
        raise ImageReadError(f"broken FITS file: {first_line(error)}") from error
    values = np.stack(planes) if len(planes) > 1 else _colours(planes[0], headers[0])
    values = values[..., ::-1, :]  # the first row of a FITS image is the lowest
    if values.dtype == np.uint8:
        return as_image(values, stretch)
    return _as_flux(values, stretch, unit)


def _is_image(unit: Any) -> bool:
    return bool(getattr(unit, "is_image", False)) and unit.header.get("NAXIS", 0) >= 2


def _described(number: int, unit: Any) -> _Hdu:
    name = "" if unit.name in ("PRIMARY", "COMPRESSED_IMAGE") else str(unit.name)
    kind = str(unit.header.get("IMAGETYP", "")) if number else ""  # of the extensions in the viewer's cutouts
    name = (name or kind).strip().upper()
    shape = tuple(int(side) for side in unit.shape if side > 1)
    told = (name, *(str(unit.header.get(key, "")).partition(" ")[0] for key in ("BAND", "FILTER")))
    bands = [next(filter(None, found.groups())).lower() for text in told if (found := _BAND.search(text))]
    return _Hdu(number, name or ("PRIMARY" if number == 0 else ""), shape, bands[0] if bands else None)


def _chosen(images: Sequence[_Hdu], hdu: Sequence[str]) -> list[_Hdu]:
    if not images:
        raise ImageReadError("a FITS file without an image")
    listed = ", ".join(map(str, images))
    if hdu:
        chosen = [_named(images, name, listed) for name in hdu]
    else:
        science = [image for image in images if not _AUXILIARY.search(image.name)]
        named = [image for image in science if image.name in _SCIENCE]
        bands = [[image for image in science if image.band == band] for band in _COLOURS]
        if len(science) == 1:
            chosen = science
        elif len(named) == 1:
            chosen = named
        elif all(len(found) == 1 for found in bands):
            chosen = [found[0] for found in bands]
        elif not science:
            raise ImageReadError(f"no science image in the FITS file, only {listed}; choose one: --hdu NAME")
        else:
            raise ImageReadError(
                f"{len(images)} images in the FITS file: {listed}; choose one (--hdu NAME or NUMBER), or three for "
                "blue, green and red (--hdu g,r,z)"
            )
    for image in chosen:
        if len(image.shape) not in (2, 3) or (len(image.shape) == 3 and image.shape[0] > len(_BLUE_TO_RED)):
            raise _not_bands(image.shape)
        check_size(*image.shape[:-3:-1])
    shapes = {image.shape for image in chosen}
    if len(chosen) > 1 and (len(shapes) > 1 or len(chosen[0].shape) != 2):
        raise ImageReadError(f"bands of different shapes in the FITS file: {', '.join(map(str, chosen))}")
    return chosen


def _named(images: Sequence[_Hdu], name: str, listed: str) -> _Hdu:
    found = [image for image in images if name.upper() == image.name]
    found = found or [image for image in images if name == str(image.number)]
    found = found or [image for image in images if name.lower() == image.band and not _AUXILIARY.search(image.name)]
    if len(found) != 1:
        raise ImageReadError(
            f"{f'{len(found)} images' if found else 'no image'} {name} in the FITS file: {listed}; choose by number"
        )
    return found[0]


def _colours(values: np.ndarray, header: Mapping[str, Any]) -> np.ndarray:
    """Return (H, W), or (3, H, W) from blue to red: of a cube that names its bands g, r and z, or all three of it."""
    if values.ndim == 3:
        bands = str(header.get("BANDS", "")).replace(",", "").replace(" ", "").lower()
        if len(bands) == len(values) == len(set(bands)) and set(bands) <= set(_BLUE_TO_RED):
            wanted = _COLOURS if set(_COLOURS) <= set(bands) else sorted(bands, key=_BLUE_TO_RED.index)
            values = values[[bands.index(band) for band in wanted]]
    if values.ndim not in (2, 3) or (values.ndim == 3 and len(values) != 3):
        raise _not_bands(values.shape)
    return values


def _not_bands(shape: tuple[int, ...]) -> ImageReadError:
    return ImageReadError(f"a FITS image of shape {shape}; expected one or three bands: (H, W) or (3, H, W)")


def _as_flux(values: np.ndarray, stretch: str, unit: str) -> GalaxyImage:
    factor = nanomaggies_per_pixel(unit) if unit else 1.0
    assumed = ""
    if factor is None and stretch == "auto":
        stretch, assumed = "asinh", f"the unit is {unit}, not nanomaggies: stretched with asinh"
    if factor not in (None, 1.0) and stretch in ("auto", "legacy"):
        values = values.astype(np.float64) * factor
        assumed = f"converted from {unit} to nanomaggies per {NATIVE_PIXEL_ARCSEC}″ pixel"
    return as_image(values, stretch, is_flux=True, assumed=assumed)


@lru_cache
def nanomaggies_per_pixel(unit: str) -> float | None:
    """Return the nanomaggies per 0.262″ pixel of one unit of BUNIT (AB: one maggy is 3631 Jy); None for other units.

    >>> nanomaggies_per_pixel("nanomaggies"), nanomaggies_per_pixel("ADU")
    (1.0, None)

    Raises:
        ImageReadError: the unit is magnitudes, which are no flux.
    """
    from astropy import units

    text = re.sub(r"maggy\b|maggies\b|maggys\b", "mgy", unit.lower() if "magg" in unit.lower() else unit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = units.Unit(text.replace("nanomgy", "nmgy"), parse_strict="silent")
    if re.search(r"\bmag\b", text.lower()):
        raise ImageReadError(f"the unit is {unit}; expected flux: convert the magnitudes first")
    for area in (units.dimensionless_unscaled, units.pix, (NATIVE_PIXEL_ARCSEC * units.arcsec) ** 2):
        for target, worth in ((units.nmgy, 1.0), (units.Jy, 1e9 / _MAGGY_JY)):
            try:
                return float((1 * found * area).to(target).value) * worth
            except (ValueError, TypeError, AttributeError):  # unknown, or of another kind
                continue
    return None
