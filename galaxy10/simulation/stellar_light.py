"""How bright, how large and of what colour stars appear: from luminosity, length and redshift to nanomaggies."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

HUBBLE_DISTANCE_MPC = 299792.458 / 70.0
DECELERATION = -0.55  # flat, Ω_m = 0.3


@dataclass(frozen=True)
class View:
    """A galaxy's redshift and luminosity and what follows from them (to second order in z: 1 % at z = 0.2)."""

    redshift: float
    absolute: float  # M_r

    @property
    def luminosity_distance_mpc(self) -> float:
        """Luminosity distance."""
        return HUBBLE_DISTANCE_MPC * self.redshift * (1 + 0.5 * (1 - DECELERATION) * self.redshift)

    def arcsec(self, kiloparsec: float) -> float:
        """Angle under which a length is seen."""
        angular_distance_kpc = 1000 * self.luminosity_distance_mpc / (1 + self.redshift) ** 2
        return float(np.degrees(kiloparsec / angular_distance_kpc) * 3600)

    @property
    def magnitude(self) -> float:
        """Apparent r magnitude, with a k-correction of 1.0 z (between a spiral's and an elliptical's)."""
        return self.absolute + 5 * float(np.log10(self.luminosity_distance_mpc * 1e5)) + self.redshift

    def size_kpc(self, at_minus_21: float, slope: float) -> float:
        """The usual radius of a galaxy this luminous, R = R(−21) 10^(slope (M_r + 21))."""
        return float(at_minus_21 * 10 ** (slope * (self.absolute + 21)))

    def flux(self, share: float, colour: tuple[float, float]) -> Array:
        """(3,) nanomaggies of a part that has this share of the galaxy's light in r."""
        return fluxes(self.magnitude - 2.5 * float(np.log10(share)), colour)


def view_of(apparent: float, absolute: float, redshift_range: tuple[float, float]) -> View:
    """The view in which a galaxy of this luminosity has this r magnitude, or the nearest one in the range."""
    redshift = 0.05
    for _ in range(12):
        redshift *= 10 ** (0.2 * (apparent - View(redshift, absolute).magnitude))
        redshift = min(max(redshift, redshift_range[0]), redshift_range[1])
    return View(redshift, absolute + apparent - View(redshift, absolute).magnitude)


def fluxes(magnitude: float, colour: tuple[float, float]) -> Array:
    """(3,) nanomaggies in g, r, z from an r magnitude and the colours g − r and r − z (zero point 22.5)."""
    g_r, r_z = colour
    magnitudes = np.array([magnitude + g_r, magnitude, magnitude - r_z])
    return (10 ** (0.4 * (22.5 - magnitudes))).astype(np.float32)


def old_stars(rng: np.random.Generator, redshift: float) -> tuple[float, float]:
    """g − r and r − z on the red sequence, which reddens with redshift as the 4000 Å break moves through g."""
    scatter = rng.normal(0, 0.05)
    return 0.74 + 2.2 * redshift + scatter, 0.56 + 0.7 * redshift + 0.4 * scatter + rng.normal(0, 0.03)


def disc_stars(rng: np.random.Generator, youth: float, redshift: float) -> tuple[float, float]:
    """g − r and r − z of a disc; `youth` runs from 0 (faded, nearly red) to 1 (forming stars as fast as ever)."""
    g_r = 0.70 - 0.36 * youth + 1.0 * redshift + rng.normal(0, 0.04)
    return g_r, 0.47 - 0.34 * youth + 0.5 * redshift + rng.normal(0, 0.03)


def bluer(colour: tuple[float, float], by: float) -> tuple[float, float]:
    """The same stars with a younger mixture: g − r down by `by`, r − z by a little less."""
    return colour[0] - by, colour[1] - 0.8 * by


def relative(colour: tuple[float, float], to: tuple[float, float]) -> Array:
    """(3,) flux ratios, 1 in r, of light of one colour over light of another."""
    return fluxes(22.5, colour) / fluxes(22.5, to)
