"""Statistics of a file of galaxies: pixels, duplicates and overlapping fields."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from astropy.coordinates import angular_separation

from galaxy10.data.groups import (
    duplicate_arcsec,
    equal_pairs,
    field_arcsec,
    find_conflicting_duplicates,
    find_groups,
    sky_pairs,
)

_BLOCK = 256  # images summed at once: 50 MB of the published file


@dataclass(frozen=True)
class PixelStats:
    """Statistics over every pixel of a file.

    Attributes:
        levels: (3, 256) number of pixels of each level, by channel.
        brightness: (N,) mean of each image, 0–1.
    """

    levels: np.ndarray
    brightness: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Return the mean of each channel (3,), 0–1."""
        mean: np.ndarray = self.levels @ _LEVELS / self.levels.sum(axis=1)
        return mean

    @property
    def std(self) -> np.ndarray:
        """Return the standard deviation of each channel (3,), 0–1."""
        std: np.ndarray = np.sqrt(self.levels @ _LEVELS**2 / self.levels.sum(axis=1) - self.mean**2)
        return std

    @property
    def saturated(self) -> np.ndarray:
        """Return the share of pixels at the highest level, by channel (3,)."""
        share: np.ndarray = self.levels[:, 255] / self.levels.sum(axis=1)
        return share


_LEVELS = np.arange(256) / 255


def pixel_stats(images: np.ndarray) -> PixelStats:
    """Return the statistics of all images (N, H, W, 3) uint8, read in order and in blocks (for memory maps)."""
    levels = np.zeros((3, 256), dtype=np.int64)
    brightness = np.empty(len(images))
    for start in range(0, len(images), _BLOCK):
        block = np.ascontiguousarray(images[start : start + _BLOCK])
        for channel in range(3):
            levels[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
        brightness[start : start + _BLOCK] = block.reshape(len(block), -1).mean(axis=1) / 255
    return PixelStats(levels, brightness)


def conflicting_duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of galaxies that occur under different labels.

    Args:
        table: row, label, ra, dec (degrees), pixel_hash, blank.

    Returns:
        galaxy (a number), row, label, and separation_arcsec from the galaxy's first row (NaN without positions).
    """
    found = table.assign(galaxy=find_conflicting_duplicates(table))
    found = found[found["galaxy"] >= 0].sort_values(["galaxy", "row"], kind="stable")
    first = found.groupby("galaxy")[["ra", "dec"]].transform("first")
    position = np.radians(found[["ra", "dec"]].to_numpy(float)).T
    apart = angular_separation(*np.radians(first.to_numpy(float)).T, *position)
    return found[["galaxy", "row", "label"]].assign(separation_arcsec=np.degrees(apart) * 3600).reset_index(drop=True)


def count_same_label_duplicates(table: pd.DataFrame) -> int:
    """Return the number of pairs of rows of one galaxy (closer than 0.5″, or identical pixels) and one label.

    Blank images do not count. table: row, label, ra, dec (degrees), pixel_hash, blank.
    """
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    pairs = np.vstack([sky_pairs(ra, dec, duplicate_arcsec(table)), equal_pairs(table["pixel_hash"].to_numpy())])
    if not len(pairs):
        return 0
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    labels, blank = table["label"].to_numpy(), table["blank"].to_numpy()
    return int(((labels[pairs[:, 0]] == labels[pairs[:, 1]]) & ~blank[pairs].any(axis=1)).sum())


@dataclass(frozen=True)
class Overlaps:
    """Galaxies whose images overlap.

    Attributes:
        near: galaxies with another one within half a field.
        near_pairs: pairs of these.
        within: galaxies with another one within a field.
        groups: number of the groups of find_groups.
        largest_group: number of galaxies in the largest group.
    """

    near: int
    near_pairs: int
    within: int
    groups: int
    largest_group: int

    @property
    def expected_split_pairs(self) -> float:
        """Return the expected number of near pairs that a random 90/10 split separates: 2 × 0.9 × 0.1 of them."""
        return 0.18 * self.near_pairs


def find_overlaps(table: pd.DataFrame, size_px: int) -> Overlaps:
    """Return the overlapping fields in a file of images of size_px.

    table: ra, dec (degrees), pxscale, pixel_hash; NaN positions overlap nothing.
    """
    ra, dec, field = table["ra"].to_numpy(), table["dec"].to_numpy(), field_arcsec(table, size_px)
    near = sky_pairs(ra, dec, field / 2)
    sizes = np.bincount(find_groups(table, field))
    return Overlaps(
        near=len(np.unique(near)),
        near_pairs=len(near),
        within=len(np.unique(sky_pairs(ra, dec, field))),
        groups=len(sizes),
        largest_group=int(sizes.max()),
    )
