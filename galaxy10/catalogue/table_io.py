"""Join Parquet parts into a Parquet, CSV or FITS file; only FITS needs the whole table in memory."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from galaxy10.errors import Galaxy10Error

_ROW_GROUP = 65_536
_FITS_NAME, _FITS_COLUMNS = 68, 999
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_NULL = int(np.iinfo(np.int64).min)


def write_tables(path: Path, suffix: str, parts: Sequence[Path], see: Callable[[pa.Table], None] | None = None) -> int:
    """Join Parquet files of one schema into one file, and return the number of rows.

    Args:
        suffix: the format, one of CATALOGUE_SUFFIXES.
        parts: at least one.
        see: called with every piece of the joined table, in order.
    """
    rows = 0

    def pieces() -> Iterator[pa.Table]:
        nonlocal rows
        for table in _pieces(parts):
            rows += len(table)
            if see is not None:
                see(table)
            yield table

    write = {".parquet": _write_parquet, ".csv": _write_csv, ".fits": _write_fits}[suffix]
    write(path, pq.read_schema(parts[0]), pieces())
    return rows


def _pieces(parts: Sequence[Path]) -> Iterator[pa.Table]:
    """Yield the rows in tables of equal length: the file does not depend on the lengths of the parts, nor memory."""
    schema = pq.read_schema(parts[0])
    kept = schema.empty_table()
    for part in parts:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(_ROW_GROUP):
                kept = pa.concat_tables([kept, pa.Table.from_batches([batch])])
                if len(kept) >= _ROW_GROUP:
                    yield kept.slice(0, _ROW_GROUP).combine_chunks()
                    kept = kept.slice(_ROW_GROUP).combine_chunks()
    yield kept.combine_chunks()


def _write_parquet(path: Path, schema: pa.Schema, pieces: Iterable[pa.Table]) -> None:
    with pq.ParquetWriter(path, schema) as writer:
        for table in pieces:
            writer.write_table(table, row_group_size=_ROW_GROUP)


def _write_csv(path: Path, schema: pa.Schema, pieces: Iterable[pa.Table]) -> None:
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    with pyarrow.csv.CSVWriter(path, _without_lists(schema.empty_table()).schema, write_options=options) as writer:
        for table in pieces:
            writer.write_table(_without_lists(table))


def _without_lists(table: pa.Table) -> pa.Table:
    """Return a table whose lists are JSON texts, such as `["Spiral", "Edge-on"]`: CSV and FITS have no lists."""
    for number, field in enumerate(table.schema):
        if any(is_one(field.type) for is_one in _LISTS):
            texts = [
                None if v is None else json.dumps(v, ensure_ascii=False, default=str) for v in table[number].to_pylist()
            ]
            table = table.set_column(number, field.name, pa.array(texts, pa.string()))
    return table


def check_columns(suffix: str, names: Sequence[str]) -> None:
    """Check that a format can hold these column names.

    Raises:
        Galaxy10Error: FITS, and a name is not printable ASCII of at most 68 characters, or there are more than 999.
    """
    if suffix != ".fits":
        return
    for name in names:
        if not (name.isascii() and name.isprintable() and len(name.replace("'", "''")) <= _FITS_NAME):
            raise Galaxy10Error(
                f"FITS cannot hold the column {name!r} (printable ASCII, at most {_FITS_NAME} characters); "
                "end -o in .parquet or .csv, or rename it"
            )
    if len(names) > _FITS_COLUMNS:
        raise Galaxy10Error(
            f"{len(names):,} columns are too many for FITS (at most {_FITS_COLUMNS}); end -o in .parquet or .csv"
        )


def _write_fits(path: Path, schema: pa.Schema, pieces: Iterable[pa.Table]) -> None:
    from astropy.table import Table

    table = _without_lists(pa.concat_tables(pieces))
    columns = {name: _fits_column(table[name]) for name in table.column_names}
    Table(columns).write(path, format="fits", overwrite=True)


def _fits_column(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column for FITS, which has no null: NaN, an empty string, or for integers the lowest as TNULL.

    Strings become UTF-8 bytes of one length.
    """
    if pa.types.is_integer(column.type):
        if not column.null_count:
            values: np.ndarray = column.to_numpy()
            return values.astype(np.int16) if values.dtype == np.int8 else values  # astropy writes int8 as logical
        if _fits_with_null(column):
            return _masked(column.cast(pa.int64()))
    elif pa.types.is_boolean(column.type) or pa.types.is_floating(column.type):
        if column.null_count and not pa.types.is_floating(column.type):
            column = column.cast(pa.float64())
        numbers: np.ndarray = column.to_numpy()
        return numbers
    texts = [b"" if value is None else str(value).encode() for value in column.to_pylist()]
    return np.array(texts, dtype=f"S{max([1, *map(len, texts)])}")


def _fits_with_null(column: pa.ChunkedArray) -> bool:
    """Return whether no integer is the lowest 64-bit one, which marks nulls."""
    ends = pc.min_max(column).as_py()
    return ends["min"] is None or (ends["min"] > _NULL and ends["max"] <= np.iinfo(np.int64).max)


def _masked(column: pa.ChunkedArray) -> np.ma.MaskedArray:
    from astropy.table import MaskedColumn

    missing = column.is_null().to_numpy()
    masked: np.ma.MaskedArray = MaskedColumn(column.fill_null(_NULL).to_numpy(), mask=missing, fill_value=_NULL)
    return masked
