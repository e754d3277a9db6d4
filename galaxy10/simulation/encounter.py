"""A tidal encounter of two galaxies as a restricted three-body problem (Toomre & Toomre 1972).

Massless particles circle in one galaxy's disc while a companion of comparable mass flies by. Units: the disc's scale
length, its circular velocity, and their quotient as time (a turn at two scale lengths takes 4π).
"""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

CORE = 0.5  # scale lengths inside which the rotation curve rises
MASS_AT_FIVE = 5.0  # v² R at five scale lengths, where the companion's orbit mostly runs
STEP = 0.25


def host_acceleration(position: Vectors) -> Vectors:
    """Return the acceleration (3, P) at positions (3, P) in the host's logarithmic halo, with the host at 0.

    The rotation curve of this halo is flat.
    """
    acceleration: Vectors = -position / (np.sum(position**2, axis=0) + np.float32(CORE**2))
    return acceleration


def companion_acceleration(position: Vectors, mass: float, softening: float) -> Vectors:
    """Return the acceleration (3, P) at positions (3, P) by a Plummer sphere at the origin."""
    distance = (np.sum(position**2, axis=0) + np.float32(softening**2)) ** np.float32(1.5)
    acceleration: Vectors = np.float32(-mass) * position / distance
    return acceleration


def simulate_encounter(
    rng: np.random.Generator, *, particles: int, mass_ratio: float, pericentre: float, tilt: float, after: float
) -> tuple[Vectors, Vectors, Vectors]:
    """Simulate the stars of a disc until some time after the closest approach of a companion.

    Args:
        particles: number of particles, P.
        mass_ratio: of companion and host.
        pericentre: smallest distance, in scale lengths.
        tilt: radians between disc and orbit: below π/2 the passage is prograde and makes long tails.
        after: time since pericentre.

    Returns:
        Positions (3, P), initial radii (P,) of the particles, and the position (3,) of the companion.
    """
    mass = mass_ratio * MASS_AT_FIVE
    softening = 0.8 * np.sqrt(mass_ratio)
    # About the parabolic speed for the sum of the masses.
    speed = float(np.sqrt(2 * (MASS_AT_FIVE + mass) / pericentre)) * rng.uniform(0.85, 1.05)
    axis = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(axis), np.sin(axis), 0.0])
    ahead = np.array([-np.sin(axis) * np.cos(tilt), np.cos(axis) * np.cos(tilt), np.sin(tilt)])

    start, velocity = (pericentre * along).astype(np.float32), (-speed * ahead).astype(np.float32)
    before = 6.0
    for _ in range(round(before / STEP)):  # back in time from pericentre
        start, velocity = _leap_companion(start, velocity, mass, softening)
    companion, companion_velocity = start, -velocity

    radius = np.minimum(rng.gamma(2.0, 1.0, particles), 6.0).astype(np.float32)
    theta = rng.uniform(0, 2 * np.pi, particles).astype(np.float32)
    circular = radius / np.sqrt(radius**2 + np.float32(CORE**2))
    thin = 0.08 * rng.standard_normal(particles)
    position = np.stack([radius * np.cos(theta), radius * np.sin(theta), thin]).astype(np.float32)
    stirred = 0.06 * rng.standard_normal((3, particles))
    motion = (np.stack([-circular * np.sin(theta), circular * np.cos(theta), 0 * theta]) + stirred).astype(np.float32)

    for _ in range(round((before + after) / STEP)):
        position = position + np.float32(0.5 * STEP) * motion
        companion_half = companion + np.float32(0.5 * STEP) * companion_velocity
        to_companion = companion_half[:, None]
        force = host_acceleration(position) + companion_acceleration(position - to_companion, mass, softening)
        # The host is the origin of the coordinates and is accelerated by the companion.
        force -= companion_acceleration(-to_companion, mass, softening)
        motion = motion + np.float32(STEP) * force
        position = position + np.float32(0.5 * STEP) * motion
        companion, companion_velocity = _leap_companion(companion, companion_velocity, mass, softening)
    return position, radius, companion


def _leap_companion(position: Vectors, velocity: Vectors, mass: float, softening: float) -> tuple[Vectors, Vectors]:
    half = position + np.float32(0.5 * STEP) * velocity
    # Relative acceleration of two bodies that attract each other.
    force = host_acceleration(half[:, None])[:, 0] + companion_acceleration(half[:, None], mass, softening)[:, 0]
    velocity = velocity + np.float32(STEP) * force
    return half + np.float32(0.5 * STEP) * velocity, velocity
