"""Fluxes, angular sizes and colours of galaxies from luminosity, length and redshift."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

HUBBLE_DISTANCE_MPC = 299792.458 / 70.0
DECELERATION = -0.55  # flat, Ω_m = 0.3


@dataclass(frozen=True)
class GalaxyProperties:
    """A galaxy's redshift and luminosity, and observables derived from them (to second order in z: 1 % at z = 0.2)."""

    redshift: float
    absolute_magnitude: float  # M_r

    @property
    def luminosity_distance_mpc(self) -> float:
        """Return the luminosity distance, Mpc."""
        return HUBBLE_DISTANCE_MPC * self.redshift * (1 + 0.5 * (1 - DECELERATION) * self.redshift)

    def arcsec(self, kiloparsec: float) -> float:
        """Return the angular size of a length, arcsec."""
        angular_distance_kpc = 1000 * self.luminosity_distance_mpc / (1 + self.redshift) ** 2
        return float(np.degrees(kiloparsec / angular_distance_kpc) * 3600)

    @property
    def magnitude(self) -> float:
        """Return the apparent r magnitude, with a k-correction of 1.0 z (between a spiral's and an elliptical's)."""
        return self.absolute_magnitude + 5 * float(np.log10(self.luminosity_distance_mpc * 1e5)) + self.redshift

    def size_kpc(self, at_minus_21: float, slope: float) -> float:
        """Return the typical radius at this luminosity, R = R(−21) 10^(slope (M_r + 21)), kpc."""
        return float(at_minus_21 * 10 ** (slope * (self.absolute_magnitude + 21)))

    def flux(self, share: float, colour: tuple[float, float]) -> Array:
        """Return the flux (3,) in nanomaggies of a component with this share of the galaxy's light in r."""
        return fluxes(self.magnitude - 2.5 * float(np.log10(share)), colour)


def properties_at(apparent: float, absolute: float, redshift_range: tuple[float, float]) -> GalaxyProperties:
    """Return the properties of a galaxy with these r magnitudes, at the redshift in the range that fits best.

    At the ends of the range, the absolute magnitude is changed to keep the apparent one.
    """
    redshift = 0.05
    for _ in range(12):
        redshift *= 10 ** (0.2 * (apparent - GalaxyProperties(redshift, absolute).magnitude))
        redshift = min(max(redshift, redshift_range[0]), redshift_range[1])
    return GalaxyProperties(redshift, absolute + apparent - GalaxyProperties(redshift, absolute).magnitude)


def fluxes(magnitude: float, colour: tuple[float, float]) -> Array:
    """Return fluxes (3,) in nanomaggies in g, r, z of an r magnitude and colours g − r and r − z (zero point 22.5)."""
    g_r, r_z = colour
    magnitudes = np.array([magnitude + g_r, magnitude, magnitude - r_z])
    return (10 ** (0.4 * (22.5 - magnitudes))).astype(np.float32)


def old_stars(rng: np.random.Generator, redshift: float) -> tuple[float, float]:
    """Draw g − r and r − z on the red sequence, which reddens with redshift as the 4000 Å break moves through g."""
    scatter = rng.normal(0, 0.05)
    return 0.74 + 2.2 * redshift + scatter, 0.56 + 0.7 * redshift + 0.4 * scatter + rng.normal(0, 0.03)


def disc_stars(rng: np.random.Generator, youth: float, redshift: float) -> tuple[float, float]:
    """Draw g − r and r − z of a disc; `youth` is from 0 (faded, nearly red) to 1 (strong star formation)."""
    g_r = 0.70 - 0.36 * youth + 1.0 * redshift + rng.normal(0, 0.04)
    return g_r, 0.47 - 0.34 * youth + 0.5 * redshift + rng.normal(0, 0.03)


def bluer(colour: tuple[float, float], by: float) -> tuple[float, float]:
    """Return colours with g − r reduced by `by`, and r − z by 0.8 of it."""
    return colour[0] - by, colour[1] - 0.8 * by


def flux_ratios(colour: tuple[float, float], to: tuple[float, float]) -> Array:
    """Return the flux ratios (3,) of light of one colour to light of another, 1 in r."""
    return fluxes(22.5, colour) / fluxes(22.5, to)
