"""What stands in which row of a simulated file: classes, positions, redshifts, and the traps of the real file.

Pure planning: no pixel is drawn here. The shares of the traps are those measured in Galaxy10_DECals.h5 (17,736 rows).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from galaxy10.classes import GALAXY10_COUNTS
from galaxy10.simulation.galaxies import draw_view
from galaxy10.simulation.stellar_light import View

Rng = np.random.Generator

FIELD_ARCSEC = 67.072  # 256 pixels of 0.262
TWIN_PAIRS = 59  # the same galaxy twice with two labels, less than 0.5″ apart
GALAXIES_WITH_NEIGHBOUR = 355  # another galaxy within half a field, twins among them
NAN_REDSHIFTS = 92
NUM_BLANKS = 3
LARGE_FROM = 14.0  # r magnitude
MINIMUM_FOR_TRAPS = 200  # a smaller file would be all traps: it has the missing redshift only
# The labels of the real twins, the commonest contradictions first.
TWIN_LABELS = ((0, 7), (1, 7), (0, 3), (2, 6))
TWIN_LABEL_COUNTS = (19, 8, 6, 5)


@dataclass(frozen=True)
class PlacedGalaxy:
    """A galaxy to draw, at whole pixels from its field's origin."""

    label: int
    view: View
    column: int = 0
    row: int = 0


@dataclass(frozen=True)
class Field:
    """A piece of sky that one or two rows of the file look at."""

    seed_row: int
    galaxies: tuple[PlacedGalaxy, ...]
    views: dict[int, tuple[int, int]]  # file row → column and row of the picture's centre from the field's origin


@dataclass(frozen=True)
class Survey:
    """The whole file but for its pixels; every array has one entry per row."""

    size_px: int
    labels: NDArray[np.uint8]
    ra: NDArray[np.float64]  # degrees
    dec: NDArray[np.float64]  # degrees
    redshift: NDArray[np.float64]  # NaN where it is missing
    pixel_scale: NDArray[np.float64]  # arcsec per pixel
    blank: NDArray[np.bool_]
    fields: list[Field]  # by row; two rows may hold the same one


def class_counts(num_images: int) -> NDArray[np.int64]:
    """The real file's class shares rounded to whole images that add up (largest remainders), at least one of each."""
    share = np.array(GALAXY10_COUNTS) * (num_images / sum(GALAXY10_COUNTS))
    counts = np.floor(share).astype(np.int64)
    largest = np.argsort(counts - share, kind="stable")[: num_images - counts.sum()]
    counts[largest] += 1
    for empty in np.flatnonzero(counts == 0):
        counts[np.argmax(counts)] -= 1
        counts[empty] += 1
    return counts


def plan_survey(num_images: int, size_px: int, seed: int, traps: bool) -> Survey:
    """Plan a file of `num_images` rows sorted by class."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    labels = np.repeat(np.arange(10), class_counts(num_images))
    views = [draw_view(int(label), rng) for label in labels]
    redshift = np.array([view.redshift for view in views])
    native = FIELD_ARCSEC / size_px
    # The brightest galaxies would not fit: their pictures are zoomed out, by up to a factor of two.
    brightness = np.array([view.magnitude for view in views])
    pixel_scale = native * np.clip(10 ** (-0.2 * (brightness - LARGE_FROM)), 1, 2)
    ra, dec = scattered_positions(num_images, rng)
    fields = [Field(i, (PlacedGalaxy(int(labels[i]), views[i]),), {i: (0, 0)}) for i in range(num_images)]
    blank = np.zeros(num_images, dtype=bool)
    survey = Survey(size_px, labels.astype(np.uint8), ra, dec, redshift, pixel_scale, blank, fields)
    if traps:
        if num_images >= MINIMUM_FOR_TRAPS:
            free = [int(row) for row in rng.permutation(num_images)]
            add_blanks(survey, free)
            for _ in range(max(2, real_share(TWIN_PAIRS, num_images))):
                add_twins(survey, free, rng)
            for _ in range(max(1, real_share(GALAXIES_WITH_NEIGHBOUR // 2 - TWIN_PAIRS, num_images))):
                add_overlap(survey, free, rng)
        missing = max(1, real_share(NAN_REDSHIFTS, num_images))
        redshift[rng.choice(num_images, missing, replace=False)] = np.nan
    return survey


def real_share(of_real_file: int, num_images: int) -> int:
    """How many of something a file of this size has in the real file's proportion."""
    return round(of_real_file / sum(GALAXY10_COUNTS) * num_images)


