"""Draw disturbed and merging galaxies, after a simulated encounter."""

import numpy as np

from galaxy10.simulation.encounter import simulate_encounter
from galaxy10.simulation.profiles import Arms, Component, Disc, Particles, Spheroid, plane_noise
from galaxy10.simulation.stellar_light import GalaxyProperties, bluer, disc_stars, flux_ratios, fluxes, old_stars

Rng = np.random.Generator
Parts = list[Component]

NUM_PARTICLES = 6000


def disc_after_encounter(
    rng: Rng, *, magnitude: float, colour: tuple[float, float], scale: float, mass_ratio: float, after: float
) -> tuple[Particles, tuple[float, float]]:
    """Return a disc after an encounter, and the position of the companion (arcsec)."""
    position, birth, companion = simulate_encounter(
        rng,
        particles=NUM_PARTICLES,
        mass_ratio=mass_ratio,
        pericentre=rng.uniform(2.0, 4.5),
        tilt=np.radians(rng.uniform(0, 75)),
        after=after,
    )
    cosine, angle = rng.uniform(0.35, 1.0), rng.uniform(0, 2 * np.pi)
    x, y = project_to_sky(position, scale, cosine, angle)
    there = project_to_sky(companion[:, None], scale, cosine, angle)
    # Older stars were born further in.
    inner, outer = fluxes(magnitude, bluer(colour, -0.1)), fluxes(magnitude, bluer(colour, 0.08))
    mix = np.clip(birth / 4, 0, 1)
    light = (inner[:, None] * (1 - mix) + outer[:, None] * mix) / len(birth)
    disc = Particles(x, y, light.astype(np.float32), max(0.22 * scale, 0.35))
    return disc, (float(there[0][0]), float(there[1][0]))


