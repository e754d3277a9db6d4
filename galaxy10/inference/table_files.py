"""Tables as files of three kinds, joined from Parquet parts; all but FITS are never in memory as a whole."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

SUFFIXES = (".parquet", ".csv", ".fits")
_ROW_GROUP = 65_536


def write_tables(path: Path, suffix: str, parts: Sequence[Path]) -> int:
    """Join Parquet files of one schema into one file; the number of rows.

    suffix: its kind, one of SUFFIXES.
    """
    {".parquet": _write_parquet, ".csv": _write_csv, ".fits": _write_fits}[suffix](path, parts)
    return sum(pq.read_metadata(part).num_rows for part in parts)


def _batches(parts: Sequence[Path]) -> Iterator[pa.Table]:
    """The parts' rows in tables of equal length, whatever the parts' own: the file does not tell how it was made."""
    kept: list[pa.Table] = []
    for part in parts:
        kept.append(pq.read_table(part))
        while sum(map(len, kept)) >= _ROW_GROUP:
            table = pa.concat_tables(kept).combine_chunks()
            yield table.slice(0, _ROW_GROUP)
            kept = [table.slice(_ROW_GROUP)]
    yield pa.concat_tables(kept).combine_chunks()


def _write_parquet(path: Path, parts: Sequence[Path]) -> None:
    with pq.ParquetWriter(path, pq.read_schema(parts[0])) as writer:
        for table in _batches(parts):
            writer.write_table(table, row_group_size=_ROW_GROUP)


def _write_csv(path: Path, parts: Sequence[Path]) -> None:
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    with pyarrow.csv.CSVWriter(path, pq.read_schema(parts[0]), write_options=options) as writer:
        for table in _batches(parts):
            writer.write_table(table)


def _write_fits(path: Path, parts: Sequence[Path]) -> None:
    from astropy.table import Table

    table = pa.concat_tables([pq.read_table(part) for part in parts])
    columns = {name: _fits_column(table[name]) for name in table.column_names}
    Table(columns).write(path, format="fits", overwrite=True)


def _fits_column(column: pa.ChunkedArray) -> np.ndarray:
    """FITS has no null: NaN or an empty string; its strings are bytes of one length, here UTF-8."""
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type) or pa.types.is_floating(column.type):
        if column.null_count and not pa.types.is_floating(column.type):
            column = column.cast(pa.float64())
        return column.to_numpy()
    texts = [b"" if value is None else str(value).encode() for value in column.to_pylist()]
    return np.array(texts, dtype=f"S{max([1, *map(len, texts)])}")
