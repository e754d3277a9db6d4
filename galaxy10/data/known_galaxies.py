"""Find the galaxies that a run was trained or validated on: by their pixels, or by their place on the sky."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.spatial import cKDTree

from galaxy10.data.coordinates import column_named, read_degrees
from galaxy10.data.groups import chord, unit_vectors
from galaxy10.errors import Galaxy10Error

RADIUS_ARCSEC = 1.5  # two catalogues of one galaxy from the ground agree within this
COLUMNS = ("subset", "pixel_hash", "ra", "dec")


def known_galaxies_table(store_table: pd.DataFrame, split_table: pd.DataFrame) -> pd.DataFrame:
    """Return subset, pixel_hash, ra and dec (degrees) of the training and validation galaxies of a split.

    Blank images are left out: their pixels are equal, and they are no galaxies.

    Args:
        store_table: row, pixel_hash, blank, ra, dec. split_table: row, subset.
    """
    used = split_table.loc[split_table["subset"].isin(["train", "val"]), ["row", "subset"]]
    known = used.merge(store_table[["row", "pixel_hash", "blank", "ra", "dec"]], on="row")
    return known.loc[~known["blank"], list(COLUMNS)].reset_index(drop=True)


@dataclass(frozen=True)
class Match:
    """Which of N galaxies are known: equal pixels (N,) bool, and others within RADIUS_ARCSEC of a known one (N,)."""

    by_pixels: np.ndarray
    by_position: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Return whether each galaxy is known (N,) bool."""
        known: np.ndarray = self.by_pixels | self.by_position
        return known

    def counted(self) -> str:
        """Return how many are known in which way, for messages."""
        return f"{self.by_pixels.sum():,} by pixels, {self.by_position.sum():,} within {RADIUS_ARCSEC}″ on the sky"


class KnownGalaxies:
    """The galaxies that a network was trained and validated on.

    Args:
        table: of known_galaxies_table.
    """

    def __init__(self, table: pd.DataFrame):
        self._hashes = np.unique(table["pixel_hash"].to_numpy(np.int64))
        self._ra, self._dec = table["ra"].to_numpy(np.float64), table["dec"].to_numpy(np.float64)

    @cached_property
    def _tree(self) -> cKDTree | None:
        placed = np.isfinite(self._ra) & np.isfinite(self._dec)
        return cKDTree(unit_vectors(self._ra[placed], self._dec[placed])) if placed.any() else None

    def match(self, pixel_hash: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> Match:
        """Return which of N galaxies are known.

        Args:
            pixel_hash: (N,) int64, of galaxy10.data.store.pixel_hash.
            ra, dec: (N,) degrees; NaN: unknown.
        """
        by_pixels = np.zeros(len(pixel_hash), dtype=bool)
        if len(self._hashes):
            place = np.searchsorted(self._hashes, pixel_hash).clip(max=len(self._hashes) - 1)
            by_pixels = self._hashes[place] == pixel_hash
        near = np.zeros(len(by_pixels), dtype=bool)
        placed = np.isfinite(ra) & np.isfinite(dec)
        if self._tree is not None and placed.any():
            distance, _ = self._tree.query(unit_vectors(ra[placed], dec[placed]))
            near[placed] = distance <= chord(RADIUS_ARCSEC)
        return Match(by_pixels, near & ~by_pixels)


def positions(columns: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return ra and dec (N,) in degrees of a table with columns of these names; NaN where there are none to be read."""
    found = []
    for key in ("ra", "dec"):
        try:
            name = column_named(columns.column_names, key, "the input")
            found.append(None if name is None else read_degrees(columns[name].to_pandas(), key, "the input")[0])
        except Galaxy10Error:
            found.append(None)
    unknown = np.full(len(columns), np.nan)
    ra, dec = (unknown if values is None else values for values in found)
    return ra, dec


def any_known(matches: Iterable[Match]) -> Match:
    """Return which galaxies any of several networks knows; at least one."""
    first, *others = matches
    pixels, position = first.by_pixels, first.by_position
    for match in others:
        pixels, position = pixels | match.by_pixels, position | match.by_position
    return Match(pixels, position & ~pixels)
