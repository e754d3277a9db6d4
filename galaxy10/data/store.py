"""The store: the images of an HDF5 file as a memory-mapped array, with a small table.

The published file has chunks of (555, 16, 16, 1): one image touches 768 of them, so that reading by index gives 2
images/s. The store is one plain uint8 array (N, H, W, 3), from which a batch is a single gather.
"""

import errno
import hashlib
import json
import logging
import mmap
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from filelock import FileLock

from galaxy10.data.hdf5 import SourceFile
from galaxy10.data.hdf5_chunks import read_rows
from galaxy10.data.hdf5_file import READ_ERRORS, hdf5_reason, open_hdf5
from galaxy10.data.quality import image_quality
from galaxy10.data.votes import votes_of
from galaxy10.errors import Galaxy10Error, first_line, system_reason
from galaxy10.progress import progress
from galaxy10.system import usable_cpus

logger = logging.getLogger(__name__)

FORMAT = 2  # part of the key: a store of another layout is rebuilt; 2: exact channel statistics
SLAB_BYTES = 128 * 2**20  # read at once; two slabs are in memory, and the peak is far below 1 GiB
_HASHED_ENDS = 64 * 2**10

MOMENTS = ("mean_0", "mean_1", "mean_2", "square_0", "square_1", "square_2")


@dataclass(frozen=True)
class Store:
    """A converted file.

    Attributes:
        images: (N, H, W, 3) uint8, memory-mapped read-only and shared between processes.
        table: row, label, ra, dec, redshift, pxscale, pixel_hash, blank, quality, MOMENTS, and group and votes
            (votes.votes_of) if the file has them: one line per image, in file order.
        content: a hash of all pixels, of the numbers in `ans`, and of the votes, equal for all copies of the file.
    """

    path: Path
    images: np.ndarray
    table: pd.DataFrame
    content: str

    def __len__(self) -> int:
        return len(self.images)


def file_identity(path: Path) -> str:
    """Return a hash of a file's size, modification time, and first and last 64 KiB."""
    stat = path.stat()
    digest = hashlib.sha256(f"{FORMAT} {stat.st_size} {stat.st_mtime_ns}".encode())
    with path.open("rb") as file:
        digest.update(file.read(_HASHED_ENDS))
        file.seek(max(0, stat.st_size - _HASHED_ENDS))
        digest.update(file.read(_HASHED_ENDS))
    return digest.hexdigest()


def store_directory(source: Path, store_dir: Path | None, data_dir: Path) -> Path:
    """Return the folder of a file's stores: store_dir, else beside the file if writable, else data_dir."""
    if store_dir is not None:
        return Path(store_dir)
    return source.parent if _is_writable(source.parent) else Path(data_dir)


def store_of_run(source: Path, settings: dict[str, Any]) -> Path:
    """Return the folder of the stores of a trained run's file; the run's store_dir may be of another machine.

    Args:
        settings: the `data` section of the run's configuration.
    """
    own = Path(settings["store_dir"]) if settings.get("store_dir") else None
    return store_directory(source, own if own and own.is_dir() else None, Path(settings.get("dir") or "data"))


def _is_writable(folder: Path) -> bool:
    """Return whether a folder is writable; for root, which may write anywhere, whether its mode allows it."""
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)


def open_store(source: SourceFile, directory: Path) -> Store:
    """Open the store of a checked file; build it if it does not exist yet.

    Of several processes at once, also on a shared file system, one builds and the others wait. A killed process leaves
    a folder under another name, which the next build deletes.

    Raises:
        Galaxy10Error: a chunk is damaged, the disk is full, or the folder cannot be written.
    """
    identity = file_identity(source.path)
    if source.parts:  # files that change while the one that names them does not
        identity = hashlib.sha256("".join([identity, *map(file_identity, source.parts)]).encode()).hexdigest()
    target = directory / f"{source.path.stem}-{identity[:12]}.store"
    if not target.exists():
        logger.debug("building the store %s", target)
        _build_locked(source, target)
    store = _load(target, source)
    logger.debug("opened the store %s: %d images of %s", target, len(store), source.path)
    return store


