"""Draw the galaxies of the ten classes: their components, from the distributions of nearby galaxies.

Luminosities and sizes are physical (M_r, kiloparsecs) and observed at a redshift, so that magnitude, size and redshift
of a simulated galaxy are consistent. The relation of size and luminosity: Shen et al. 2003 (MNRAS 343, 978).
"""

import numpy as np

from galaxy10.simulation.irregulars import disturbed, merging
from galaxy10.simulation.profiles import Arms, Component, Disc, EdgeOnDisc, Spheroid, plane_noise
from galaxy10.simulation.spirals import barred_spiral, loose_spiral, tight_spiral
from galaxy10.simulation.stellar_light import GalaxyProperties, bluer, disc_stars, old_stars, properties_at

Rng = np.random.Generator
Parts = list[Component]

# By class: mean and scatter of M_r, and the faintest r magnitude at which volunteers could recognise the class.
SELECTION = (
    (-20.5, 0.7, 17.4),
    (-21.2, 0.6, 17.0),
    (-21.2, 0.8, 17.3),
    (-21.1, 0.8, 17.6),
    (-20.4, 0.7, 17.6),
    (-21.2, 0.6, 16.6),
    (-21.3, 0.6, 16.8),
    (-21.0, 0.7, 17.1),
    (-20.2, 0.8, 16.6),
    (-20.8, 0.7, 17.3),
)
BRIGHTEST = 4.0  # magnitudes brighter than that limit
NOT_QUITE_EDGE_ON = 0.15  # share of the edge-on classes that is inclined by up to about 12° from edge-on
REDSHIFT_RANGE = (0.005, 0.16)


def draw_properties(label: int, rng: Rng) -> GalaxyProperties:
    """Draw redshift and luminosity of a galaxy of a class (0–9).

    Galaxies fill space evenly, so most are near the magnitude limit.
    """
    mean, scatter, limit = SELECTION[label]
    apparent = max(limit + np.log10(1 - rng.random()) / 0.6, limit - BRIGHTEST)
    return properties_at(apparent, rng.normal(mean, scatter), REDSHIFT_RANGE)


def draw_galaxy(label: int, galaxy: GalaxyProperties, rng: Rng) -> Parts:
    """Draw the components of a galaxy of a class (0–9, in the order of GALAXY10_CLASSES), centred on the origin."""
    return DRAWERS[label](galaxy, rng)


def smooth(galaxy: GalaxyProperties, rng: Rng, axis_ratio: float, disky: float) -> Parts:
    """Draw an elliptical, or with probability `disky` a disc without structure."""
    angle = rng.uniform(0, np.pi)
    scatter = 10 ** rng.normal(0, 0.10)
    # A nearby disc would show its arms and be labelled differently.
    if rng.random() < disky and galaxy.magnitude > 15.5:
        radius = galaxy.arcsec(galaxy.size_kpc(3.3, -0.12) * scatter)
        colour = disc_stars(rng, rng.uniform(0.2, 1.0), galaxy.redshift)
        bulge_share, sersic = rng.uniform(0.0, 0.3), rng.uniform(0.8, 1.5)
    else:
        radius = galaxy.arcsec(galaxy.size_kpc(3.4, -0.24) * scatter)
        colour = old_stars(rng, galaxy.redshift)
        bulge_share, sersic = rng.uniform(0.1, 0.4), rng.uniform(1.2, 3.4)
    radius = max(radius, 1.2) / np.sqrt(axis_ratio)
    parts: Parts = [Spheroid(galaxy.flux(1 - bulge_share, colour), radius, sersic, axis_ratio, angle)]
    if bulge_share > 0.02:
        rounder = axis_ratio ** rng.uniform(0.6, 1.0)
        parts.append(Spheroid(galaxy.flux(bulge_share, bluer(colour, -0.04)), 0.35 * radius, 1.5, rounder, angle))
    return parts


def round_smooth(galaxy: GalaxyProperties, rng: Rng) -> Parts:
    """Draw a smooth galaxy with an axis ratio above 0.85."""
    return smooth(galaxy, rng, rng.uniform(0.85, 1.0), 0.55)


def in_between_smooth(galaxy: GalaxyProperties, rng: Rng) -> Parts:
    """Draw a smooth galaxy with an axis ratio around 0.6."""
    return smooth(galaxy, rng, rng.uniform(0.48, 0.80), 0.4)


def cigar_smooth(galaxy: GalaxyProperties, rng: Rng) -> Parts:
    """Draw an elongated galaxy without the sharp edge of a disc or a conspicuous bulge."""
    axis_ratio, angle = rng.uniform(0.22, 0.46), rng.uniform(0, np.pi)
    radius = galaxy.arcsec(galaxy.size_kpc(3.4, -0.15) * 10 ** rng.normal(0, 0.10)) / axis_ratio**0.25
    old = rng.random() < 0.5
    colour = old_stars(rng, galaxy.redshift) if old else disc_stars(rng, rng.uniform(0.1, 0.8), galaxy.redshift)
    parts: Parts = [Spheroid(galaxy.flux(1, colour), max(radius, 2.0), rng.uniform(0.8, 1.5), axis_ratio, angle)]
    if rng.random() < 0.8:
        inner = galaxy.flux(rng.uniform(0.05, 0.35), bluer(colour, -0.10))
        parts.append(Spheroid(inner, rng.uniform(0.25, 0.4) * radius, 1.2, min(1.5 * axis_ratio, 0.6), angle))
    return parts


