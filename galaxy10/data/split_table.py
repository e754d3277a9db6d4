"""A split as a table that other projects can read: row, ra, dec, label, class, subset, fold, group, reason."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from galaxy10.data.coordinates import column_named, read_degrees
from galaxy10.data.given_split import GivenSplit
from galaxy10.data.groups import DUPLICATE_ARCSEC
from galaxy10.data.path_tables import read_frame
from galaxy10.data.sky_match import match_positions
from galaxy10.data.subsets import subset_named
from galaxy10.errors import Galaxy10Error
from galaxy10.files import atomic_write

SUFFIXES = (".csv", ".parquet")
_IN_NO_SUBSET = ("", "dropped", "none", "nan", "unused")
_DECIMALS = 6  # of a degree: 0.004″


def split_table(
    store_table: pd.DataFrame, class_names: tuple[str, ...], split: pd.DataFrame, folds: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the table of a split, one line per row of the file.

    Args:
        store_table: row, ra, dec (degrees), label.
        split: the table of a Split into train, val and test.
        folds: the table of a Split into folds of the same file; None: no column `fold`.
    """
    table = pd.DataFrame(
        {
            "row": split["row"],
            "ra": store_table["ra"].round(_DECIMALS),
            "dec": store_table["dec"].round(_DECIMALS),
            "label": split["label"],
            "class": np.array(class_names, dtype=object)[split["label"]],
            "subset": split["subset"],
            "group": split["group"],
            "reason": split["reason"],
        }
    )
    if folds is not None:
        table.insert(6, "fold", folds["fold"])
    return table


