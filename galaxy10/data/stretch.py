"""Stretch raw flux values to 8-bit RGB images."""

from collections.abc import Callable

import numpy as np

from galaxy10.simulation.render import legacy_rgb

STRETCHES = ("auto", "legacy", "asinh", "linear", "unit")
STRETCHES_OF_ANY_UNIT = ("asinh", "linear")
_BAND_SCALES = np.array([6.0, 3.4, 2.2], dtype=np.float32)  # legacy_rgb's, for g, r, z
_BRIGHT_PERCENTILE = 99.5
_FAR = 1e6  # in units of the bright percentile: far beyond white, and far from float32's limits


class StretchError(Exception):
    """The reason why values cannot be stretched, in a few words."""


def apply_stretch(flux: np.ndarray, stretch: str) -> np.ndarray:
    """Stretch flux (3, H, W) or (1, H, W), float32 or float64, all finite, to an image (H, W, 3) uint8.

    Args:
        stretch: `legacy`: nanomaggies per 0.262″ pixel in g, r, z, shown as in the Legacy Surveys viewer, which made
            Galaxy10 DECaLS (one band becomes grey, on r's scale). `asinh`: the same curve for any unit: the image's
            median becomes zero flux, its 99.5th percentile bright. `linear`: the 0.5th to the 99.5th percentile become
            black to white. `unit`: values from 0 to 1 become 0 to 255.

    Raises:
        StretchError: values are outside 0 to 1 with `unit`; the message names other stretches.
    """
    with np.errstate(over="ignore"):  # differences of the largest numbers; they are clipped
        return _CURVES[stretch](flux)


def _legacy(flux: np.ndarray) -> np.ndarray:
    flux = np.clip(flux, -1e12, 1e12).astype(np.float32)
    if len(flux) == 1:
        flux = flux * (_BAND_SCALES[1] / _BAND_SCALES)[:, None, None]
    return _bytes(legacy_rgb(flux))


def _asinh(flux: np.ndarray) -> np.ndarray:
    flux = flux - np.median(flux, axis=(1, 2), keepdims=True)
    bright = np.percentile(flux, _BRIGHT_PERCENTILE)
    # Bands of the same units: one scale for all keeps the colour; legacy_rgb then multiplies by its own, undone here.
    scaled = _small(flux / max(bright, np.finfo(flux.dtype).tiny))
    return _bytes(legacy_rgb((scaled / _BAND_SCALES[:, None, None]).astype(np.float32)))


def _linear(flux: np.ndarray) -> np.ndarray:
    low, high = np.percentile(flux, (100 - _BRIGHT_PERCENTILE, _BRIGHT_PERCENTILE))
    grey = _small((flux - low) / max(high - low, np.finfo(flux.dtype).tiny)) * np.float32(255)
    return _bytes(np.broadcast_to(grey[::-1], (3, *flux.shape[1:])))


def _small(scaled: np.ndarray) -> np.ndarray:
    """Return values around 1 as float32."""
    small: np.ndarray = np.clip(scaled, -_FAR, _FAR).astype(np.float32)
    return small


def _unit(flux: np.ndarray) -> np.ndarray:
    low, high = float(flux.min()), float(flux.max())
    if low < 0 or high > 1:
        raise StretchError(
            f"values from {low:.3g} to {high:.3g} are not from 0 to 1; type "
            "--stretch legacy (nanomaggies), asinh or linear"
        )
    return _bytes(np.broadcast_to(flux.astype(np.float32) * np.float32(255), (3, *flux.shape[1:])))


def _bytes(colours: np.ndarray) -> np.ndarray:
    """Round (3, H, W) on the 0–255 scale to (H, W, 3) uint8."""
    return np.ascontiguousarray(np.clip(np.rint(colours), 0, 255).astype(np.uint8).transpose(1, 2, 0))


_CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "legacy": _legacy,
    "asinh": _asinh,
    "linear": _linear,
    "unit": _unit,
}