def nearly_edge_on(flux: np.ndarray, scale: float, angle: float, rng: Rng) -> Disc:
    """Draw a disc some degrees from edge-on, whose arms appear as unevenness and a dust lane on the near side."""
    sense = rng.choice([-1, 1])
    arms = Arms(
        number=2,
        pitch=sense * np.radians(rng.uniform(18, 35)),
        contrast=rng.uniform(0.1, 0.7),
        sharpness=rng.uniform(0.8, 1.6),
        phase=rng.uniform(0, 2 * np.pi),
        start=1.0,
        end=4.0,
        colour=np.array([1.2, 1.0, 0.85], dtype=np.float32),
        raggedness=rng.uniform(0.2, 0.8),
    )
    return Disc(
        flux,
        scale,
        rng.uniform(0.17, 0.25),
        angle,
        plane_noise(rng, shear=sense * 1.5),
        rng.uniform(0.1, 0.4),
        arms=arms,
        dust=rng.uniform(0.2, 1.0),
        blueing=rng.uniform(0.1, 0.4),
        truncation=rng.uniform(2.4, 3.6),
    )


def edge_on_without_bulge(galaxy: GalaxyProperties, rng: Rng) -> Parts:
    """Draw a thin late-type disc: long, blue outside, dusty and redder inside."""
    scale = galaxy.arcsec(galaxy.size_kpc(6.7, -0.15) * 10 ** rng.normal(0, 0.10))
    scale = min(max(scale, 3.0), 13.0)
    colour = disc_stars(rng, rng.uniform(-0.2, 0.8), galaxy.redshift)
    if rng.random() < NOT_QUITE_EDGE_ON:
        return [nearly_edge_on(galaxy.flux(1, colour), 0.8 * scale, rng.uniform(0, np.pi), rng)]
    part = EdgeOnDisc(
        galaxy.flux(1, colour),
        scale,
        scale * rng.uniform(0.12, 0.30),
        rng.uniform(0, np.pi),
        blueing=rng.uniform(0.05, 0.3),
        dust=rng.uniform(0, 1.4),
        dust_offset_arcsec=rng.normal(0, 0.3),
        warp=rng.normal(0, 0.02),
        texture=plane_noise(rng),
        clumpiness=rng.uniform(0.05, 0.3),
        truncation=rng.uniform(2.2, 3.4),
        lopsidedness=rng.normal(0, 0.08),
    )
    return [part]


def edge_on_with_bulge(galaxy: GalaxyProperties, rng: Rng) -> Parts:
    """Draw an edge-on disc with a round or boxy bulge."""
    scale = galaxy.arcsec(galaxy.size_kpc(5.7, -0.15) * 10 ** rng.normal(0, 0.08))
    scale = min(max(scale, 1.8), 9.5)
    angle, share = rng.uniform(0, np.pi), rng.uniform(0.25, 0.6)
    disc_light = galaxy.flux(1 - share, disc_stars(rng, rng.uniform(-0.7, 0.4), galaxy.redshift))
    disc: Component = EdgeOnDisc(
        disc_light,
        scale,
        scale * rng.uniform(0.12, 0.28),
        angle,
        blueing=rng.uniform(0.0, 0.2),
        dust=rng.uniform(0, 1.0),
        dust_offset_arcsec=rng.normal(0, 0.4),
        warp=rng.normal(0, 0.01),
        texture=plane_noise(rng),
        clumpiness=rng.uniform(0.0, 0.2),
        truncation=rng.uniform(2.4, 3.8),
        lopsidedness=rng.normal(0, 0.05),
    )
    if rng.random() < NOT_QUITE_EDGE_ON:
        disc = nearly_edge_on(disc_light, 0.8 * scale, angle, rng)
    radius = max(scale * rng.uniform(0.28, 0.6), 0.7)
    boxiness = rng.choice([2.0, rng.uniform(2.2, 3.2)])
    light = galaxy.flux(share, bluer(old_stars(rng, galaxy.redshift), -0.05))
    flattening = rng.uniform(0.55, 0.9)
    return [disc, Spheroid(light, radius, rng.uniform(1.0, 2.6), flattening, angle, boxiness=boxiness)]


DRAWERS = (
    disturbed,
    merging,
    round_smooth,
    in_between_smooth,
    cigar_smooth,
    barred_spiral,
    tight_spiral,
    loose_spiral,
    edge_on_without_bulge,
    edge_on_with_bulge,
)
