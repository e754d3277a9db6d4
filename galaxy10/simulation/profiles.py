"""Surface brightness of the components of a galaxy: spheroids, inclined discs with arms and bars, edge-on discs.

Every component is evaluated on a grid of offsets `x`, `y` (arcsec, (H, W) float32, x to the right and y downwards) and
returns (3, H, W) in nanomaggies per square arcsecond, bands in the order g, r, z. Position angles run from +x towards
+y, in radians.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.special import gamma, k1

Array = NDArray[np.float32]

# Extinction relative to r: Schlafly & Finkbeiner 2011, Table 6 (DECam, R_V = 3.1): 3.214, 2.165, 1.211.
DUST_LAW = np.array([1.48, 1.0, 0.56], dtype=np.float32)


@dataclass(frozen=True)
class Spheroid:
    """A Sérsic profile (Sérsic 1963): bulge, elliptical, lens, bar-less nucleus or envelope."""

    flux: Array  # (3,) nanomaggies
    radius_arcsec: float  # half-light radius along the major axis
    sersic: float
    axis_ratio: float
    angle: float
    centre: tuple[float, float] = (0.0, 0.0)  # arcsec
    boxiness: float = 2.0  # exponent of the generalised ellipse: 2 is an ellipse, above it a box

    def surface_brightness(self, x: Array, y: Array) -> Array:
        """Return the surface brightness (3, H, W) on the grid."""
        along, across = rotate_coordinates(x, y, self.angle, self.centre)
        c = self.boxiness
        ellipse = (np.abs(along) ** c + np.abs(across / self.axis_ratio) ** c) ** (1 / c)
        # The centre of a steep profile is sharper than any pixel; this softening is far smaller than the seeing.
        radius = np.hypot(ellipse, np.float32(0.1))
        n = self.sersic
        b = 2 * n - 1 / 3 + 4 / (405 * n)  # Ciotti & Bertin 1999, eq. 18
        area = 2 * np.pi * self.radius_arcsec**2 * self.axis_ratio * n * np.exp(b) * b ** (-2 * n) * gamma(2 * n)
        shape = np.exp(-b * ((radius / self.radius_arcsec) ** (1 / n) - 1)) / area
        return scale_bands(self.flux, shape)


@dataclass(frozen=True)
class Arms:
    """Logarithmic spiral arms, R = R0 exp(θ tan(pitch))."""

    number: int
    pitch: float  # radians; the sign is the sense of winding
    contrast: float  # arm over interarm light at the arm's ridge
    sharpness: float  # concentration of a von Mises profile across the arm
    phase: float
    start: float  # in disc scale lengths
    end: float
    colour: Array  # (3,) flux of arm light relative to that of the disc under it
    raggedness: float  # how far arms wander and break up, 0 to about 1
    imbalance: float = 0.0  # one side's arms brighter than the other's
    growth: float = 0.0  # arms fade more slowly than the disc, by this per scale length


@dataclass(frozen=True)
class Bar:
    """A boxy bar in the disc's plane with a flat profile that ends sharply, as Ferrers bars do."""

    flux: Array
    length: float  # semi-major axis in disc scale lengths
    axis_ratio: float
    phase: float  # angle in the disc's plane


