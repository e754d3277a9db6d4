"""What can be said of a file of galaxies before anything is trained on it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from astropy.coordinates import angular_separation

from galaxy10.data.groups import (
    FIELD_ARCSEC,
    TWIN_ARCSEC,
    equal_pairs,
    find_conflicting_duplicates,
    find_groups,
    sky_pairs,
)

_BLOCK = 256  # images summed at once: 50 MB of the published file


@dataclass(frozen=True)
class Pixels:
    """Statistics over every pixel of a file.

    levels: (3, 256) how often each brightness occurs; brightness: (N,) mean of each image, 0–1.
    """

    levels: np.ndarray
    brightness: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean of each channel (3,), 0–1."""
        return self.levels @ _LEVELS / self.levels.sum(axis=1)

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of each channel (3,), 0–1."""
        return np.sqrt(self.levels @ _LEVELS**2 / self.levels.sum(axis=1) - self.mean**2)

    @property
    def saturated(self) -> np.ndarray:
        """Share of pixels at the highest level, by channel (3,)."""
        return self.levels[:, 255] / self.levels.sum(axis=1)


_LEVELS = np.arange(256) / 255


def read_pixels(images: np.ndarray) -> Pixels:
    """Statistics of all images (N, H, W, 3) uint8, read in order and in small blocks (they may be memory-mapped)."""
    levels = np.zeros((3, 256), dtype=np.int64)
    brightness = np.empty(len(images))
    for start in range(0, len(images), _BLOCK):
        block = np.ascontiguousarray(images[start : start + _BLOCK])
        for channel in range(3):
            levels[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
        brightness[start : start + _BLOCK] = block.reshape(len(block), -1).mean(axis=1) / 255
    return Pixels(levels, brightness)


def contradictory_twins(table: pd.DataFrame) -> pd.DataFrame:
    """The same galaxy under two labels: galaxy, row, label and separation_arcsec from its first row (NaN: by pixels).

    table: row, label, ra, dec (degrees), pixel_hash, blank.
    """
    twins = table.assign(galaxy=find_conflicting_duplicates(table))
    twins = twins[twins["galaxy"] >= 0].sort_values(["galaxy", "row"], kind="stable")
    first = twins.groupby("galaxy")[["ra", "dec"]].transform("first")
    position = np.radians(twins[["ra", "dec"]].to_numpy(float)).T
    apart = angular_separation(*np.radians(first.to_numpy(float)).T, *position)
    return twins[["galaxy", "row", "label"]].assign(separation_arcsec=np.degrees(apart) * 3600).reset_index(drop=True)


def same_label_repeats(table: pd.DataFrame) -> int:
    """Pairs of rows that show one galaxy (closer than 0.5″, or identical pixels) under one label; blanks apart."""
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    pairs = np.vstack([sky_pairs(ra, dec, TWIN_ARCSEC), equal_pairs(table["pixel_hash"].to_numpy())])
    if not len(pairs):
        return 0
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    labels, blank = table["label"].to_numpy(), table["blank"].to_numpy()
    return int(((labels[pairs[:, 0]] == labels[pairs[:, 1]]) & ~blank[pairs].any(axis=1)).sum())


@dataclass(frozen=True)
class Overlaps:
    """Galaxies that share sky. near, within: galaxies with another within half a field (33.5″) and a field (67″)."""

    near: int
    near_pairs: int
    within: int
    groups: int
    largest_group: int

    @property
    def torn_by_chance(self) -> float:
        """Pairs that a random 90/10 split would tear apart, on average: 2 × 0.9 × 0.1 of the near ones."""
        return 0.18 * self.near_pairs


def find_overlaps(table: pd.DataFrame) -> Overlaps:
    """Overlapping fields in a file. table: ra, dec (degrees), pixel_hash."""
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    near = sky_pairs(ra, dec, FIELD_ARCSEC / 2)
    sizes = np.bincount(find_groups(table))
    return Overlaps(
        near=len(np.unique(near)),
        near_pairs=len(near),
        within=len(np.unique(sky_pairs(ra, dec, FIELD_ARCSEC))),
        groups=len(sizes),
        largest_group=int(sizes.max()),
    )