def _build_locked(source: SourceFile, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if target.exists():
                return
            for leftover in target.parent.glob(f"{target.name}.part*"):
                shutil.rmtree(leftover, ignore_errors=True)
            part = target.with_name(f"{target.name}.part{os.getpid()}")
            try:
                _build(source, part)
                os.rename(part, target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise _cannot_write(source, target, error) from error


def _cannot_write(source: SourceFile, target: Path, error: OSError) -> Galaxy10Error:
    need = source.num_images * source.height * source.width * 3 / 2**30
    if error.errno == errno.ENOLCK:
        return Galaxy10Error(
            f"the file system of {target.parent} has no locks; set data.store_dir to a folder on a local disk with "
            f"{need:.2f} GiB free"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Galaxy10Error(
            f"no space left in {target.parent} for the store ({need:.2f} GiB needed); "
            "free some, or set data.store_dir to a folder on another disk"
        )
    return Galaxy10Error(
        f"the store cannot be written in {target.parent} ({first_line(error)}); "
        f"set data.store_dir to a writable folder with {need:.2f} GiB free"
    )


def _build(source: SourceFile, part: Path) -> None:
    part.mkdir()
    array_path = part / "images.npy"
    offset = _allocate(array_path, (source.num_images, source.height, source.width, 3))
    image_bytes = source.height * source.width * 3
    hashes = np.empty(source.num_images, dtype="<u8")
    moments = np.empty((source.num_images, len(MOMENTS)))
    blank = np.empty(source.num_images, dtype=bool)
    qualities = np.empty(source.num_images, dtype=object)
    # Plain writes and no memory map, whose pages would count as this process's memory.
    reporting = progress("reading images", source.num_images)
    with array_path.open("r+b") as out, ThreadPoolExecutor(usable_cpus()) as pool, reporting as update:
        for rows, pixels in _read_ahead(_slabs(source, array_path, pool)):
            out.seek(offset + rows.start * image_bytes)
            writing = pool.submit(out.write, pixels.data)
            for i, about in zip(range(rows.start, rows.stop), pool.map(_describe, pixels), strict=True):
                hashes[i], moments[i], blank[i], qualities[i] = about
            writing.result()
            update(rows.stop)
    table = source.table.assign(pixel_hash=hashes.astype(np.int64), **dict(zip(MOMENTS, moments.T, strict=True)))
    table["blank"], table["quality"] = blank, qualities
    table.to_parquet(part / "table.parquet", index=False)
    content = hashlib.sha256(hashes.tobytes() + source.label_ids.astype("<i8").tobytes())
    if (votes := votes_of(source.table)) is not None:
        content.update(votes.astype("<f8").tobytes())
    described = {"format": FORMAT, "content": content.hexdigest(), "source": str(source.path)}
    (part / "store.json").write_text(json.dumps(described))
    for path in part.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _describe(image: np.ndarray) -> tuple[int, np.ndarray, bool, str]:
    """Return hash, moments (6,), blankness and quality of one image, mostly without holding the GIL."""
    return pixel_hash(image), _moments(image), bool(image.min() == image.max()), image_quality(image)


def pixel_hash(image: np.ndarray) -> int:
    """Return a hash of the pixels of an image (H, W, 3) uint8, 0 to 2**64 − 1."""
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest(), "little")


def _moments(image: np.ndarray) -> np.ndarray:
    """Return the mean of each channel and of its square, (6,) float64, on the 0–255 scale.

    image: (H, W, 3) uint8, H below 66,000: whole numbers, exact on every machine.
    """
    height, width, _ = image.shape
    rows = image.reshape(height, width * 3)
    columns = [rows.sum(axis=0, dtype=np.uint32), np.square(rows, dtype=np.uint16).sum(axis=0, dtype=np.uint32)]
    sums = np.concatenate([of_column.reshape(width, 3).sum(axis=0, dtype=np.uint64) for of_column in columns])
    moments: np.ndarray = sums / (height * width)
    return moments


def channel_statistics(table: pd.DataFrame) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel, (3,) and (3,), 0–1, over the images of a store's table."""
    mean = table[list(MOMENTS[:3])].to_numpy().mean(axis=0)
    square = table[list(MOMENTS[3:])].to_numpy().mean(axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 1e-6))
    return (mean / 255).round(6).tolist(), (std / 255).round(6).tolist()


def _allocate(path: Path, shape: tuple[int, ...]) -> int:
    """Reserve the array on disk, so that a full disk is found first; return the offset of the first pixel."""
    offset = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).offset
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return offset


