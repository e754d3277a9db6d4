"""What a user points at, as one long row of pictures: files, folders, globs, HDF5 files, tables of paths."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

import numpy as np
import pyarrow as pa

from galaxy10.data.images import SUFFIXES, Picture
from galaxy10.data.input_files import Files, PathTable, Source, Survey
from galaxy10.data.path_tables import is_table
from galaxy10.errors import Galaxy10Error, first_line

_HDF5_SUFFIXES = (".h5", ".hdf5", ".he5")


class Inputs:
    """All pictures of all inputs, numbered through in an order that depends on what is there alone.

    columns: the sources' tables on top of each other; what a source does not have is null.
    """

    def __init__(self, sources: Sequence[Source]):
        self.sources = list(sources)
        tables = [source.columns for source in self.sources]
        try:
            self.columns = pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise Galaxy10Error(
                f"the inputs' columns do not fit together ({first_line(error)}); give them one at a time"
            ) from error
        self._starts = np.cumsum([0, *(len(table) for table in tables)])

    def __len__(self) -> int:
        return len(self.columns)

    def read(self, index: int) -> Picture:
        """The picture of one line; raises ImageReadError."""
        source = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.sources[source].read(index - int(self._starts[source]))

    def digest(self) -> str:
        """A name for which pictures these are, in which order, and what comes along: an interrupted catalogue goes on
        with no other, and a finished one is not taken for another's."""
        digest = hashlib.sha256(str(self.columns.schema.remove_metadata()).encode())
        for batch in self.columns.to_batches(max_chunksize=65536):
            for column in batch.columns:
                digest.update(_plain_bytes(column))
        for source in self.sources:
            digest.update(source.fingerprint())
        return digest.hexdigest()[:16]


def _plain_bytes(column: pa.Array) -> bytes:
    """The values of a column, whatever lies in memory where there is none."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return repr(column.to_pylist()).encode()
    missing = column.is_null().to_numpy(zero_copy_only=False)
    return missing.tobytes() + column.fill_null(0).to_numpy(zero_copy_only=False).tobytes()


def find_inputs(words: Sequence[str], stretch: str = "auto", path_column: str | None = None) -> Inputs:
    """What the words on a command line stand for.

    Of folders, everything below them whose suffix is a picture's counts, in order of its path; a file named by itself
    counts whatever its suffix. Named twice, it counts once.

    Raises:
        Galaxy10Error: a word that stands for nothing, a file that cannot be opened as what it is, no picture at all.
    """
    sources: list[Source] = []
    loose: dict[str, None] = {}

    def close_loose() -> None:
        if loose:
            sources.append(Files(list(loose), stretch))
            loose.clear()

    seen: set[str] = set()
    for word in words:
        for path in _expanded(word):
            if path.is_dir():
                new = [name for name in pictures_below(path) if name not in seen]
            elif path.suffix.lower() in _HDF5_SUFFIXES:
                close_loose()
                sources.append(Survey(path, stretch))
                continue
            elif is_table(path):
                close_loose()
                sources.append(PathTable(path, path_column, stretch))
                continue
            else:
                new = [str(path)] if str(path) not in seen else []
            seen.update(new)
            loose.update(dict.fromkeys(new))
    close_loose()
    inputs = Inputs(sources) if sources else None
    if not inputs or not len(inputs):
        raise Galaxy10Error(f"there is no picture in {', '.join(words)}; in folders these count: {' '.join(SUFFIXES)}")
    return inputs


def _expanded(word: str) -> list[Path]:
    if os.path.lexists(word):
        return [Path(word)]
    found = sorted(glob(word, recursive=True)) if has_magic(word) else []
    if not found:
        raise Galaxy10Error(f"{word} does not exist; give files, folders, globs, an HDF5 file, or a table of paths")
    return [Path(path) for path in found]


def pictures_below(folder: Path) -> Iterator[str]:
    """The files below a folder that have a picture's suffix, sorted, hidden ones left out; links are followed, but into
    no folder twice.

    Raises:
        Galaxy10Error: a folder that cannot be listed: its pictures would be missing without a word.
    """

    def refuse(error: OSError) -> None:
        raise Galaxy10Error(
            f"{error.filename} cannot be listed ({error.strerror}); change its permissions, or give what lies beside it"
        ) from error

    seen = set()
    for where, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        try:
            about = os.stat(where)
        except OSError as error:  # gone meanwhile
            refuse(error)
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(where, name)


def shard_of(total: int, batch_size: int, shard: tuple[int, int]) -> range:
    """Which pictures shard (i, n) works on: whole batches, which are the same however many shards there are."""
    index, number = shard
    batches = -(-total // batch_size)
    return range(batches * index // number * batch_size, min(total, batches * (index + 1) // number * batch_size))
