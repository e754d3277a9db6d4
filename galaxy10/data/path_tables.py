"""Tables of image paths: CSV (with any separator), Parquet or FITS."""

import codecs
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from galaxy10.config.fields import did_you_mean
from galaxy10.data.text import decode_text
from galaxy10.errors import Galaxy10Error, first_line

_FITS = (".fits", ".fit", ".fts")
_TABLES = (".csv", ".tsv", ".tab", ".parquet", ".pq")  # of what kind, the content says
_TEXTS = (".txt", ".dat")
_SEPARATORS = (",", ";", "\t", "|")
_RESERVED = (
    "row",
    "path",
    "predicted",
    "predicted_name",
    "entropy",
    "mutual_information",
    "prediction_set",
    "ood_score",
    "ood_percentile",
    "trained_on",
    "filled",
)


def is_table(path: Path) -> bool:
    """Return whether a file is a table and not an image: by its suffix, and a FITS file or a text by its content."""
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        return True
    if suffix in _TEXTS:
        return path.is_file() and _has_columns(path)
    return suffix in _FITS and path.is_file() and _holds_a_table(path)


def _has_columns(path: Path) -> bool:
    """Return whether the first line of a text names columns; notes in a folder of images do not."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = file.readline(10_000)
    except OSError:
        return False
    return first.strip() == "path" or any(separator in first for separator in _SEPARATORS)


def _holds_a_table(path: Path) -> bool:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path) as units:
                kinds = [type(unit).__name__ for unit in units if unit.header.get("NAXIS")]
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return False
    return bool(kinds) and kinds[0] in ("BinTableHDU", "TableHDU")


def catalogue_column_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names of an input's columns in a catalogue: reserved names get the prefix `input_`.

    >>> catalogue_column_names(["ra", "predicted", "input_predicted"])
    {'ra': 'ra', 'predicted': 'input_input_predicted', 'input_predicted': 'input_predicted'}
    """
    names = list(names)
    carried = {name: name for name in names if name not in _RESERVED and not name.startswith("p_")}
    taken = set(names)
    for name in names:
        if name not in carried:
            free = f"input_{name}"
            while free in taken:
                free = f"input_{free}"
            carried[name] = free
            taken.add(free)
    return {name: carried[name] for name in names}


def read_path_table(file: Path, column: str | None, label: str | None = None) -> tuple[pa.Table, dict[str, str]]:
    """Return a table of images, with `path`, `row` (from 0) and the other columns, and the new name of each column.

    Args:
        column: the column of paths; None: `path`.
        label: another column that must exist.

    Raises:
        Galaxy10Error: the file cannot be read, lacks a column, or one column is given as paths and labels.
    """
    try:
        frame = _read(file, column or "path", label)
    except Galaxy10Error:
        raise
    except Exception as error:  # pandas, pyarrow and astropy raise different errors for a damaged file
        raise Galaxy10Error(f"{file} cannot be read as a table ({first_line(error)}); save it again") from error
    for name, option in ((column or "path", "--path-column"), *(((label, "--label-column"),) if label else ())):
        if name not in frame:
            raise Galaxy10Error(
                f"{file} has no column {name}{did_you_mean(name, list(map(str, frame.columns)))}; it has "
                f"{', '.join(map(str, frame.columns))}: rename a column, or type {option} NAME"
            )
    if label and label == (column or "path"):
        raise Galaxy10Error(
            f"column {label} of {file} cannot hold both paths and labels; type --path-column NAME --label-column NAME"
        )
    paths = frame.pop(column or "path")
    columns: dict[str, Any] = {
        "path": pa.array([None if pd.isna(path) else str(path) for path in paths], pa.string()),
        "row": pa.array(np.arange(len(frame))),
    }
    names = catalogue_column_names(map(str, frame.columns))
    for name in frame:
        values = frame[name]
        columns[names[str(name)]] = pa.Array.from_pandas(
            values.map(str, na_action="ignore") if values.dtype == object else values
        )
    return pa.table(columns), names


def _read(file: Path, paths: str, label: str | None) -> pd.DataFrame:
    with file.open("rb") as opened:
        start = opened.read(80)
    if start.startswith(b"PAR1"):
        return pd.read_parquet(file, dtype_backend="numpy_nullable")
    if not start.startswith(b"SIMPLE  ="):
        return _read_csv(file, paths, label)
    from astropy.table import Table

    table = Table.read(file)
    wide = [name for name in table.colnames if table[name].ndim > 1]
    table.remove_columns(wide)  # a catalogue has no image or spectrum per line
    frame: pd.DataFrame = table.to_pandas()
    for name in frame:
        if frame[name].dtype == object:  # FITS pads its strings with spaces
            frame[name] = frame[name].map(
                lambda x: decode_text(x).rstrip(),
                na_action="ignore",  # an empty string is a missing one
            )
    return frame


def _read_csv(file: Path, paths: str, label: str | None) -> pd.DataFrame:
    """Read a CSV file, in UTF-8 or latin-1, separated by commas, semicolons, tabs or bars, as in its first line.

    Integers stay integers beside an empty cell, identifiers such as 00123 stay texts, and so do words such as NA, which
    may be classes; they are missing values only among numbers, paths and groups.
    """
    options: dict[str, Any] = {"skipinitialspace": True, "encoding": _encoding(file)}
    with file.open(encoding=options["encoding"]) as opened:
        first = opened.readline()
    if "\0" in first:
        raise Galaxy10Error(f"{file} is no table; give a CSV, Parquet or FITS file")
    options["sep"] = max(_SEPARATORS, key=first.count)
    frame: pd.DataFrame = pd.read_csv(file, dtype_backend="numpy_nullable", **options)
    doubtful = [n for n, (_, column) in enumerate(frame.items()) if _is_number(column) or column.isna().any()]
    if not doubtful:
        return frame
    texts = pd.read_csv(file, dtype="string", keep_default_na=False, na_values=[""], usecols=doubtful, **options)
    for name in texts:
        numeric = _is_number(frame[name])
        words = (frame[name].isna() & texts[name].notna()).any()
        if numeric and texts[name].str.fullmatch(r"[+-]?0\d+\s*").any():
            frame[name] = texts[name].str.rstrip()
        elif words and (name == label or (not numeric and name not in (paths, "group"))):
            frame[name] = texts[name]
    return frame


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _encoding(file: Path) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"  # Excel begins files with a byte order mark
