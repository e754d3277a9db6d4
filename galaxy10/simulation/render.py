"""Render a field as an 8-bit RGB image, as the Legacy Surveys viewer shows it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import correlate1d

from galaxy10.simulation.profiles import Component
from galaxy10.simulation.sky import (
    NATIVE_PIXEL_ARCSEC,
    Conditions,
    Star,
    draw_background_galaxies,
    draw_conditions,
    draw_stars,
)

Array = NDArray[np.float32]

MARGIN_ARCSEC = 3.2  # drawn around the image, so that its edges show neither seeing nor the wrapping of the FFT
MOFFAT_BETA = 3.0
PHOTONS_PER_NANOMAGGY = 6000.0  # a typical DECaLS coadd


def render_field(
    rng: np.random.Generator,
    galaxies: Sequence[tuple[list[Component], float, float]],
    *,
    width_px: int,
    height_px: int,
    pixel_arcsec: float,
) -> NDArray[np.uint8]:
    """Render galaxies (components, column, row) and the sky around them: an image (height_px, width_px, 3) uint8."""
    conditions = draw_conditions(rng)
    margin = int(np.ceil(MARGIN_ARCSEC / pixel_arcsec))
    width, height = width_px + 2 * margin, height_px + 2 * margin
    # Offsets along the axes in arcsec, zero at the first pixel of the image.
    columns = (np.arange(width, dtype=np.float32) - margin) * np.float32(pixel_arcsec)
    rows = (np.arange(height, dtype=np.float32) - margin) * np.float32(pixel_arcsec)
    light = np.zeros((3, height, width), dtype=np.float32)
    for parts, column, row in galaxies:
        x, y = np.meshgrid(columns - np.float32(column * pixel_arcsec), rows - np.float32(row * pixel_arcsec))
        for part in parts:
            light += part.surface_brightness(x, y)
    add_background(light, rng, columns, rows)
    light *= np.float32(NATIVE_PIXEL_ARCSEC**2)  # the stretch is defined on flux per native pixel
    light = apply_seeing(light, conditions.seeing_arcsec / pixel_arcsec)
    for star in draw_stars(rng, width, height, pixel_arcsec):
        add_star(light, star, conditions.seeing_arcsec / pixel_arcsec, (NATIVE_PIXEL_ARCSEC / pixel_arcsec) ** 2)
    light = light[:, margin : margin + height_px, margin : margin + width_px]
    light = light + conditions.background[:, None, None]
    light += draw_noise(rng, light, conditions, NATIVE_PIXEL_ARCSEC / pixel_arcsec)
    return subsample_chroma(legacy_rgb(light))


def add_background(light: Array, rng: np.random.Generator, columns: Array, rows: Array) -> None:
    """Add background galaxies to light (3, H, W), each on its own stamp."""
    pixel = float(columns[1] - columns[0])
    height, width = light.shape[1:]
    for galaxy in draw_background_galaxies(rng, width * pixel, height * pixel):
        column, row = galaxy.centre[0] / pixel, galaxy.centre[1] / pixel
        half = 5 * galaxy.radius_arcsec * max(galaxy.sersic / 2, 1) / pixel + 2
        left, right = max(int(column - half), 0), min(int(column + half) + 2, width)
        top, bottom = max(int(row - half), 0), min(int(row + half) + 2, height)
        x, y = np.meshgrid(
            np.arange(left, right, dtype=np.float32) * np.float32(pixel),
            np.arange(top, bottom, dtype=np.float32) * np.float32(pixel),
        )
        light[:, top:bottom, left:right] += galaxy.surface_brightness(x, y)


def apply_seeing(light: Array, fwhm_px: Array) -> Array:
    """Convolve light (3, H, W) with the seeing: a Gaussian core, and 10 % of the light in wings 2.5 times as wide."""
    height, width = light.shape[1:]
    shape = (fft.next_fast_len(height, real=True), fft.next_fast_len(width, real=True))
    f_row = fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    f_column = fft.rfftfreq(shape[1]).astype(np.float32)[None]
    frequency = f_row**2 + f_column**2
    spectrum = fft.rfft2(light, shape, workers=1)
    for band, fwhm in enumerate(fwhm_px):
        core = np.float32(-2 * (np.pi * fwhm / 2.3548 * 0.96) ** 2)
        spectrum[band] *= 0.9 * np.exp(core * frequency) + 0.1 * np.exp(6.25 * core * frequency)
    convolved: Array = fft.irfft2(spectrum, shape, workers=1)[:, :height, :width]
    return convolved


def add_star(light: Array, star: Star, fwhm_px: Array, native: float) -> None:
    """Add a point source with a Moffat profile to light (3, H, W), on a stamp as large as its visible wings."""
    height, width = light.shape[1:]
    reach = int(np.clip(3 * float(fwhm_px[1]) * (1 + float(star.flux.max()) ** 0.25), 6, 0.4 * width))
    left, right = max(int(star.column) - reach, 0), min(int(star.column) + reach + 1, width)
    top, bottom = max(int(star.row) - reach, 0), min(int(star.row) + reach + 1, height)
    x = np.arange(left, right, dtype=np.float32) - np.float32(star.column)
    y = np.arange(top, bottom, dtype=np.float32) - np.float32(star.row)
    distance = y[:, None] ** 2 + x[None] ** 2
    for band, fwhm in enumerate(fwhm_px):
        core = fwhm**2 / (4 * (2 ** (1 / MOFFAT_BETA) - 1))
        peak = star.flux[band] * native * (MOFFAT_BETA - 1) / (np.pi * core)
        light[band, top:bottom, left:right] += np.float32(peak) * (1 + distance / np.float32(core)) ** np.float32(
            -MOFFAT_BETA
        )


def draw_noise(rng: np.random.Generator, light: Array, conditions: Conditions, native: float) -> Array:
    """Draw sky and photon noise (3, H, W), correlated between neighbours as in a coadd with sub-pixel shifts."""
    bands, height, width = light.shape
    white = rng.standard_normal((bands, height + 1, width + 1), dtype=np.float32)
    for axis, shift in zip((1, 2), conditions.resampling, strict=True):
        white = _mixed(white, axis, np.float32(shift))
    variance = np.maximum(light, 0) / np.float32(PHOTONS_PER_NANOMAGGY) + conditions.noise[:, None, None] ** 2
    noise: Array = white * np.sqrt(variance) * np.float32(native)
    return noise


def _mixed(white: Array, axis: int, shift: np.float32) -> Array:
    first, second = (white[:, :-1], white[:, 1:]) if axis == 1 else (white[:, :, :-1], white[:, :, 1:])
    mixed: Array = (first * (1 - shift) + second * shift) / np.sqrt((1 - shift) ** 2 + shift**2)
    return mixed


def legacy_rgb(light: Array) -> Array:
    """Return RGB (3, H, W) in 0–255 of g, r, z in nanomaggies per native pixel, as in the Legacy Surveys viewer.

    The published stretch of its image server (github.com/legacysurvey/imagine, `sdss_rgb` with the DR2 settings, after
    Lupton et al. 2004, PASP 116, 133): bands scaled by 6.0, 3.4, 2.2 with an offset m = 0.03, their mean I stretched as
    arcsinh(Q I)/sqrt(Q) with Q = 20, and every band multiplied by stretched over unstretched I. Zero flux is 32.
    """
    scaled = np.maximum(light * np.array([6.0, 3.4, 2.2], dtype=np.float32)[:, None, None] + np.float32(0.03), 0)
    intensity = scaled.mean(axis=0) + np.float32(1e-6)
    stretched = np.arcsinh(20 * intensity) / np.float32(np.sqrt(20))
    # z is red, g is blue.
    rgb: Array = np.clip(scaled[::-1] * (stretched / intensity), 0, 1) * np.float32(255)
    return rgb


def subsample_chroma(rgb: Array) -> NDArray[np.uint8]:
    """Return RGB (3, H, W) as (H, W, 3) uint8 with chroma at half resolution, as in the viewer's 4:2:0 JPEGs."""
    luma = np.float32(0.299) * rgb[0] + np.float32(0.587) * rgb[1] + np.float32(0.114) * rgb[2]
    even_height, even_width = luma.shape[0] // 2 * 2, luma.shape[1] // 2 * 2
    chroma = (rgb - luma)[:, :even_height, :even_width]
    halved = chroma.reshape(3, even_height // 2, 2, even_width // 2, 2).mean(axis=(2, 4))
    # The coarse quantisation of JPEG removes the finest colour detail, too.
    for axis in (1, 2):
        halved = correlate1d(halved, [0.25, 0.5, 0.25], axis=axis, mode="nearest")
    result = rgb.copy()
    result[:, :even_height, :even_width] = luma[:even_height, :even_width] + halved.repeat(2, axis=1).repeat(2, axis=2)
    return np.clip(np.rint(result), 0, 255).astype(np.uint8).transpose(1, 2, 0)
