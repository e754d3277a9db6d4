"""The INPUTS of a command as one sequence of images: files, folders, globs, HDF5 files, tables of paths."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

import numpy as np
import pyarrow as pa

from galaxy10.data.file_sizes import add_digests, sizes_digest
from galaxy10.data.fits_images import parse_hdu
from galaxy10.data.galaxy_image import GalaxyImage
from galaxy10.data.images import SUFFIXES
from galaxy10.data.input_files import HDF5Images, ImageFiles, ImageSource, PathTable
from galaxy10.data.lines import LazyTable, Lines
from galaxy10.data.table_kinds import is_hdf5, is_table
from galaxy10.errors import Galaxy10Error, first_line

_WINDOW = 65_536  # lines in memory at once


class Inputs:
    """The images of all inputs, in an order that depends only on the inputs.

    Attributes:
        schema: the columns of all sources; null where a source does not have a column.

    Raises:
        Galaxy10Error: columns of the sources have one name and different types.
    """

    def __init__(self, sources: Sequence[ImageSource]):
        self.sources = list(sources)
        try:
            schemas = [source.columns.schema for source in self.sources]
            self.schema = pa.unify_schemas(schemas, promote_options="permissive").remove_metadata()
        except pa.ArrowException as error:
            raise Galaxy10Error(
                f"the inputs' columns do not fit together ({first_line(error)}); give the inputs one at a time"
            ) from error
        self._starts = np.cumsum([0, *(len(source.columns) for source in self.sources)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def columns(self) -> pa.Table:
        """Return all lines, in memory."""
        return self.lines(0, len(self))

    def lines(self, first: int, stop: int) -> pa.Table:
        """Return the columns of some lines.

        Raises:
            Galaxy10Error: the file that they are in cannot be read.
        """
        found = [self.sources[k].columns.slice(start, end - start) for k, start, end in self._within(first, stop)]
        return pa.concat_tables([self.schema.empty_table(), *found], promote_options="permissive").combine_chunks()

    def read(self, index: int) -> GalaxyImage:
        """Return the image of one line; raise ImageReadError if it cannot be read."""
        number, place, _ = next(self._within(index, index + 1))
        return self.sources[number].read(place)

    def digest(self) -> str:
        """Return a hash of the lines, their order and their columns, by which a catalogue recognises its inputs.

        It takes one pass over the lists, and reads no image file; see file_sizes.
        """
        digest = hashlib.sha256(str(self.schema).encode())
        for source in self.sources:
            digest.update(len(source.columns).to_bytes(8, "little"))
            if isinstance(source.columns, LazyTable):
                digest.update(source.columns.blocks.content_hash())
            else:
                digest.update(_hash_of_values(source.columns))
            digest.update(source.fingerprint())
        return digest.hexdigest()[:16]

    def file_sizes(self, images: range) -> str:
        """Return a hash of the sizes of some images' files; those of all shards make the whole's (add_digests).

        So a shard need not look for the files of the others.
        """
        windows = (range(s, min(s + _WINDOW, images.stop)) for s in range(images.start, images.stop, _WINDOW))
        digests = [
            sizes_digest(int(self._starts[k]) + start, self.sources[k].files(start, end))
            for window in windows
            for k, start, end in self._within(window.start, window.stop)
        ]
        return add_digests(digests)

    def _within(self, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield the number of each source that some lines are in, and the first and the end of its own lines."""
        while first < stop:
            number = int(np.searchsorted(self._starts, first, side="right")) - 1
            begin, end = int(self._starts[number]), min(stop, int(self._starts[number + 1]))
            yield number, first - begin, end - begin
            first = end


def _hash_of_values(lines: Lines) -> bytes:
    digest = hashlib.sha256()
    for batch in lines.slice().to_batches(max_chunksize=_WINDOW):
        for column in batch.columns:
            digest.update(_plain_bytes(column))
    return digest.digest()


def _plain_bytes(column: pa.Array) -> bytes:
    """Return the values of a column as bytes, independent of the memory behind nulls."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return repr(column.to_pylist()).encode()
    missing = column.is_null().to_numpy(zero_copy_only=False)
    values: np.ndarray = column.fill_null(0).to_numpy(zero_copy_only=False)
    return bytes(missing.tobytes()) + values.tobytes()


def find_inputs(
    arguments: Sequence[str], stretch: str = "auto", path_column: str | None = None, hdu: str | None = None
) -> Inputs:
    """Return the inputs that the arguments of a command name.

    A folder stands for all files below it with the suffix of an image, in order of their paths; a file that is named
    itself may have any suffix. A file that is named twice counts once.

    Raises:
        Galaxy10Error: an argument matches nothing, a file cannot be opened, or there is no image.
    """
    images = parse_hdu(hdu)
    sources: list[ImageSource] = []
    loose: list[str] = []
    seen: set[str] = set()

    def add(names: Iterable[str]) -> None:
        for name in names:
            if name not in seen:
                seen.add(name)
                loose.append(name)

    def close_loose() -> None:
        if loose:
            sources.append(ImageFiles(loose, stretch, images))
            loose.clear()

    for argument in arguments:
        for path in _expanded(argument):
            if path.is_dir():
                add(images_below(path))
            elif is_hdf5(path):
                close_loose()
                sources.append(HDF5Images(path, stretch))
            elif is_table(path):
                close_loose()
                sources.append(PathTable(path, path_column, stretch, hdu=images))
            else:
                add([str(path)])
    close_loose()
    inputs = Inputs(sources) if sources else None
    if not inputs or not len(inputs):
        raise Galaxy10Error(
            f"there is no image in {', '.join(arguments)}; in folders, use the suffixes {' '.join(SUFFIXES)}"
        )
    return inputs


def _expanded(argument: str) -> list[Path]:
    if os.path.lexists(argument):
        return [Path(argument)]
    found = sorted(glob(argument, recursive=True)) if has_magic(argument) else []
    if not found:
        raise Galaxy10Error(f"{argument} does not exist; give files, folders, globs, an HDF5 file, or a table of paths")
    return [Path(path) for path in found]


def images_below(folder: Path, changed: dict[str, int] | None = None) -> Iterator[str]:
    """Yield the files below a folder with the suffix of an image, sorted, without hidden ones.

    Links are followed, but no folder is entered twice.

    Args:
        changed: gets the modification time of each folder, ns: it changes when files are added or removed.

    Raises:
        Galaxy10Error: a folder cannot be listed, so that its images would be missing without notice.
    """

    def refuse(error: OSError) -> None:
        raise Galaxy10Error(
            f"{error.filename} cannot be listed ({error.strerror}); change its permissions, or give the other folders"
        ) from error

    seen = set()
    for where, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        try:
            about = os.stat(where)
        except OSError as error:  # deleted in the meantime
            refuse(error)
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        if changed is not None:
            changed[where] = about.st_mtime_ns
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(where, name)


def shard_of(total: int, batch_size: int, shard: tuple[int, int]) -> range:
    """Return the images of shard (i, n), in whole batches that are the same for every number of shards."""
    index, number = shard
    batches = -(-total // batch_size)
    return range(batches * index // number * batch_size, min(total, batches * (index + 1) // number * batch_size))
