"""From measured light to the colours a network was trained on."""

from collections.abc import Callable

import numpy as np

from galaxy10.simulation.render import legacy_rgb

STRETCHES = ("auto", "legacy", "asinh", "linear", "unit")
_BAND_SCALES = np.array([6.0, 3.4, 2.2], dtype=np.float32)  # legacy_rgb's, for g, r, z
_BRIGHT_PERCENTILE = 99.5


class StretchError(Exception):
    """Why values cannot be shown, in a few words."""


def stretched(light: np.ndarray, stretch: str) -> np.ndarray:
    """Light as a picture: (3, H, W) or (1, H, W) finite float32 → (H, W, 3) uint8.

    Args:
        stretch: `legacy`: nanomaggies per 0.262″ pixel in g, r, z as the Legacy Surveys viewer shows them, which is how
            Galaxy10 DECaLS was made (one band is shown grey, on r's scale). `asinh`: the same curve for any unit: the
            picture's median is taken for no light, its 99.5th percentile for bright. `linear`: the 0.5th to the 99.5th
            percentile from black to white. `unit`: values from 0 to 1 are a picture already.

    Raises:
        StretchError: `unit` with other values; says which other stretch to type.
    """
    return _CURVES[stretch](light.astype(np.float32))


def _legacy(light: np.ndarray) -> np.ndarray:
    if len(light) == 1:
        light = light * (_BAND_SCALES[1] / _BAND_SCALES)[:, None, None]
    return _bytes(legacy_rgb(light))


def _asinh(light: np.ndarray) -> np.ndarray:
    light = light - np.median(light, axis=(1, 2), keepdims=True)
    bright = np.percentile(light, _BRIGHT_PERCENTILE)
    # Bands of the same units: one scale for all keeps the colour; legacy_rgb then multiplies by its own, undone here.
    scaled = light / np.float32(max(float(bright), 1e-30))
    return _bytes(legacy_rgb((scaled / _BAND_SCALES[:, None, None]).astype(np.float32)))


def _linear(light: np.ndarray) -> np.ndarray:
    low, high = np.percentile(light, (100 - _BRIGHT_PERCENTILE, _BRIGHT_PERCENTILE))
    grey = (light - low) * (255 / max(float(high - low), 1e-30))
    return _bytes(np.broadcast_to(grey[::-1], (3, *light.shape[1:])))


def _unit(light: np.ndarray) -> np.ndarray:
    low, high = float(light.min()), float(light.max())
    if low < 0 or high > 1:
        raise StretchError(
            f"values from {low:.3g} to {high:.3g} are no picture from 0 to 1; say what they are: "
            "--stretch legacy (nanomaggies), asinh or linear"
        )
    return _bytes(np.broadcast_to(light * np.float32(255), (3, *light.shape[1:])))


def _bytes(colours: np.ndarray) -> np.ndarray:
    """(3, H, W) on the 0–255 scale → (H, W, 3) uint8."""
    return np.ascontiguousarray(np.clip(np.rint(colours), 0, 255).astype(np.uint8).transpose(1, 2, 0))


_CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "legacy": _legacy,
    "asinh": _asinh,
    "linear": _linear,
    "unit": _unit,
}