def add_blanks(survey: Survey, free: list[int]) -> None:
    """Blank pictures under different labels; like the other traps, takes its rows out of `free`."""
    for _ in range(NUM_BLANKS):
        row = next(i for i in free if survey.labels[i] not in survey.labels[survey.blank])
        free.remove(row)
        survey.blank[row] = True


def add_twins(survey: Survey, free: list[int], rng: Rng) -> None:
    """One galaxy in two rows with two labels, its second picture shifted by a pixel at most."""
    first, second = twin_rows(free, survey.labels, rng)
    pixel = survey.pixel_scale[first]
    reach = int(0.45 / pixel / np.sqrt(2))  # stays below half an arcsecond
    offset = (int(rng.integers(-reach, reach + 1)), int(rng.integers(-reach, reach + 1)))
    galaxies = survey.fields[first].galaxies
    survey.fields[first] = survey.fields[second] = Field(first, galaxies, {first: (0, 0), second: offset})
    survey.redshift[second], survey.pixel_scale[second] = survey.redshift[first], pixel
    survey.ra[second], survey.dec[second] = moved(survey.ra[first], survey.dec[first], offset, pixel)


def add_overlap(survey: Survey, free: list[int], rng: Rng) -> None:
    """Two galaxies within half a field of each other, each in the other's picture."""
    first, second = free.pop(), free.pop()
    pixel = FIELD_ARCSEC / survey.size_px
    separation, direction = rng.uniform(9, 32) / pixel, rng.uniform(0, 2 * np.pi)
    offset = (round(separation * np.cos(direction)), round(separation * np.sin(direction)))
    there = survey.fields[second].galaxies[0]
    galaxies = (*survey.fields[first].galaxies, PlacedGalaxy(there.label, there.view, *offset))
    survey.fields[first] = survey.fields[second] = Field(first, galaxies, {first: (0, 0), second: offset})
    survey.pixel_scale[first] = survey.pixel_scale[second] = pixel
    survey.ra[second], survey.dec[second] = moved(survey.ra[first], survey.dec[first], offset, pixel)


def twin_rows(free: list[int], labels: NDArray[np.uint8], rng: Rng) -> tuple[int, int]:
    """Take two rows of different labels out of `free`, with a label pair that real twins have if it is there."""
    pair = TWIN_LABELS[rng.choice(len(TWIN_LABELS), p=np.array(TWIN_LABEL_COUNTS) / sum(TWIN_LABEL_COUNTS))]
    candidates = [next((i for i in free if labels[i] == label), None) for label in pair]
    if None in candidates:
        candidates = [free[0], next(i for i in free if labels[i] != labels[free[0]])]
    first, second = sorted(i for i in candidates if i is not None)
    free.remove(first)
    free.remove(second)
    return first, second


def scattered_positions(number: int, rng: Rng) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """RA and Dec (degrees) in the two galactic caps of the survey, no two within a field of each other."""
    ra, dec = footprint_positions(number, rng)
    while True:
        close = cKDTree(unit_vectors(ra, dec)).query_pairs(np.radians(2 * FIELD_ARCSEC / 3600), output_type="ndarray")
        if not len(close):
            return ra, dec
        again = np.unique(close[:, 1])
        ra[again], dec[again] = footprint_positions(len(again), rng)


def footprint_positions(number: int, rng: Rng) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Uniform on the sphere within the northern cap (nine of ten galaxies) or the southern one."""
    north = rng.random(number) < 0.9
    ra = np.where(north, rng.uniform(112, 268, number), rng.uniform(-55, 48, number) % 360)
    low, high = np.sin(np.radians(np.where(north, -8, -12))), np.sin(np.radians(np.where(north, 68, 30)))
    dec = np.degrees(np.arcsin(low + (high - low) * rng.random(number)))
    return ra, dec


def unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions (N, 3) of positions in degrees."""
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=1)


def moved(ra: float, dec: float, offset_px: tuple[int, int], pixel_arcsec: float) -> tuple[float, float]:
    """The position some pixels away in a picture with north up and east to the left."""
    new_dec = dec - offset_px[1] * pixel_arcsec / 3600
    return (ra - offset_px[0] * pixel_arcsec / 3600 / np.cos(np.radians(new_dec))) % 360, new_dec