def _slabs(source: SourceFile, array_path: Path, pool: Executor) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the pixels in file order, (rows, pixels (n, H, W, 3)); each chunk of the file is decompressed once."""
    image_bytes = source.height * source.width * 3
    chunk_rows = source.chunks[0] if source.chunks else 1
    tall = chunk_rows * image_bytes > 2 * SLAB_BYTES
    step = max(1, SLAB_BYTES // (image_bytes if tall else image_bytes * chunk_rows)) * (1 if tall else chunk_rows)
    with open_hdf5(source.path) as file:
        images = file["images"]
        if tall:
            _copy_chunk_by_chunk(images, array_path, source)
        for start in range(0, source.num_images, step):
            rows = slice(start, min(start + step, source.num_images))
            if tall:
                yield rows, np.array(np.load(array_path, mmap_mode="r")[rows])
            else:
                yield rows, _read_slab(images, rows, source, pool)


def _read_ahead(slabs: Iterator[tuple[slice, np.ndarray]]) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield slabs, and decompress the next one in a thread while this one is hashed and written."""
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(next, slabs, None)
        while (slab := ahead.result()) is not None:
            ahead = reader.submit(next, slabs, None)
            yield slab


def _copy_chunk_by_chunk(images: h5py.Dataset, array_path: Path, source: SourceFile) -> None:
    """Copy chunks that extend through (nearly) the whole file, whose rows would not fit into memory."""
    for selection in images.iter_chunks():
        pixels = _read_chunk(images, selection, source)
        np.load(array_path, mmap_mode="r+")[selection] = pixels  # opened anew, so that no map grows


def _read_slab(images: h5py.Dataset, rows: slice, source: SourceFile, pool: Executor) -> np.ndarray:
    try:
        return read_rows(images, rows, pool)
    except READ_ERRORS as error:
        raise _cannot_read(rows, source, error) from error


def _read_chunk(images: h5py.Dataset, selection: tuple[slice, ...], source: SourceFile) -> np.ndarray:
    try:
        return np.ascontiguousarray(images[selection])
    except READ_ERRORS as error:
        raise _cannot_read(selection[0], source, error) from error


def _cannot_read(rows: slice, source: SourceFile, error: Exception) -> Galaxy10Error:
    reason = hdf5_reason(source.path, error)
    return Galaxy10Error(f"images {rows.start} to {rows.stop - 1} cannot be read: {reason}")


def forget_pages(images: np.ndarray) -> None:
    """Release a store's pages from this process's memory; they stay in the system's page cache.

    Otherwise a process that reads the whole store appears to use as much memory as the store is large.
    """
    if isinstance(images, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner: Any = images
        while isinstance(owner, np.ndarray):
            owner = owner.base
        if isinstance(owner, mmap.mmap):
            owner.madvise(mmap.MADV_DONTNEED)


def _load(target: Path, source: SourceFile) -> Store:
    try:
        images = np.load(target / "images.npy", mmap_mode="r")
        table = pd.read_parquet(target / "table.parquet")
        content = json.loads((target / "store.json").read_text())["content"]
        if images.shape != (source.num_images, source.height, source.width, 3) or len(table) != source.num_images:
            raise ValueError("its shape is not that of the file")
    except (OSError, ValueError, KeyError) as error:
        if reason := system_reason(error):
            raise Galaxy10Error(f"the store {target} {reason}") from error
        raise Galaxy10Error(
            f"the store {target} is damaged ({first_line(error)}); delete that folder, and it is built again"
        ) from error
    # The columns of the file are read anew: classes depend on the given names, and an older store may lack a column.
    return Store(target, images, table.assign(**source.table), content)
