"""Tables of images that stay in their file: windows of them are read when they are needed."""

import threading
from typing import Protocol

import numpy as np
import pyarrow as pa

_KEPT = 4  # blocks in memory: threads read images ahead of the lines that are written


class Lines(Protocol):
    """N lines of columns: a pyarrow.Table, or a LazyTable."""

    @property
    def schema(self) -> pa.Schema:
        """Return names and types of the columns."""
        ...

    def __len__(self) -> int: ...

    def slice(self, offset: int = 0, length: int | None = None) -> pa.Table:
        """Return the lines from `offset` on; length: how many; None: all that follow."""
        ...


class Blocks(Protocol):
    """The blocks of a table in a file.

    Attributes:
        schema: names and types of the columns, the same in every block.
        starts: (K + 1,) the number of the first line of each of K blocks, then the number of all lines.
    """

    schema: pa.Schema
    starts: np.ndarray

    def load(self, number: int) -> pa.Table:
        """Read one block. Blocks in ascending order are read fastest.

        Raises:
            Galaxy10Error: the file cannot be read, or is not what it was.
        """
        ...

    def content_hash(self) -> bytes:
        """Return a hash of the file's content; that of a copy is the same."""
        ...


class LazyTable:
    """A table whose blocks are read when they are needed; a few of them are kept. Thread-safe."""

    def __init__(self, blocks: Blocks):
        self.blocks, self.schema = blocks, blocks.schema
        self._kept: dict[int, pa.Table] = {}  # the last ones used, in that order
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self.blocks.starts[-1])

    def slice(self, offset: int = 0, length: int | None = None) -> pa.Table:
        """Return the lines from `offset` on; length: how many; None: all that follow."""
        starts = self.blocks.starts
        stop = len(self) if length is None else min(len(self), offset + length)
        tables = [self.schema.empty_table()]
        number = int(np.searchsorted(starts, offset, side="right")) - 1
        while offset < stop:
            first, end = int(starts[number]), min(stop, int(starts[number + 1]))
            tables.append(self._block(number).slice(offset - first, end - offset))
            offset, number = end, number + 1
        return pa.concat_tables(tables)

    def _block(self, number: int) -> pa.Table:
        with self._lock:
            table = self._kept.pop(number, None)
            if table is None:
                table = self.blocks.load(number)
            self._kept[number] = table
            if len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
            return table
