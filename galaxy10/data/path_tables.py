"""Tables of image paths: texts with any separator, Parquet, FITS, ECSV or VOTable."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from galaxy10.config.fields import did_you_mean
from galaxy10.data.coordinates import COORDINATES
from galaxy10.data.table_kinds import beginning, table_format
from galaxy10.data.text import decode_text
from galaxy10.data.text_tables import read_text_table
from galaxy10.errors import Galaxy10Error, first_line, system_reason
from galaxy10.foreign_files import check_parquet

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
    "quality",
)


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
    frame = read_frame(file, column or "path", label)
    for name, option in ((column or "path", "--path-column"), *(((label, "--label-column"),) if label else ())):
        check_column(file, name, list(map(str, frame.columns)), option)
    if label and label == (column or "path"):
        raise Galaxy10Error(
            f"column {label} of {file} cannot hold both paths and labels; type --path-column NAME --label-column NAME"
        )
    with readable_table(file):  # texts are decoded here
        return as_columns(frame, column or "path")


def check_column(file: Path, name: str, there: Sequence[str], option: str) -> None:
    """Check that a table has a column, which another one can replace with an option of the command.

    Raises:
        Galaxy10Error: it has none of this name.
    """
    if name not in there:
        raise Galaxy10Error(
            f"{file} has no column {name}{did_you_mean(name, list(there))}; it has {', '.join(there)}: rename a "
            f"column, or type {option} NAME"
        )


@contextmanager
def readable_table(file: Path) -> Iterator[None]:
    """Raise Galaxy10Error for whatever the reading of a damaged table raises."""
    try:
        yield
    except Galaxy10Error:
        raise
    except Exception as error:  # pandas, pyarrow and astropy raise different errors for a damaged file
        reason = system_reason(error) or f"cannot be read as a table ({first_line(error)}); save it again"
        raise Galaxy10Error(f"{file} {reason}") from error


def as_columns(frame: pd.DataFrame, path_column: str, first: int = 0) -> tuple[pa.Table, dict[str, str]]:
    """Return lines of a table with `path`, `row` and the other columns, and the new name of each column.

    first: the number of the first line.
    """
    paths = frame.pop(path_column)
    columns: dict[str, Any] = {
        "path": pa.array([None if pd.isna(path) else decode_text(path) for path in paths], pa.string()),
        "row": pa.array(np.arange(first, first + len(frame))),
    }
    names = catalogue_column_names(map(str, frame.columns))
    for name in frame:
        values = frame[name]
        columns[names[str(name)]] = pa.Array.from_pandas(
            values.map(decode_text, na_action="ignore") if values.dtype == object else values
        )
    return pa.table(columns), names


def _table_unit(file: Path, paths: str) -> int:
    """Return the number of the table in a FITS file that has the column of paths; of the only table without it."""
    from astropy.io import fits

    with fits.open(file) as units:
        tables = [n for n, unit in enumerate(units) if isinstance(unit, fits.BinTableHDU | fits.TableHDU)]
        tables = [n for n in tables if not getattr(units[n], "is_image", False)]  # a compressed image
        having = [n for n in tables if paths in units[n].columns.names]
        if len(having) == 1 or (len(tables) == 1 and not having):
            return (having or tables)[0]
        listed = ", ".join(f"{n} {units[n].name or '(no name)'}" for n in tables)
        raise Galaxy10Error(
            f"{file} has {len(tables)} tables ({listed}), of which {len(having)} have a column {paths}; keep one, or "
            "type --path-column NAME"
        )


def read_frame(file: Path, paths: str = "path", label: str | None = None) -> pd.DataFrame:
    """Return a CSV, Parquet or FITS table with its columns as they are.

    Args:
        paths, label: the columns of paths and of labels, in which words such as NA are no missing values.

    Raises:
        Galaxy10Error: the file cannot be read.
    """
    with readable_table(file):
        return _read(file, paths, label)


def _read(file: Path, paths: str, label: str | None) -> pd.DataFrame:
    head = beginning(file)
    kind = table_format(head)
    if kind == "parquet":
        check_parquet(file, texts=True)
        return pd.read_parquet(file, dtype_backend="numpy_nullable")
    if kind == "text":
        return read_text_table(file, paths, label)
    from astropy.table import Table

    options = {"hdu": _table_unit(file, paths)} if kind == "fits" else {}
    table = Table.read(file, format=kind, **options)
    wide = [name for name in table.colnames if table[name].ndim > 1]
    table.remove_columns(wide)  # a catalogue has no image or spectrum per line
    for name in table.colnames:  # such as radians; to_pandas forgets units
        if name.strip().lower() in COORDINATES and table[name].unit is not None and table[name].dtype.kind == "f":
            table[name] = table[name].to("deg")
    frame: pd.DataFrame = table.to_pandas()
    for name in frame:
        if frame[name].dtype == object:  # FITS pads its strings with spaces
            frame[name] = frame[name].map(
                lambda x: decode_text(x).rstrip(),
                na_action="ignore",  # an empty string is a missing one
            )
    return frame