@dataclass(frozen=True)
class Disc:
    """An inclined exponential disc (Freeman 1970), with optional arms, bar and ring in its plane."""

    flux: Array
    scale_arcsec: float
    axis_ratio: float  # apparent: sqrt(cos² i + q0² sin² i)
    angle: float
    texture: NDArray[np.float32]  # noise on a periodic (ln R, θ) grid, from `plane_noise`
    clumpiness: float  # amplitude of that noise in the light
    centre: tuple[float, float] = (0.0, 0.0)
    lopsidedness: float = 0.0  # amplitude of an m = 1 distortion
    truncation: float = 4.0  # scale lengths where the profile bends down
    blueing: float = 0.0  # how much bluer the outskirts are, magnitudes of g − z per scale length
    arms: Arms | None = None
    bar: Bar | None = None
    ring: tuple[float, float, float] | None = None  # radius and width in scale lengths, brightness over the disc's
    dust: float = 0.0  # optical depth in r along the arms' inner edges

    def surface_brightness(self, x: Array, y: Array) -> Array:
        """Return the surface brightness (3, H, W) on the grid."""
        along, across = rotate_coordinates(x, y, self.angle, self.centre)
        along, across = along / self.scale_arcsec, across / (self.axis_ratio * self.scale_arcsec)
        theta = np.arctan2(across, along)
        radius = np.hypot(along, across) + np.float32(1e-3)
        if self.lopsidedness:
            radius *= 1 + self.lopsidedness * np.cos(theta) * np.clip(radius / 2, 0, 1.5)
        log_radius = np.log(radius)
        noise = sample_texture(self.texture, log_radius, theta)
        base = np.exp(-radius) * np.exp(self.clumpiness * noise * np.minimum(radius, 1))
        # Down-bending beyond the truncation (van der Kruit 1979; Pohlen & Trujillo 2006, type II).
        base *= np.exp(-2.0 * np.maximum(radius - self.truncation, 0))
        base /= 2 * np.pi * self.scale_arcsec**2 * self.axis_ratio
        if self.ring:
            where, width, height = self.ring
            base *= 1 + height * np.exp(-0.5 * ((radius - where) / width) ** 2)
        light = apply_colour_gradient(scale_bands(self.flux, base), radius, self.blueing)
        if self.arms:
            light = self._with_arms(light, self.arms, radius, log_radius, theta, noise)
        if self.bar:
            light = self._with_bar(light, self.bar, along, across, radius)
        return light

    def _with_arms(self, light: Array, arms: Arms, radius: Array, log_r: Array, theta: Array, noise: Array) -> Array:
        winding = theta - log_r * np.float32(1 / np.tan(arms.pitch)) - np.float32(arms.phase)
        winding = winding + np.float32(arms.raggedness / arms.number) * noise
        extent = smooth_step((radius - arms.start) / 0.25) * smooth_step((arms.end - radius) / 0.6)
        ridge = np.exp(arms.sharpness * (np.cos(arms.number * winding) - 1))
        ridge *= np.clip(1 + arms.raggedness * noise, 0.1, 3)
        if arms.imbalance:
            ridge *= 1 + arms.imbalance * np.cos(winding)
        strength = arms.contrast * extent * ridge * np.exp(arms.growth * np.clip(radius - 1.5, 0, 4))
        light = light * (1 - 0.35 * min(arms.contrast, 1.5) * extent / 1.5 + scale_bands(arms.colour, strength))
        if self.dust:
            inner = np.exp(
                2.5 * arms.sharpness * (np.cos(arms.number * winding + 0.9 * float(np.sign(arms.pitch))) - 1)
            )
            depth = self.dust * extent * inner * np.clip(1 - radius / 4, 0, 1)
            light = light * np.exp(-scale_bands(DUST_LAW, depth))
        return light

    def _with_bar(self, light: Array, bar: Bar, along: Array, across: Array, radius: Array) -> Array:
        bar_along, bar_across = rotate_coordinates(along, across, bar.phase)
        m = (np.abs(bar_along) ** 2.4 + np.abs(bar_across / bar.axis_ratio) ** 2.4) ** (1 / 2.4) / bar.length
        # Flat along its length with a soft end; the integral of exp(-m^2.5) over the ellipse is 0.931 π a b.
        shape = np.exp(-(m**2.5)) / (
            0.931 * np.pi * bar.length**2 * bar.axis_ratio * self.scale_arcsec**2 * self.axis_ratio
        )
        # A bar clears the disc beside it out to its own ends.
        swept = 1 - 0.55 * np.exp(-((radius / bar.length) ** 4))
        barred: Array = light * swept + scale_bands(bar.flux, shape)
        return barred


@dataclass(frozen=True)
class EdgeOnDisc:
    """An exponential disc seen edge-on: (R/h) K1(R/h) sech²(z/z0) (van der Kruit & Searle 1981), with a dust lane."""

    flux: Array
    scale_arcsec: float
    height_arcsec: float
    angle: float
    blueing: float = 0.0  # how much bluer the outskirts are, magnitudes of g − z per scale length
    dust: float = 0.0  # optical depth in r at the centre of the lane
    dust_offset_arcsec: float = 0.0  # a disc not quite edge-on shows its lane on one side
    warp: float = 0.0
    texture: NDArray[np.float32] | None = None
    clumpiness: float = 0.0
    centre: tuple[float, float] = (0.0, 0.0)
    truncation: float = 3.8
    lopsidedness: float = 0.0

    def surface_brightness(self, x: Array, y: Array) -> Array:
        """Return the surface brightness (3, H, W) on the grid."""
        along, across = rotate_coordinates(x, y, self.angle, self.centre)
        radius = along / self.scale_arcsec
        across = across - self.warp * self.scale_arcsec * np.sign(radius) * np.maximum(np.abs(radius) - 1.5, 0) ** 2
        radius = np.abs(radius * (1 + self.lopsidedness * np.sign(radius)))
        profile = bessel_disc(radius) * np.exp(-2.5 * np.maximum(radius - self.truncation, 0))
        height = np.clip(np.abs(across) / self.height_arcsec, 0, 30)
        shape = profile / np.cosh(height) ** 2 / (2 * self.height_arcsec * np.pi * self.scale_arcsec)
        if self.texture is not None and self.clumpiness:
            noise = sample_texture(
                self.texture, np.float32(0.8) * along / self.scale_arcsec, across / self.scale_arcsec * 3
            )
            shape = shape * np.exp(self.clumpiness * noise)
        light = scale_bands(self.flux, shape)
        light = apply_colour_gradient(light, radius, self.blueing)
        if self.dust:
            lane = np.exp(-0.5 * ((across - self.dust_offset_arcsec) / (0.45 * self.height_arcsec)) ** 2)
            light = light * np.exp(-scale_bands(DUST_LAW, self.dust * lane * np.exp(-((radius / 2.3) ** 2))))
        return light


