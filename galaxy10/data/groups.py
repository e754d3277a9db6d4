"""Find images of the same piece of sky or of identical pixels, and galaxies with conflicting labels."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from galaxy10.data.votes import without_votes

FIELD_ARCSEC = 67.0  # one image of 256 px at 0.262 arcsec/pixel; assumed where the pixel scale is unknown
DUPLICATE_ARCSEC = 0.5  # the same galaxy: closer than a survey from the ground could separate two
DUPLICATE_PX = 2.0  # of sharper images


def field_arcsec(table: pd.DataFrame, size_px: int) -> np.ndarray:
    """Return the side (N,) of each image on the sky, in arcsec: pixel scale × size; FIELD_ARCSEC if it is unknown.

    table: pxscale (arcsec per pixel), NaN or not positive for an unknown one.
    """
    scale = _pixel_scale(table)
    return np.where(scale > 0, scale * size_px, FIELD_ARCSEC)


def count_unknown_scales(table: pd.DataFrame) -> int:
    """Return the number of rows with a position and without a pixel scale."""
    placed = (np.isfinite(table["ra"]) & np.isfinite(table["dec"])).to_numpy()
    return int((placed & ~(_pixel_scale(table) > 0)).sum())


def _pixel_scale(table: pd.DataFrame) -> np.ndarray:
    if "pxscale" not in table:
        return np.full(len(table), np.nan)
    scale = table["pxscale"].to_numpy(np.float64)
    return np.where(np.isfinite(scale), scale, np.nan)


def duplicate_arcsec(table: pd.DataFrame) -> np.ndarray:
    """Return the distance (N,) below which two positions are one galaxy: 0.5″, or two pixels of sharper images."""
    scale = _pixel_scale(table)
    return np.where(scale > 0, np.minimum(DUPLICATE_PX * scale, DUPLICATE_ARCSEC), DUPLICATE_ARCSEC)


def sky_pairs(ra: np.ndarray, dec: np.ndarray, radius_arcsec: float | np.ndarray) -> np.ndarray:
    """Return all pairs of rows (P, 2) that are within the mean of their radii of each other on the sphere.

    ra, dec: (N,) degrees; rows with a NaN or infinite coordinate are in no pair. radius_arcsec: one, or (N,).
    """
    rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if len(rows) < 2:
        return np.empty((0, 2), dtype=np.int64)
    unit = unit_vectors(ra[rows], dec[rows])
    radius = np.broadcast_to(np.asarray(radius_arcsec, np.float64), ra.shape)[rows]
    found = [np.empty((0, 2), dtype=np.int64)]
    # By radius, halved from the largest: one coarse image does not make all fine ones candidates of each other.
    level = np.floor(np.log2(np.maximum(radius, 1e-3)))
    for number in np.unique(level):
        here, upto = np.flatnonzero(level == number), np.flatnonzero(level < number)
        reach = chord(radius[here].max())
        tree = cKDTree(unit[here])
        found.append(here[tree.query_pairs(reach, output_type="ndarray")].reshape(-1, 2))
        if len(upto):
            near = tree.sparse_distance_matrix(cKDTree(unit[upto]), reach, output_type="coo_matrix")
            found.append(np.column_stack([here[near.row], upto[near.col]]))
    pairs = np.vstack(found)
    apart = np.linalg.norm(unit[pairs[:, 0]] - unit[pairs[:, 1]], axis=1)
    pairs = pairs[apart <= chord(radius[pairs].mean(axis=1))]
    result: np.ndarray = rows[pairs]
    return result


def unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return positions (N,) in degrees as points (N, 3) on the unit sphere."""
    lon, lat = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def chord(arcsec: Any) -> Any:
    """Return the distance of two points on the unit sphere that are `arcsec` apart."""
    return 2 * np.sin(np.radians(np.minimum(arcsec / 3600, 180.0)) / 2)


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


def find_groups(table: pd.DataFrame, radius_arcsec: float | np.ndarray = FIELD_ARCSEC) -> np.ndarray:
    """Return group numbers (N,) of rows that must be in one subset.

    A group links rows within one field of each other, of identical pixels, or of one `group` of the file. Rows that are
    dropped later link others, too.

    table: ra, dec (degrees), pixel_hash, and optionally group (−1: none). radius_arcsec: of a field, one or (N,).
    """
    sky = sky_pairs(table["ra"].to_numpy(), table["dec"].to_numpy(), radius_arcsec)
    pairs = [sky, equal_pairs(table["pixel_hash"].to_numpy())]
    if "group" in table:
        grouped = np.flatnonzero(table["group"].to_numpy() >= 0)
        pairs.append(grouped[equal_pairs(table["group"].to_numpy()[grouped])])
    return group_rows(len(table), np.vstack(pairs))


def find_conflicting_duplicates(table: pd.DataFrame) -> np.ndarray:
    """Return the number (N,) of the galaxy for rows of one galaxy under different labels; −1 for all other rows.

    Rows are of one galaxy if they are closer than 0.5″ (two pixels, if the pixels are smaller than 0.25″) or have
    identical pixels; blank images are no galaxy, and rows without votes have no label.
    """
    sky = sky_pairs(table["ra"].to_numpy(), table["dec"].to_numpy(), duplicate_arcsec(table))
    pairs = np.vstack([sky, equal_pairs(table["pixel_hash"].to_numpy())])
    left_out = table["blank"].to_numpy() | without_votes(table)
    galaxy = group_rows(len(table), pairs[~left_out[pairs].any(axis=1)])
    labels_of_galaxy = pd.Series(table["label"].to_numpy()).groupby(galaxy).transform("nunique").to_numpy()
    return np.where(labels_of_galaxy > 1, galaxy, -1)
