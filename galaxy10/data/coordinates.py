"""Sky coordinates as people write them: degrees or sexagesimal, in columns of any case."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.errors import Galaxy10Error

_SEXAGESIMAL = (
    r"^(?P<sign>[+-]?)(?P<first>\d{1,3})\s*(?P<unit>[:hd°\s])\s*(?P<minutes>\d{1,2})\s*"
    r"(?:[:m'′\s]\s*(?P<seconds>\d{1,2}(?:\.\d*)?)\s*(?:s|\"|″|'')?|[m'′])?$"
)
# Names that catalogues give to right ascension and declination, the most usual first.
_ALIASES = {
    "ra": ("ra", "raj2000", "_raj2000", "ra_j2000", "alpha_j2000", "ra_deg", "radeg", "right_ascension"),
    "dec": ("dec", "dej2000", "_dej2000", "dec_j2000", "delta_j2000", "dec_deg", "decdeg", "declination", "decj2000"),
}
COORDINATES = frozenset(name for names in _ALIASES.values() for name in names)
_ENOUGH = 30  # positions, to tell degrees from another unit
_MISSING = ("", "nan", "na", "n/a", "null", "none", "--", "<na>")


def column_named(names: Iterable[str], key: str, where: str) -> str | None:
    """Return the column of a name in any case; the exact spelling first; None if there is none.

    Without ra or dec, columns such as RAJ2000 and DEJ2000 are theirs.

    Raises:
        Galaxy10Error: there are several.
    """
    names = list(names)
    if key in names:
        return key
    for spelling in _ALIASES.get(key, (key,)):
        found = [name for name in names if name.strip().lower() == spelling]
        if len(found) > 1:
            raise Galaxy10Error(f"{where} has the columns {' and '.join(found)}; rename all but one")
        if found:
            return found[0]
    return None


def read_degrees(values: Any, key: str, where: str) -> tuple[np.ndarray, str | None]:
    """Return coordinates (N,) in degrees, NaN for a missing or unreadable one, and a remark on the unreadable.

    Args:
        values: (N,) numbers in degrees, or texts: degrees, or sexagesimal (hours for ra, unless written with d or °).
        key: ra or dec.

    Raises:
        Galaxy10Error: there are values, but none can be read.
    """
    given = pd.Series(values).reset_index(drop=True)
    if pd.api.types.is_numeric_dtype(given):
        return given.to_numpy(np.float64, na_value=np.nan), None
    texts = given.astype("string").fillna("").str.strip().str.replace("−", "-")
    texts = texts.str.replace(r"^([^,]*\d),(\d[^,]*)$", r"\1.\2", regex=True).astype(object)  # decimal commas
    there = ~texts.str.lower().isin(_MISSING).to_numpy()
    degrees = pd.to_numeric(texts.where(there, np.nan), errors="coerce").to_numpy(np.float64)
    degrees = np.where(np.isfinite(degrees), degrees, _sexagesimal(texts, key))
    unreadable = there & ~np.isfinite(degrees)
    if not unreadable.any():
        return degrees, None
    first = texts[int(np.flatnonzero(unreadable)[0])]
    what = f"(the first is {first!r}) can be read as degrees or sexagesimal"
    if unreadable.sum() == there.sum():
        raise Galaxy10Error(
            f"{where}: none of the {there.sum():,} values of {key} {what}; correct them, or do without sky "
            "positions: rename the column (galaxy10 pack: --no-coordinates)"
        )
    return (
        degrees,
        f"{where}: {unreadable.sum():,} of {there.sum():,} values of {key} cannot be read (the first is {first!r})",
    )


def unit_remark(ra: np.ndarray, dec: np.ndarray) -> str | None:
    """Return a remark if positions (N,) that are taken for degrees look like radians, or like hours of ra.

    They fill a whole sky of radians or hours, and would be a small piece of one in degrees. In such a unit, images far
    apart are taken for neighbours.
    """
    known = np.isfinite(ra) & np.isfinite(dec)
    if known.sum() < _ENOUGH:
        return None
    ra, dec = ra[known], dec[known]
    if ra.max() <= 2 * np.pi and np.abs(dec).max() <= np.pi / 2 and np.ptp(ra) > 4 and np.ptp(dec) > 1:
        return "ra and dec may be radians, and are read as degrees: convert them, or rename the columns"
    if ra.min() >= 0 and ra.max() <= 24 and np.ptp(ra) > 18 and np.ptp(dec) > 30:
        return "ra may be in hours, and is read as degrees: multiply it by 15, or rename the columns"
    return None


def read_numbers(values: Any, key: str, where: str) -> tuple[np.ndarray, str | None]:
    """Return numbers (N,) float64, NaN for a missing or unreadable one, and a remark on the unreadable.

    Raises:
        Galaxy10Error: there are values, but none can be read.
    """
    given = pd.Series(values).reset_index(drop=True)
    if pd.api.types.is_numeric_dtype(given):
        return given.to_numpy(np.float64, na_value=np.nan), None
    texts = given.astype("string").fillna("").str.strip()
    there = ~texts.str.lower().isin(_MISSING).to_numpy()
    numbers = pd.to_numeric(texts.where(there, None), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    unreadable = there & ~np.isfinite(numbers)
    if not unreadable.any():
        return numbers, None
    first = str(texts[int(np.flatnonzero(unreadable)[0])])
    if unreadable.sum() == there.sum():
        raise Galaxy10Error(
            f"{where}: none of the {there.sum():,} values of {key} is a number (the first is {first!r}); correct them, "
            "or rename the column"
        )
    return numbers, f"{where}: {unreadable.sum():,} of {there.sum():,} values of {key} are no numbers ({first!r})"


def _sexagesimal(texts: pd.Series, key: str) -> np.ndarray:
    parts = texts.str.extract(_SEXAGESIMAL)
    first, minutes, seconds = (
        pd.to_numeric(parts[name], errors="coerce").to_numpy(np.float64) for name in ("first", "minutes", "seconds")
    )
    seconds = np.where(parts["seconds"].isna(), 0.0, seconds)
    value = first + minutes / 60 + seconds / 3600
    unit = parts["unit"].fillna("").astype(object)
    hours = ~unit.isin(["d", "°"]).to_numpy() if key == "ra" else (unit == "h").to_numpy()
    highest = np.where(hours, 24.0 if key == "ra" else -1.0, 360.0 if key == "ra" else 90.0)
    valid = (minutes < 60) & (seconds < 60) & (value <= highest)
    sign = np.where((parts["sign"] == "-").to_numpy(), -1.0, 1.0)
    return np.where(valid, sign * value * np.where(hours, 15.0, 1.0), np.nan)
