"""A large table of text, read block by block after one pass over the file that finds its blocks and column types."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa

from galaxy10.data.path_tables import as_columns, check_column, readable_table
from galaxy10.data.text_columns import ColumnType
from galaxy10.data.text_tables import header_options, opened_text, text_encoding
from galaxy10.progress import progress

_BLOCK_BYTES = 8 * 2**20
_OPTIONS: dict[str, Any] = {"skipinitialspace": True, "low_memory": False}


class NoBlocks(Exception):
    """A table cannot be read in blocks: cells may have line breaks inside, or lines more cells than the header."""


class TextBlocks:
    """The blocks of a text file. Values and types are those of galaxy10.data.text_tables.read_text_table.

    Args:
        paths: the column of paths, which becomes `path`; `row`, from 0, follows it.

    Attributes:
        source_names: the columns of the file.

    Raises:
        NoBlocks: the file has to be read as a whole.
        Galaxy10Error: it has no column of paths.
    """

    def __init__(self, file: Path, paths: str):
        self._file, self._paths = file, paths
        encoding = text_encoding(file)
        self._options = {**_OPTIONS, "encoding": encoding, **header_options(file, paths, encoding)}
        self._stack = ExitStack()  # closes the file when this object goes
        self._opened = self._stack.enter_context(opened_text(file))
        head = self._header(self._options.pop("skiprows"))
        self._hash, offsets, numbers = hashlib.sha256(head), [len(head)], []
        types: dict[str, ColumnType] = {}
        with progress(f"reading {file.name}", None, unit="MB") as show:
            for block in _cut(self._opened):
                self._hash.update(block)
                if _has_open_quotes(block) or block.count(b"\r") != block.count(b"\r\n"):
                    raise NoBlocks("a cell has a line break or a single quotation mark")
                if not types:
                    self._options["names"] = self._names(head, block)
                    check_column(file, paths, self._options["names"], "--path-column")
                    types = {name: ColumnType(name in (paths, "group")) for name in self._options["names"]}
                numbers.append(self._inspect(block, types))
                offsets.append(offsets[-1] + len(block))
                show(offsets[-1] // 10**6)
        if not types:
            raise NoBlocks("there is no line")
        self._types, self._offsets, self.starts = types, offsets, np.cumsum([0, *numbers])
        self.source_names = list(types)
        self.schema = self._table(0).schema

    def _header(self, comments: int) -> bytes:
        """Read comments and, unless it is one of them, the line of the header."""
        head = b"".join(self._opened.readline() for _ in range(comments))
        if "names" not in self._options:
            line = self._opened.readline()
            while line and not line.strip(b" \t\r\n\xef\xbb\xbf"):  # blank lines are skipped, as by pandas
                head, line = head + line, self._opened.readline()
            head += line
        return head

    def load(self, number: int) -> pa.Table:
        """Read one block."""
        with readable_table(self._file):
            return self._table(number).cast(self.schema)

    def content_hash(self) -> bytes:
        """Return a hash of the text, unpacked."""
        return self._hash.digest()

    def _table(self, number: int) -> pa.Table:
        self._opened.seek(self._offsets[number])
        block = self._opened.read(self._offsets[number + 1] - self._offsets[number])
        frame = self._frame(block, dtype_backend="numpy_nullable")
        if len(frame) != self.starts[number + 1] - self.starts[number]:
            raise ValueError("it was changed in the meantime")
        texts = self._texts(block, [name for name, kind in self._types.items() if kind.needs_texts()])
        columns = {name: kind.values(frame[name], texts.get(name)) for name, kind in self._types.items()}
        return as_columns(pd.DataFrame(columns), self._paths, int(self.starts[number]))[0]

    def _names(self, head: bytes, block: bytes) -> list[str]:
        """Return the names of the columns, as pandas reads them."""
        if "names" in self._options:
            return list(self._options["names"])
        comments = head.count(b"\n") - 1
        return list(self._parsed(head + block, skiprows=comments, nrows=1).columns)

    def _frame(self, block: bytes, **more: Any) -> pd.DataFrame:
        return self._parsed(block, header=None, **more)

    def _parsed(self, text: bytes, **more: Any) -> pd.DataFrame:
        frame: pd.DataFrame = pd.read_csv(BytesIO(text), **self._options, **more)
        if not isinstance(frame.index, pd.RangeIndex):
            raise NoBlocks("a line has more cells than the header")
        return frame

    def _texts(self, block: bytes, names: list[str]) -> pd.DataFrame:
        """Return columns as they are written."""
        options = {"dtype": "string", "keep_default_na": False, "na_values": [""]}
        return self._frame(block, **options)[names] if names else pd.DataFrame()

    def _inspect(self, block: bytes, types: dict[str, ColumnType]) -> int:
        """Learn the types of the columns from a block, and return its number of lines."""
        separator = self._options["sep"]
        number = _lines(block, separator)
        unsettled = [name for name, kind in types.items() if not kind.is_settled(separator)]
        if unsettled:
            frame = self._frame(block, dtype_backend="numpy_nullable")[unsettled]
            if len(frame) != number:
                raise NoBlocks("lines are not what they seem")
            doubtful = separator != "," or _may_have_leading_zeros(block)
            texts = self._texts(block, unsettled if doubtful else [])
            for name in unsettled:
                types[name].see(frame[name], texts.get(name), separator)
        return number


def _cut(opened: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a file in blocks of whole lines."""
    rest = [b""]
    while piece := opened.read(_BLOCK_BYTES):
        end = piece.rfind(b"\n") + 1
        if end:
            yield b"".join([*rest, piece[:end]])
            rest = []
        rest.append(piece[end:])
    if last := b"".join(rest):
        yield last


def _has_open_quotes(block: bytes) -> bool:
    """Return whether a line has an odd number of quotation marks: a cell with a line break, or a single mark."""
    if b'"' not in block:
        return False
    values = np.frombuffer(block, np.uint8)
    firsts = np.concatenate([[0], np.flatnonzero(values == ord("\n")) + 1])
    firsts = firsts[firsts < len(values)]
    return bool((np.add.reduceat(values == ord('"'), firsts, dtype=np.int64) % 2).any())


def _lines(block: bytes, separator: str) -> int:
    """Return the number of lines that are not blank."""
    blanks = rb"[ \r]" if separator == "\t" else rb"[ \t\r]"
    blank = len(re.findall(rb"(?m)^" + blanks + rb"*(?:\n|\Z)", block))
    lines = block.count(b"\n") + 1  # the last one is empty, thus blank, if the block ends in a line break
    return lines - blank


def _may_have_leading_zeros(block: bytes) -> bool:
    return re.search(rb"[\s,\"+-]0\d+[\s,\"]", b"\n" + block) is not None
