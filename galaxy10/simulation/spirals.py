"""Draw barred, tightly wound and loosely wound spirals, and their bulges.

Pitch angles of tight and loose spirals: Savchenko & Reshetnikov 2013 (MNRAS 436, 1074); bar lengths in scale lengths:
Erwin 2005 (MNRAS 364, 283).
"""

import numpy as np

from galaxy10.simulation.profiles import Arms, Bar, Component, Disc, Spheroid, plane_noise
from galaxy10.simulation.stellar_light import GalaxyProperties, bluer, disc_stars, flux_ratios, old_stars

Rng = np.random.Generator
Parts = list[Component]


def draw_axis_ratio(rng: Rng, low: float, high: float) -> float:
    """Draw the apparent axis ratio of a disc of random orientation between two inclinations (degrees)."""
    cosine = rng.uniform(np.cos(np.radians(high)), np.cos(np.radians(low)))
    return float(np.sqrt(cosine**2 + 0.15**2 * (1 - cosine**2)))


def spiral_scale(galaxy: GalaxyProperties, rng: Rng, at_minus_21: float) -> float:
    """Draw the scale length of a spiral's disc, arcsec; at_minus_21: kpc at M_r = −21."""
    return max(galaxy.arcsec(galaxy.size_kpc(at_minus_21, -0.15) * 10 ** rng.normal(0, 0.10)), 1.6)


def barred_spiral(galaxy: GalaxyProperties, rng: Rng) -> Parts:
    """Draw a bar, arms and perhaps a ring that start at its ends, and a small bulge."""
    scale = spiral_scale(galaxy, rng, 4.15)
    youth, sense = rng.uniform(-0.4, 0.6), rng.choice([-1, 1])
    disc, old = disc_stars(rng, youth, galaxy.redshift), old_stars(rng, galaxy.redshift)
    angle, axis_ratio = rng.uniform(0, np.pi), draw_axis_ratio(rng, 5, 55)
    bar_share, bulge_share = rng.uniform(0.14, 0.32), rng.uniform(0.03, 0.12)
    length, phase = rng.uniform(0.9, 1.8), rng.uniform(0, np.pi)
    pitch = np.radians(rng.uniform(10, 28))
    arms = Arms(
        number=2,
        pitch=sense * pitch,
        contrast=rng.uniform(0.3, 2.2),
        sharpness=rng.uniform(1.2, 3.5),
        # The arms leave from the ends of the bar.
        phase=phase - np.log(length) / np.tan(sense * pitch) + sense * rng.uniform(-0.1, 0.3),
        start=0.92 * length,
        end=length * rng.uniform(1.8, 3.0),
        colour=flux_ratios(bluer(disc, rng.uniform(0.05, 0.25)), disc),
        raggedness=rng.uniform(0.1, 0.6),
        imbalance=rng.uniform(0, 0.4),
        growth=rng.uniform(0, 0.3),
    )
    ring = (length * rng.uniform(1.0, 1.15), 0.22, rng.uniform(0.4, 1.5)) if rng.random() < 0.45 else None
    bar_colour = bluer(old, rng.uniform(0.0, 0.15))
    bar = Bar(galaxy.flux(bar_share, bar_colour), length, rng.uniform(0.24, 0.45), phase)
    disc_part = Disc(
        galaxy.flux(1 - bar_share - bulge_share, disc),
        scale,
        axis_ratio,
        angle,
        plane_noise(rng, shear=sense * 1.5),
        rng.uniform(0.1, 0.35),
        arms=arms,
        bar=bar,
        ring=ring,
        dust=rng.uniform(0, 0.3),
        blueing=rng.uniform(0.0, 0.18),
        truncation=rng.uniform(2.8, 4.5),
        lopsidedness=rng.uniform(0, 0.08),
    )
    return [disc_part, bulge(galaxy, bulge_share, old, scale, axis_ratio, angle, rng)]


