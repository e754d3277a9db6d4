"""Find the galaxies of one table in another, by position."""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from galaxy10.data.groups import DUPLICATE_ARCSEC, chord, unit_vectors

_APART = 10.0  # between labels, in units of the sphere's radius


def match_positions(ra: np.ndarray, dec: np.ndarray, labels: np.ndarray | None, table: pd.DataFrame) -> np.ndarray:
    """Return the index in a table (n,) of the nearest galaxy within 0.5″; −1 if there is none.

    Args:
        ra, dec: (n,) degrees.
        labels: (n,) class numbers, which must be equal, too; None: not compared.
        table: ra, dec (degrees) and, with labels, label.
    """
    places = _places(table["ra"].to_numpy(), table["dec"].to_numpy(), None if labels is None else table["label"])
    sought = _places(ra, dec, labels)
    there, here = np.isfinite(places).all(axis=1), np.isfinite(sought).all(axis=1)
    found = np.full(len(sought), -1)
    if there.any() and here.any():
        tree = cKDTree(places[there])
        distance, index = tree.query(sought[here], distance_upper_bound=chord(DUPLICATE_ARCSEC))
        near = np.isfinite(distance)
        found[np.flatnonzero(here)[near]] = np.flatnonzero(there)[index[near]]
    return found


def _places(ra: np.ndarray, dec: np.ndarray, labels: np.ndarray | pd.Series | None) -> np.ndarray:
    points = unit_vectors(np.asarray(ra, np.float64), np.asarray(dec, np.float64))
    apart = np.zeros(len(points)) if labels is None else _APART * np.asarray(labels, np.float64)
    return np.column_stack([points, apart])
