"""Plan the rows of a simulated file: classes, positions, redshifts, and the defects of the real file.

No pixel is drawn here. The shares of the defects are those measured in Galaxy10_DECals.h5 (17,736 rows).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from galaxy10.classes import GALAXY10_COUNTS
from galaxy10.simulation.galaxies import draw_properties
from galaxy10.simulation.stellar_light import GalaxyProperties

Rng = np.random.Generator

# Of what one seed draws; change it with anything that changes a byte. 2: every class has at least 5 images. 3: sizes,
# brightness and shapes closer to those of 689 real images.
VERSION = 3
FIELD_ARCSEC = 67.072  # 256 pixels of 0.262
DUPLICATE_PAIRS = 59  # the same galaxy twice with two labels, less than 0.5″ apart
GALAXIES_WITH_NEIGHBOUR = 355  # another galaxy within half a field, duplicates included
NAN_REDSHIFTS = 92
NUM_BLANKS = 3
LARGE_FROM = 14.0  # r magnitude
_MIN_PER_CLASS = 5  # 3 subsets, and as many folds
MINIMUM_FOR_DEFECTS = 200  # a smaller file would have only defects: it has a missing redshift only
# The label pairs of the real duplicates, the most frequent first.
DUPLICATE_LABELS = ((0, 7), (1, 7), (0, 3), (2, 6))
DUPLICATE_LABEL_COUNTS = (19, 8, 6, 5)


@dataclass(frozen=True)
class PlacedGalaxy:
    """A galaxy to draw, at whole pixels from its field's origin."""

    label: int
    properties: GalaxyProperties
    column: int = 0
    row: int = 0


@dataclass(frozen=True)
class Field:
    """A piece of sky that one or two rows of the file show."""

    seed_row: int
    galaxies: tuple[PlacedGalaxy, ...]
    image_offsets: dict[int, tuple[int, int]]  # file row → column and row of the image centre from the field's origin


@dataclass(frozen=True)
class Survey:
    """The file without its pixels; every array has one entry per row."""

    size_px: int
    labels: NDArray[np.uint8]
    ra: NDArray[np.float64]  # degrees
    dec: NDArray[np.float64]  # degrees
    redshift: NDArray[np.float64]  # NaN where it is missing
    pixel_scale: NDArray[np.float64]  # arcsec per pixel
    blank: NDArray[np.bool_]
    fields: list[Field]  # by row; two rows may have the same one