def project_to_sky(position: np.ndarray, scale: float, cosine: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Project positions (3, P) in scale lengths at an inclination of the given cosine: two (P,) in arcsec."""
    along, across = position[0], position[1] * cosine + position[2] * np.sqrt(1 - cosine**2)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return along * c - across * s, along * s + across * c


def disturbed(galaxy: GalaxyProperties, rng: Rng) -> Parts:
    """Draw a lopsided galaxy with tails, plumes or knots of young stars, whose companion is far or small."""
    scale = max(galaxy.arcsec(galaxy.size_kpc(3.5, -0.15) * 10 ** rng.normal(0, 0.08)), 1.2)
    early = rng.random() < 0.2
    old = old_stars(rng, galaxy.redshift)
    colour = bluer(old, 0.05) if early else disc_stars(rng, rng.uniform(0.1, 0.9), galaxy.redshift)
    share = 0.4 * 10 ** -rng.random()  # of the light, visibly displaced by the encounter
    disc, _ = disc_after_encounter(
        rng,
        magnitude=galaxy.magnitude - 2.5 * np.log10(share),
        colour=colour,
        scale=scale * rng.uniform(0.8, 1.3),
        mass_ratio=rng.uniform(0.15, 0.7),
        after=rng.uniform(4, 12),
    )
    parts: Parts = [disc]
    rest = galaxy.magnitude - 2.5 * np.log10(1 - share)
    angle, axis_ratio, shift = rng.uniform(0, np.pi), rng.uniform(0.3, 0.95), 0.25 * scale
    if early:
        parts.append(Spheroid(fluxes(rest, old), 1.3 * scale, rng.uniform(1.5, 3.5), max(axis_ratio, 0.5), angle))
        return parts
    centre = (rng.normal(0, shift), rng.normal(0, shift))
    nucleus_share = rng.uniform(0.01, 0.2)
    parts.append(
        Disc(
            fluxes(rest - 2.5 * np.log10(1 - nucleus_share), colour),
            scale * rng.uniform(0.65, 1.0),
            axis_ratio,
            angle,
            plane_noise(rng),
            rng.uniform(0.2, 0.7),
            centre=centre,
            lopsidedness=rng.uniform(0.03, 0.35),
            blueing=rng.uniform(-0.1, 0.2),
            arms=uneven_arms(rng, colour, int(rng.integers(1, 3))) if rng.random() < 0.6 else None,
        )
    )
    nucleus = fluxes(rest - 2.5 * np.log10(nucleus_share), old if rng.random() < 0.35 else colour)
    parts.append(Spheroid(nucleus, 0.4 * scale, rng.uniform(0.8, 2), max(axis_ratio, 0.4), angle))
    return parts + knots(rng, galaxy.magnitude, scale, colour, int(rng.integers(0, 3)))


def merging(galaxy: GalaxyProperties, rng: Rng) -> Parts:
    """Draw two galaxies in one envelope: a disc with tails and a companion, or two ellipticals in a common halo."""
    scale = max(galaxy.arcsec(galaxy.size_kpc(2.6, -0.15) * 10 ** rng.normal(0, 0.10)), 1.5)
    brighter, fainter = galaxy.magnitude + 0.4, galaxy.magnitude + 0.4 + rng.uniform(0.0, 2.2)
    old = old_stars(rng, galaxy.redshift)
    kind = rng.random()
    if kind < 0.35:
        return dry_merger(rng, brighter, fainter, scale, old)
    if kind < 0.5:
        return minor_merger(galaxy, rng, scale)
    colour = disc_stars(rng, rng.uniform(-0.4, 0.8), galaxy.redshift)
    disc, companion = disc_after_encounter(
        rng,
        magnitude=brighter + 0.4,
        colour=colour,
        scale=scale,
        mass_ratio=rng.uniform(0.3, 1.1),
        after=rng.uniform(0.5, 5),
    )
    distance = float(np.hypot(*companion))
    near = min(1.0, scale * rng.uniform(1.5, 5.0) / max(distance, 1e-3))
    companion = (companion[0] * near, companion[1] * near)
    parts: Parts = [disc, Spheroid(fluxes(brighter + 1.0, old), 0.5 * scale, rng.uniform(1, 2), rng.uniform(0.5, 1), 0)]
    if rng.random() < 0.5:
        parts.append(elliptical(rng, fainter, scale * 0.8, bluer(old, rng.uniform(0, 0.2)), companion))
    else:
        parts.append(
            Disc(
                fluxes(fainter, disc_stars(rng, rng.uniform(-0.2, 0.8), galaxy.redshift)),
                scale * rng.uniform(0.5, 0.9),
                rng.uniform(0.3, 0.9),
                rng.uniform(0, np.pi),
                plane_noise(rng),
                rng.uniform(0.2, 0.6),
                centre=companion,
                lopsidedness=rng.uniform(0, 0.4),
            )
        )
        parts.append(Spheroid(fluxes(fainter + 1.2, old), 0.35 * scale, 1.2, 0.9, 0, companion))
    return parts + knots(rng, galaxy.magnitude, scale, colour, int(rng.integers(0, 4)))


def dry_merger(rng: Rng, brighter: float, fainter: float, scale: float, colour: tuple[float, float]) -> Parts:
    """Draw two or three ellipticals without gas in a common envelope."""
    direction, separation = rng.uniform(0, 2 * np.pi), scale * rng.uniform(1.3, 4.5)
    centre = (separation * np.cos(direction), separation * np.sin(direction))
    parts: Parts = [
        elliptical(rng, brighter, scale * rng.uniform(0.8, 1.4), colour, (0.0, 0.0)),
        elliptical(rng, fainter, scale * rng.uniform(0.5, 0.9), colour, centre),
    ]
    if rng.random() < 0.25:
        third = rng.uniform(0, 2 * np.pi)
        place = (2.5 * scale * np.cos(third), 2.5 * scale * np.sin(third))
        parts.append(elliptical(rng, fainter + 0.7, scale * 0.5, colour, place))
    middle = (0.4 * centre[0], 0.4 * centre[1])
    envelope = fluxes(brighter + rng.uniform(0.3, 1.5), bluer(colour, 0.04))
    parts.append(Spheroid(envelope, 3.0 * scale, 1.0, rng.uniform(0.5, 0.9), direction, middle))
    return parts


def minor_merger(galaxy: GalaxyProperties, rng: Rng, scale: float) -> Parts:
    """Draw a large galaxy, hardly disturbed, and a small one that touches it."""
    old = old_stars(rng, galaxy.redshift)
    direction, separation = rng.uniform(0, 2 * np.pi), scale * rng.uniform(1.8, 4.5)
    centre = (separation * np.cos(direction), separation * np.sin(direction))
    small = elliptical(
        rng, galaxy.magnitude + rng.uniform(1.3, 3.0), 0.45 * scale, bluer(old, rng.uniform(0, 0.3)), centre
    )
    if rng.random() < 0.4:
        halo = Spheroid(fluxes(galaxy.magnitude + 0.9, old), 2.6 * scale, 0.8, rng.uniform(0.6, 1), direction)
        return [elliptical(rng, galaxy.magnitude + 0.5, scale, old, (0.0, 0.0)), halo, small]
    colour = disc_stars(rng, rng.uniform(-0.2, 0.8), galaxy.redshift)
    angle, axis_ratio = rng.uniform(0, np.pi), rng.uniform(0.3, 0.95)
    disc = Disc(
        fluxes(galaxy.magnitude + 0.3, colour),
        1.1 * scale,
        axis_ratio,
        angle,
        plane_noise(rng),
        rng.uniform(0.1, 0.4),
        lopsidedness=rng.uniform(0.05, 0.3),
        blueing=rng.uniform(0, 0.3),
        arms=uneven_arms(rng, colour, 2),
    )
    return [disc, Spheroid(fluxes(galaxy.magnitude + 1.8, old), 0.4 * scale, 1.5, axis_ratio**0.5, angle), small]


def uneven_arms(rng: Rng, colour: tuple[float, float], number: int) -> Arms:
    """Draw open arms of unequal strength, as after an encounter."""
    return Arms(
        number=number,
        pitch=float(rng.choice([-1, 1]) * np.radians(rng.uniform(13, 42))),
        contrast=rng.uniform(0.2, 2.0),
        sharpness=rng.uniform(1.0, 3.0),
        phase=rng.uniform(0, 2 * np.pi),
        start=rng.uniform(0.3, 0.7),
        end=rng.uniform(2.0, 5.0),
        colour=flux_ratios(bluer(colour, 0.1), colour),
        raggedness=rng.uniform(0.3, 1.1),
        imbalance=rng.uniform(0.1, 0.9),
        growth=rng.uniform(0, 0.5),
    )


def elliptical(
    rng: Rng, magnitude: float, radius: float, colour: tuple[float, float], centre: tuple[float, float]
) -> Spheroid:
    """Draw an early-type galaxy at a centre (arcsec)."""
    return Spheroid(
        fluxes(magnitude, colour), radius, rng.uniform(1.5, 3.5), rng.uniform(0.5, 1), rng.uniform(0, np.pi), centre
    )


def knots(rng: Rng, magnitude: float, scale: float, colour: tuple[float, float], number: int) -> Parts:
    """Draw young star clusters, each with a few per cent of the light."""
    young = bluer(colour, 0.2)
    return [
        Spheroid(
            fluxes(magnitude + rng.uniform(3.0, 5.0), young),
            rng.uniform(0.3, 0.7),
            0.7,
            rng.uniform(0.5, 1),
            rng.uniform(0, np.pi),
            (rng.normal(0, 1.0 * scale), rng.normal(0, 1.0 * scale)),
        )
        for _ in range(number)
    ]
