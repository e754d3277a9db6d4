"""Draw the sky around a galaxy: depth and seeing, background galaxies, stars."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from galaxy10.simulation.profiles import Spheroid
from galaxy10.simulation.stellar_light import fluxes

Array = NDArray[np.float32]
Rng = np.random.Generator

# Seeing and noise of DECaLS coadds (Dey et al. 2019, AJ 157, 168): median FWHM in arcsec, and sky noise in nanomaggies
# per native pixel of 0.262 arcsec, after the coadds' resampling.
SEEING_ARCSEC = (1.29, 1.18, 1.11)
SKY_NOISE = (0.0018, 0.0031, 0.0064)
NATIVE_PIXEL_ARCSEC = 0.262


@dataclass(frozen=True)
class Conditions:
    """Seeing and depth of one field."""

    seeing_arcsec: Array  # (3,) FWHM in g, r, z
    noise: Array  # (3,) nanomaggies per native pixel
    background: Array  # (3,) residual of the sky subtraction, nanomaggies per native pixel
    resampling: tuple[float, float]  # sub-pixel shift of the coadd, which correlates its noise


@dataclass(frozen=True)
class Star:
    """A point source."""

    flux: Array  # (3,) nanomaggies
    column: float
    row: float


def draw_conditions(rng: Rng) -> Conditions:
    """Draw the conditions of one field."""
    together, each = rng.normal(0, 0.10), rng.normal(0, 0.06, 3)
    depth = rng.normal(0, 0.12) + rng.normal(0, 0.05, 3)
    noise = np.array(SKY_NOISE) * 10**depth
    return Conditions(
        (np.array(SEEING_ARCSEC) * np.exp(together + each)).astype(np.float32),
        noise.astype(np.float32),
        (noise * (0.06 * rng.standard_normal(3) - 0.10)).astype(np.float32),
        (rng.uniform(0, 0.5), rng.uniform(0, 0.5)),
    )


def draw_background_galaxies(rng: Rng, width_arcsec: float, height_arcsec: float) -> list[Spheroid]:
    """Draw background galaxies: counts ∝ 10^(0.36 m), smaller and redder if fainter; centres from the grid's corner."""
    number = rng.poisson(20.0 * width_arcsec * height_arcsec / 3600)  # r < 24
    galaxies = []
    for _ in range(number):
        magnitude = max(24.0 + np.log10(1 - rng.random()) / 0.36, 17.0)
        red = rng.random() < 0.45
        distance = np.clip((magnitude - 17) / 6, 0, 1)
        if red:
            colour = (rng.normal(0.9 + 0.7 * distance, 0.15), rng.normal(0.7 + 0.8 * distance, 0.15))
        else:
            colour = (rng.normal(0.5, 0.2), rng.normal(0.4, 0.25))
        radius = 10 ** (0.32 - 0.13 * (magnitude - 18) + rng.normal(0, 0.15))
        centre = (rng.uniform(0, width_arcsec), rng.uniform(0, height_arcsec))
        sersic = rng.uniform(1.5, 3.5) if red else rng.uniform(0.7, 1.4)
        shape = rng.uniform(0.3, 1.0)
        galaxies.append(Spheroid(fluxes(magnitude, colour), radius, sersic, shape, rng.uniform(0, np.pi), centre))
    return galaxies


def draw_stars(rng: Rng, width_px: float, height_px: float, pixel_arcsec: float) -> list[Star]:
    """Draw stars of the Milky Way at high latitude: two per square arcminute to r = 22.5, most of them red dwarfs."""
    area = width_px * height_px * pixel_arcsec**2 / 3600
    stars = []
    for _ in range(rng.poisson(2.0 * area)):
        magnitude = max(22.5 + np.log10(1 - rng.random()) / 0.24, 13.5)
        if rng.random() < 0.6:
            colour = (rng.normal(1.35, 0.15), rng.normal(1.5, 0.45))
        else:
            g_r = rng.uniform(0.2, 0.9)
            colour = (g_r, 0.7 * g_r - 0.05 + rng.normal(0, 0.05))
        light = fluxes(magnitude, colour)
        if magnitude < 19 and rng.random() < 0.25:
            # A star that moved between exposures, or is saturated in one band, gets a colour that no star has.
            light = light * np.where(rng.random(3) < 0.4, rng.uniform(0.1, 0.5, 3), 1).astype(np.float32)
        stars.append(Star(light, rng.uniform(0, width_px), rng.uniform(0, height_px)))
    return stars
