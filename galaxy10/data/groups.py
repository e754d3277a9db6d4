"""Find images of the same piece of sky or of identical pixels, and galaxies with conflicting labels."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

FIELD_ARCSEC = 67.0  # one image of 256 px at 0.262 arcsec/pixel
DUPLICATE_ARCSEC = 0.5  # the same galaxy: closer than the survey's astrometry could separate two


def sky_pairs(ra: np.ndarray, dec: np.ndarray, radius_arcsec: float) -> np.ndarray:
    """Return all pairs of rows (P, 2) whose positions are within radius_arcsec of each other on the sphere.

    ra, dec: (N,) degrees; rows with a NaN or infinite coordinate are in no pair.
    """
    rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if len(rows) < 2:
        return np.empty((0, 2), dtype=np.int64)
    lon, lat = np.radians(ra[rows]), np.radians(dec[rows])
    unit = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    chord = 2 * np.sin(np.radians(radius_arcsec / 3600) / 2)
    pairs: np.ndarray = rows[cKDTree(unit).query_pairs(chord, output_type="ndarray")]
    return pairs


def equal_pairs(values: np.ndarray) -> np.ndarray:
    """Return pairs of rows (P, 2) that link all rows of equal values, each to the next."""
    order = np.argsort(values, kind="stable")
    same = values[order[1:]] == values[order[:-1]]
    return np.column_stack([order[:-1][same], order[1:][same]])


def group_rows(num_rows: int, pairs: np.ndarray) -> np.ndarray:
    """Return group numbers (N,) by single linkage of pairs (P, 2): 0, 1, … in order of first appearance."""
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(num_rows, num_rows))
    _, component = connected_components(graph, directed=False)
    _, first, group = np.unique(component, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group]


def has_positions(table: pd.DataFrame) -> bool:
    """Return whether any row has a sky position."""
    return bool((np.isfinite(table["ra"]) & np.isfinite(table["dec"])).any())


def find_groups(table: pd.DataFrame) -> np.ndarray:
    """Return group numbers (N,) of rows that must be in one subset.

    A group links rows within one field of each other, of identical pixels, or of one `group` of the file. Rows that are
    dropped later link others, too.

    table: ra, dec (degrees), pixel_hash, and optionally group (−1: none).
    """
    sky = sky_pairs(table["ra"].to_numpy(), table["dec"].to_numpy(), FIELD_ARCSEC)
    pairs = [sky, equal_pairs(table["pixel_hash"].to_numpy())]
    if "group" in table:
        grouped = np.flatnonzero(table["group"].to_numpy() >= 0)
        pairs.append(grouped[equal_pairs(table["group"].to_numpy()[grouped])])
    return group_rows(len(table), np.vstack(pairs))


def find_conflicting_duplicates(table: pd.DataFrame) -> np.ndarray:
    """Return the number (N,) of the galaxy for rows of one galaxy under different labels; −1 for all other rows.

    Rows are of one galaxy if they are closer than 0.5″ or have identical pixels; blank images are no galaxy.
    """
    sky = sky_pairs(table["ra"].to_numpy(), table["dec"].to_numpy(), DUPLICATE_ARCSEC)
    pairs = np.vstack([sky, equal_pairs(table["pixel_hash"].to_numpy())])
    blank = table["blank"].to_numpy()
    galaxy = group_rows(len(table), pairs[~blank[pairs].any(axis=1)])
    labels_of_galaxy = pd.Series(table["label"].to_numpy()).groupby(galaxy).transform("nunique").to_numpy()
    return np.where(labels_of_galaxy > 1, galaxy, -1)