def check_suffix(path: Path) -> None:
    """Check that a split table can be written under this name.

    Raises:
        Galaxy10Error: the suffix is none of SUFFIXES.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise Galaxy10Error(f"-o {path}: a split is written as {' or '.join(SUFFIXES)}; type -o {path.stem}.csv")


def write_split_table(table: pd.DataFrame, path: Path) -> None:
    """Write a split table as CSV or Parquet, by the suffix.

    Raises:
        Galaxy10Error: the suffix is another one, or the file cannot be written.
    """
    check_suffix(path)
    with atomic_write(path) as part:
        if path.suffix.lower() == ".csv":
            table.to_csv(part, index=False, lineterminator="\n")
        else:
            table.to_parquet(part, index=False)


def check_split_file(path: Path, table: pd.DataFrame | None = None) -> None:
    """Check that a split table exists and, if the file's table is given, that it can be read for its rows.

    Raises:
        Galaxy10Error: see read_split_file.
    """
    if not path.is_file():
        raise Galaxy10Error(f"data.split_file={path} does not exist; `galaxy10 split FILE -o {path.name}` writes one")
    if table is not None:
        read_split_file(path, table)


def read_split_file(path: Path, table: pd.DataFrame) -> GivenSplit:
    """Return the split of a table for the rows of a file.

    The table has `row`, or else `ra` and `dec`, by which its lines are found in the file (within 0.5″); and `subset`
    (train, val, test; empty or dropped: in none), `fold` (from 0; −1: in none), or both. `label`, a number or name of
    the class, is compared if it is there. Rows of the file that are not in the table are in no subset.

    Args:
        path: CSV (also .csv.gz), Parquet or FITS.
        table: of the file: row, ra, dec (degrees), label.

    Raises:
        Galaxy10Error: the table cannot be read, is of another file, has a row twice, or an unknown subset.
    """
    check_split_file(path)
    where = f"data.split_file={path}"
    frame = read_frame(path)
    columns = {key: column_named(map(str, frame.columns), key, str(path)) for key in _COLUMNS}
    given = pd.DataFrame({key: frame[name].to_numpy() for key, name in columns.items() if name is not None})
    if not {"subset", "fold"} & set(given):
        raise Galaxy10Error(f"{where} has neither a column subset nor fold; it has {', '.join(map(str, frame))}")
    rows = _rows(given, table, where)
    subset = np.full(len(table), "", dtype=object)
    fold = np.full(len(table), -1) if "fold" in given else None
    reason = np.full(len(table), f"not in {path.name}", dtype=object)
    reason[rows] = f"in no subset of {path.name}"
    if "reason" in given:
        written = given["reason"].astype("string").fillna("").to_numpy(object)
        reason[rows[written != ""]] = written[written != ""]
    if "subset" in given:
        subset[rows] = _subsets(given["subset"], where)
    if fold is not None:
        fold[rows] = _folds(given["fold"], where)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    notes = (f"the split is that of {path.name} (sha256 {sha256[:16]})",)
    return GivenSplit(path.name, where, "data.split_file=null", subset, fold, reason, sha256, notes)


_COLUMNS = ("row", "ra", "dec", "label", "subset", "fold", "reason")


def _rows(given: pd.DataFrame, table: pd.DataFrame, where: str) -> np.ndarray:
    """Return the row of the file (n,) of each line of the table."""
    sky = None
    if {"ra", "dec"} <= set(given):
        sky = read_degrees(given["ra"], "ra", where)[0], read_degrees(given["dec"], "dec", where)[0]
    if "row" not in given:
        if sky is None:
            raise Galaxy10Error(f"{where} has neither a column row nor ra and dec; it has {', '.join(map(str, given))}")
        rows = match_positions(sky[0], sky[1], None, table)
        if (rows < 0).any():
            raise Galaxy10Error(
                f"{where}: {int((rows < 0).sum()):,} of {len(rows):,} positions are not in the file (within "
                f"{DUPLICATE_ARCSEC:g}″); give the split of this file, with a column row"
            )
    else:
        rows = _whole_numbers(given["row"], "row", where)
    if ((rows < 0) | (rows >= len(table))).any():
        wrong = rows[(rows < 0) | (rows >= len(table))][0]
        raise Galaxy10Error(
            f"{where} has row {wrong}, but the file has rows 0 to {len(table) - 1}; give the split of this file"
        )
    twice = pd.Series(rows).duplicated()
    if twice.any():
        raise Galaxy10Error(f"{where} has row {rows[twice][0]} {(rows == rows[twice][0]).sum()} times; keep one line")
    if "label" in given:
        differ = _unlike(given["label"], table["label"].to_numpy()[rows])
        if differ.any():
            raise Galaxy10Error(_of_another_file(where, "labels", differ, rows))
    if "row" in given and sky is not None:
        there = np.column_stack([table["ra"], table["dec"]])[rows]
        both = np.isfinite(there).all(axis=1) & np.isfinite(sky[0]) & np.isfinite(sky[1])
        away = np.hypot((sky[0] - there[:, 0] + 180) % 360 - 180, sky[1] - there[:, 1]) * 3600
        apart = both & (away * np.cos(np.radians(there[:, 1])) > DUPLICATE_ARCSEC)
        if apart.any():
            raise Galaxy10Error(_of_another_file(where, "positions", apart, rows))
    return rows


def _unlike(labels: pd.Series, of_file: np.ndarray) -> np.ndarray:
    """Return the lines (n,) whose label is another class than the file's; the table may number or name its classes."""
    texts = labels.astype("string").fillna("")
    class_of = pd.Series(of_file).groupby(texts.to_numpy(object)).agg(lambda classes: classes.mode()[0])
    unlike: np.ndarray = texts.map(class_of).to_numpy() != of_file
    return unlike


def _of_another_file(where: str, what: str, differ: np.ndarray, rows: np.ndarray) -> str:
    return (
        f"{where} is of another file: {int(differ.sum()):,} of {len(rows):,} rows have other {what} (the first is row "
        f"{rows[differ][0]}); give the split of this file"
    )


def _whole_numbers(values: pd.Series, key: str, where: str) -> np.ndarray:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = ~(numbers == np.floor(numbers))
    if bad.any():
        raise Galaxy10Error(f"{where}: {key} {values[bad].iloc[0]} is no whole number; correct the table")
    return numbers.astype(np.int64)


def _subsets(values: pd.Series, where: str) -> np.ndarray:
    texts = values.astype("string").fillna("").str.strip()
    known = {text: subset_named(text) or "" for text in texts.unique()}
    unknown = [text for text, subset in known.items() if not subset and text.lower() not in _IN_NO_SUBSET]
    if unknown:
        raise Galaxy10Error(f"{where} has the subset {unknown[0]!r}; write train, val, test or dropped")
    return texts.map(known).to_numpy(object)


def _folds(values: pd.Series, where: str) -> np.ndarray:
    folds = _whole_numbers(values.fillna(-1), "fold", where)
    count = len(np.unique(folds[folds >= 0]))
    if count < 3 or folds.max() != count - 1 or folds.min() < -1:
        found = ", ".join(map(str, np.unique(folds)[:8]))
        raise Galaxy10Error(
            f"{where} has the folds {found}; number them from 0 without a gap, at least 3, and −1 for a row in none"
        )
    return folds
