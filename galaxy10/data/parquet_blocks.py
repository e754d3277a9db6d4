"""A large Parquet file of image paths, read block by block."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from galaxy10.data.text import decode_text
from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.foreign_files import check_parquet

_ROWS = 65_536  # of a block
_BUFFER = 2**20  # bytes: without it, a column of a whole row group is in memory
_TEXTS = (pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)


class ParquetBlocks:
    """The blocks of a Parquet file, in columns of new names.

    Texts are pyarrow's `string`, dictionaries are decoded, all other types stay as they are.

    Args:
        path_column: the column that becomes `path`; `row`, from 0, follows it.
        names: the new names of the other columns.
    """

    def __init__(self, file: Path, path_column: str, names: dict[str, str]):
        check_parquet(file)
        self._file, self._source = file, [path_column, *names]
        self._names = ["path", *names.values()]
        about = pq.read_metadata(file)
        rows = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        self._blocks = [(g, n) for g, number in enumerate(rows) for n in range(-(-number // _ROWS))]
        lengths = [min(_ROWS, rows[group] - n * _ROWS) for group, n in self._blocks]
        self.starts = np.cumsum([0, *lengths])
        self._next = 0
        self._reading: Iterator[pa.RecordBatch] = iter(())
        given = pq.read_schema(file)
        empty = pa.schema([given.field(name) for name in self._source]).empty_table()
        self.schema = self._renamed(empty, 0).schema

    def load(self, number: int) -> pa.Table:
        """Read one block; within a row group, those before it are skipped by reading them."""
        try:
            group, place = self._blocks[number]
            if number != self._next:
                self._reading = self._from(group)
                for _ in range(place):
                    next(self._reading)
            elif place == 0:
                self._reading = self._from(group)
            batch = next(self._reading)
            batch.validate(full=True)  # texts are UTF-8
            if len(batch) != self.starts[number + 1] - self.starts[number]:
                raise ValueError("other rows than its header says")
            table = self._renamed(pa.Table.from_batches([batch]).select(self._source), int(self.starts[number]))
        except (OSError, ValueError, KeyError, StopIteration, pa.ArrowException) as error:
            self._next = -1
            raise Galaxy10Error(
                f"{self._file} cannot be read as a table ({first_line(error)}); save it again"
            ) from error
        self._next = number + 1
        return table

    def content_hash(self) -> bytes:
        """Return a hash of the file's content."""
        with self._file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def _from(self, group: int) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self._file, buffer_size=_BUFFER, pre_buffer=False) as file:
            yield from file.iter_batches(_ROWS, row_groups=[group], columns=self._source, use_threads=False)

    def _renamed(self, table: pa.Table, first: int) -> pa.Table:
        path, *others = (_plain(table[name]) for name in self._source)
        path = path if pa.types.is_string(path.type) else _decoded(path)
        rows = pa.array(np.arange(first, first + len(table)))
        return pa.table([path, rows, *others], names=[self._names[0], "row", *self._names[1:]])


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if any(is_one(column.type) for is_one in _TEXTS):
        return column.cast(pa.string())
    return _decoded(column) if any(is_one(column.type) for is_one in _BYTES) else column


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    texts: list[Any] = [None if value is None else decode_text(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def parquet_columns(file: Path) -> list[str]:
    """Return the names of the columns of a Parquet file; an index that pandas has stored is none."""
    schema = pq.read_schema(file)
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in schema.names if name not in index]


def parquet_rows(file: Path) -> int:
    """Return the number of rows of a Parquet file."""
    return int(pq.read_metadata(file).num_rows)