def tight_spiral(galaxy: GalaxyProperties, rng: Rng) -> Parts:
    """Draw an unbarred spiral with pitch angles up to 17°: many turns, low contrast, older stars, a large bulge."""
    scale, sense = spiral_scale(galaxy, rng, 3.9), rng.choice([-1, 1])
    disc = disc_stars(rng, rng.uniform(-0.3, 0.6), galaxy.redshift)
    arms = Arms(
        number=int(rng.choice([2, 3, 4], p=[0.6, 0.2, 0.2])),
        pitch=sense * np.radians(rng.uniform(7, 17)),
        contrast=rng.uniform(0.3, 1.3),
        sharpness=rng.uniform(0.8, 2.2),
        phase=rng.uniform(0, 2 * np.pi),
        start=rng.uniform(0.3, 1.0),
        end=rng.uniform(2.6, 4.2),
        colour=flux_ratios(bluer(disc, rng.uniform(0.05, 0.25)), disc),
        raggedness=rng.uniform(0.1, 0.7),
        imbalance=rng.uniform(0, 0.2),
        growth=rng.uniform(0, 0.3),
    )
    angle, axis_ratio, share = rng.uniform(0, np.pi), draw_axis_ratio(rng, 5, 58), rng.uniform(0.08, 0.30)
    disc_part = Disc(
        galaxy.flux(1 - share, disc),
        scale,
        axis_ratio,
        angle,
        plane_noise(rng, shear=sense * 2.5),
        rng.uniform(0.1, 0.35),
        arms=arms,
        dust=rng.uniform(0, 0.3),
        blueing=rng.uniform(0.0, 0.18),
        truncation=rng.uniform(2.8, 4.5),
        lopsidedness=rng.uniform(0, 0.08),
    )
    return [disc_part, bulge(galaxy, share, old_stars(rng, galaxy.redshift), scale, axis_ratio, angle, rng)]


def loose_spiral(galaxy: GalaxyProperties, rng: Rng) -> Parts:
    """Draw an unbarred spiral with pitch angles from 18°: open, strong, young, often uneven arms that extend far."""
    scale, sense = spiral_scale(galaxy, rng, 4.0), rng.choice([-1, 1])
    disc = disc_stars(rng, rng.uniform(-0.3, 0.65), galaxy.redshift)
    grand_design = rng.random() < 0.3
    if grand_design:  # its arms have much of the light and extend beyond the disc
        scale *= rng.uniform(0.65, 1.0)
    arms = Arms(
        number=2 if grand_design else int(rng.choice([1, 2, 3, 4], p=[0.15, 0.5, 0.2, 0.15])),
        pitch=sense * np.radians(rng.uniform(18, 40)),
        contrast=rng.uniform(0.3, 1.8),
        sharpness=rng.uniform(2.0, 7.0) if grand_design else rng.uniform(1.2, 3.0),
        phase=rng.uniform(0, 2 * np.pi),
        start=rng.uniform(0.3, 1.0),
        end=rng.uniform(3.0, 6.5) if grand_design else rng.uniform(2.6, 4.5),
        colour=flux_ratios(bluer(disc, rng.uniform(0.05, 0.3)), disc),
        raggedness=rng.uniform(0.05, 0.4) if grand_design else rng.uniform(0.2, 0.9),
        imbalance=rng.uniform(0, 0.6),
        growth=rng.uniform(0.2, 1.0) if grand_design else rng.uniform(0, 0.4),
    )
    angle, axis_ratio, share = rng.uniform(0, np.pi), draw_axis_ratio(rng, 5, 72), rng.uniform(0.03, 0.18)
    disc_part = Disc(
        galaxy.flux(1 - share, disc),
        scale,
        axis_ratio,
        angle,
        plane_noise(rng, shear=sense * 1.0),
        rng.uniform(0.1, 0.5),
        arms=arms,
        dust=rng.uniform(0, 0.4),
        blueing=rng.uniform(0.0, 0.22),
        truncation=rng.uniform(3.5, 6.0) if grand_design else rng.uniform(2.5, 4.5),
        lopsidedness=rng.uniform(0, 0.25),
    )
    return [disc_part, bulge(galaxy, share, old_stars(rng, galaxy.redshift), scale, axis_ratio, angle, rng)]


def bulge(
    galaxy: GalaxyProperties,
    share: float,
    colour: tuple[float, float],
    scale: float,
    axis_ratio: float,
    angle: float,
    rng: Rng,
) -> Spheroid:
    """Draw a spiral's bulge: rounder than the disc, with a radius of a fifth to two fifths of a scale length."""
    rounder = float(axis_ratio ** rng.uniform(0.3, 0.7))
    return Spheroid(galaxy.flux(share, colour), scale * rng.uniform(0.2, 0.4), rng.uniform(1.0, 2.5), rounder, angle)