def class_counts(num_images: int) -> NDArray[np.int64]:
    """Return images per class (10,) in the real file's shares, by largest remainders.

    Each class has at least 5 images (with fewer than 50 in all, a tenth of them), so that it can be split.
    """
    share = np.array(GALAXY10_COUNTS) * (num_images / sum(GALAXY10_COUNTS))
    counts = np.floor(share).astype(np.int64)
    largest = np.argsort(counts - share, kind="stable")[: num_images - counts.sum()]
    counts[largest] += 1
    floor = min(_MIN_PER_CLASS, num_images // len(counts))
    while (rare := np.argmin(counts)) != (common := np.argmax(counts)) and counts[rare] < floor:
        counts[common] -= 1
        counts[rare] += 1
    return counts


def plan_survey(num_images: int, size_px: int, seed: int, defects: bool) -> Survey:
    """Plan a file of `num_images` rows sorted by class."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    labels = np.repeat(np.arange(10), class_counts(num_images))
    properties = [draw_properties(int(label), rng) for label in labels]
    redshift = np.array([galaxy.redshift for galaxy in properties])
    native = FIELD_ARCSEC / size_px
    # The brightest galaxies would not fit: their images have larger pixels, by up to a factor of two.
    magnitude = np.array([galaxy.magnitude for galaxy in properties])
    pixel_scale = native * np.clip(10 ** (-0.2 * (magnitude - LARGE_FROM)), 1, 2)
    ra, dec = scattered_positions(num_images, rng)
    fields = [Field(i, (PlacedGalaxy(int(labels[i]), properties[i]),), {i: (0, 0)}) for i in range(num_images)]
    blank = np.zeros(num_images, dtype=bool)
    survey = Survey(size_px, labels.astype(np.uint8), ra, dec, redshift, pixel_scale, blank, fields)
    if defects:
        if num_images >= MINIMUM_FOR_DEFECTS:
            free = [int(row) for row in rng.permutation(num_images)]
            add_blanks(survey, free)
            for _ in range(max(2, scaled_count(DUPLICATE_PAIRS, num_images))):
                add_duplicate(survey, free, rng)
            for _ in range(max(1, scaled_count(GALAXIES_WITH_NEIGHBOUR // 2 - DUPLICATE_PAIRS, num_images))):
                add_overlap(survey, free, rng)
        missing = max(1, scaled_count(NAN_REDSHIFTS, num_images))
        redshift[rng.choice(num_images, missing, replace=False)] = np.nan
    return survey


def scaled_count(of_real_file: int, num_images: int) -> int:
    """Return a count of the real file, scaled to a file of num_images."""
    return round(of_real_file / sum(GALAXY10_COUNTS) * num_images)


def add_blanks(survey: Survey, free: list[int]) -> None:
    """Add blank images under different labels; remove their rows from `free`, as all defects do."""
    for _ in range(NUM_BLANKS):
        row = next(i for i in free if survey.labels[i] not in survey.labels[survey.blank])
        free.remove(row)
        survey.blank[row] = True


def add_duplicate(survey: Survey, free: list[int], rng: Rng) -> None:
    """Add one galaxy in two rows with two labels, the second image shifted by at most a pixel."""
    first, second = pop_duplicate_rows(free, survey.labels, rng)
    pixel = survey.pixel_scale[first]
    reach = int(0.45 / pixel / np.sqrt(2))  # stays below half an arcsecond
    offset = (int(rng.integers(-reach, reach + 1)), int(rng.integers(-reach, reach + 1)))
    galaxies = survey.fields[first].galaxies
    survey.fields[first] = survey.fields[second] = Field(first, galaxies, {first: (0, 0), second: offset})
    survey.redshift[second], survey.pixel_scale[second] = survey.redshift[first], pixel
    survey.ra[second], survey.dec[second] = offset_position(survey.ra[first], survey.dec[first], offset, pixel)


def add_overlap(survey: Survey, free: list[int], rng: Rng) -> None:
    """Add two galaxies within half a field of each other, each in the other's image."""
    first, second = free.pop(), free.pop()
    pixel = FIELD_ARCSEC / survey.size_px
    separation, direction = rng.uniform(9, 32) / pixel, rng.uniform(0, 2 * np.pi)
    offset = (round(separation * np.cos(direction)), round(separation * np.sin(direction)))
    there = survey.fields[second].galaxies[0]
    galaxies = (*survey.fields[first].galaxies, PlacedGalaxy(there.label, there.properties, *offset))
    survey.fields[first] = survey.fields[second] = Field(first, galaxies, {first: (0, 0), second: offset})
    survey.pixel_scale[first] = survey.pixel_scale[second] = pixel
    survey.ra[second], survey.dec[second] = offset_position(survey.ra[first], survey.dec[first], offset, pixel)


def pop_duplicate_rows(free: list[int], labels: NDArray[np.uint8], rng: Rng) -> tuple[int, int]:
    """Remove two rows of different labels from `free`, if possible with the label pair of a real duplicate."""
    pair = DUPLICATE_LABELS[
        rng.choice(len(DUPLICATE_LABELS), p=np.array(DUPLICATE_LABEL_COUNTS) / sum(DUPLICATE_LABEL_COUNTS))
    ]
    candidates = [next((i for i in free if labels[i] == label), None) for label in pair]
    if None in candidates:
        candidates = [free[0], next(i for i in free if labels[i] != labels[free[0]])]
    first, second = sorted(i for i in candidates if i is not None)
    free.remove(first)
    free.remove(second)
    return first, second


def scattered_positions(number: int, rng: Rng) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw RA and Dec (degrees) in the two galactic caps of the survey, no two within a field of each other."""
    ra, dec = footprint_positions(number, rng)
    while True:
        close = cKDTree(unit_vectors(ra, dec)).query_pairs(np.radians(2 * FIELD_ARCSEC / 3600), output_type="ndarray")
        if not len(close):
            return ra, dec
        again = np.unique(close[:, 1])
        ra[again], dec[again] = footprint_positions(len(again), rng)


def footprint_positions(number: int, rng: Rng) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw RA and Dec (degrees), uniform on the sphere within the northern cap (90 %) or the southern one."""
    north = rng.random(number) < 0.9
    ra = np.where(north, rng.uniform(112, 268, number), rng.uniform(-55, 48, number) % 360)
    low, high = np.sin(np.radians(np.where(north, -8, -12))), np.sin(np.radians(np.where(north, 68, 30)))
    dec = np.degrees(np.arcsin(low + (high - low) * rng.random(number)))
    return ra, dec


def unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit vectors (N, 3) of positions in degrees."""
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=1)


def offset_position(ra: float, dec: float, offset_px: tuple[int, int], pixel_arcsec: float) -> tuple[float, float]:
    """Return the position some pixels away in an image with north up and east to the left."""
    new_dec = dec - offset_px[1] * pixel_arcsec / 3600
    return (ra - offset_px[0] * pixel_arcsec / 3600 / np.cos(np.radians(new_dec))) % 360, new_dec