@dataclass(frozen=True)
class Particles:
    """The light of test particles after an encounter, smoothed by a Gaussian."""

    x_arcsec: Array  # (P,)
    y_arcsec: Array
    flux: Array  # (3, P) nanomaggies
    smoothing_arcsec: float

    def surface_brightness(self, x: Array, y: Array) -> Array:
        """Return the surface brightness (3, H, W) on the grid."""
        pixel = float(x[0, 1] - x[0, 0])
        column = np.rint((self.x_arcsec - x[0, 0]) / pixel).astype(np.int64)
        row = np.rint((self.y_arcsec - y[0, 0]) / pixel).astype(np.int64)
        inside = (column >= 0) & (column < x.shape[1]) & (row >= 0) & (row < x.shape[0])
        place = row[inside] * x.shape[1] + column[inside]
        layers = [np.bincount(place, weights=f[inside], minlength=x.size).reshape(x.shape) for f in self.flux]
        light = np.stack(layers).astype(np.float32) / pixel**2
        sigma = self.smoothing_arcsec / pixel
        smoothed: Array = gaussian_filter(light, (0, sigma, sigma), truncate=3.0, mode="constant")
        return smoothed


Component = Spheroid | Disc | EdgeOnDisc | Particles


def scale_bands(weights: Array, image: Array) -> Array:
    """Return an image (H, W) multiplied by the weight (3,) of each band: (3, H, W) float32."""
    return np.asarray(weights, dtype=np.float32)[:, None, None] * image.astype(np.float32)[None]


def apply_colour_gradient(light: Array, radius: Array, blueing: float) -> Array:
    """Make light (3, H, W) redder inside and bluer outside; r, and all bands at 1.2 scale lengths, are unchanged.

    radius: (H, W) in scale lengths; blueing: magnitudes of g − z per scale length.
    """
    if not blueing:
        return light
    slope = np.array([-0.6, 0.0, 0.4], dtype=np.float32) * (0.4 * np.log(10) * blueing)
    return light * np.exp(-scale_bands(slope, np.clip(radius, 0, 3) - 1.2))


def rotate_coordinates(
    x: Array, y: Array, angle: float, centre: tuple[float, float] = (0.0, 0.0)
) -> tuple[Array, Array]:
    """Return coordinates from a centre, along and across an axis at `angle` radians from +x towards +y."""
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * c + y * s, y * c - x * s


def smooth_step(t: Array) -> Array:
    """Return a smooth step from 0 to 1 around t = 0."""
    return (0.5 * (1 + np.tanh(t))).astype(np.float32)


def plane_noise(rng: np.random.Generator, shear: float = 0.0) -> NDArray[np.float32]:
    """Draw a periodic (64, 64) noise map over (ln R, θ) of unit variance; `shear` winds its spots into spirals."""
    frequency = np.fft.fftfreq(64) * 64
    f_radius, f_angle = np.meshgrid(frequency, frequency, indexing="ij")
    size = np.hypot((f_radius - shear * f_angle) / 3, f_angle / 2.5)
    spectrum = np.fft.fft2(rng.standard_normal((64, 64))) / (1 + size**1.9)
    spectrum[0, 0] = 0
    noise = np.fft.ifft2(spectrum).real
    normalised: Array = (noise / noise.std()).astype(np.float32)
    return normalised


def sample_texture(texture: NDArray[np.float32], log_radius: Array, theta: Array) -> Array:
    """Return the noise map at every pixel; both axes wrap, ln R with a period of 4."""
    rows = np.mod(log_radius * np.float32(16), 64)
    columns = np.mod(theta * np.float32(64 / (2 * np.pi)), 64)
    noise: Array = map_coordinates(texture, [rows, columns], order=1, mode="grid-wrap", output=np.float32)
    return noise


_BESSEL_GRID = np.linspace(0, 12, 1201, dtype=np.float32)
_BESSEL_VALUES = np.concatenate([[1.0], _BESSEL_GRID[1:] * k1(_BESSEL_GRID[1:])]).astype(np.float32)


def bessel_disc(radius: Array) -> Array:
    """Return (R/h) K1(R/h), the edge-on projection of an exponential disc: 1 at the centre, 0 beyond 12 h."""
    return np.interp(radius, _BESSEL_GRID, _BESSEL_VALUES, right=0.0).astype(np.float32)
