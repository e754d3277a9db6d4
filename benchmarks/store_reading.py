"""Compare the store with the HDF5 file: random batches, conversion, and a gather with copying memory."""

import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
from side_by_side import WORK, arguments, keep, seconds, side_by_side
from survey import published_layout

from galaxy10.data.hdf5 import open_source
from galaxy10.data.store import forget_pages, open_store


def read_in_order(path: Path) -> None:
    """Read a file with h5py in whole chunks, in order."""
    with h5py.File(path) as file:
        images = file["images"]
        for start in range(0, len(images), images.chunks[0]):
            images[start : start + images.chunks[0]]


def convert(path: Path, folder: Path) -> None:
    """Build the store of a file from scratch."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    forget_pages(open_store(open_source(path), folder).images)


def one_by_one(batches: Iterable[np.ndarray]) -> None:
    """Free each batch before the next, as in training; keeping them would measure the allocation of pages."""
    deque(batches, maxlen=0)


def main() -> None:
    given = arguments(__doc__, repeats=3, images=4000, batch=32, by_index=32, gathers=200)
    path = published_layout(given.images)
    stored = WORK / "store"
    convert(path, stored)
    images = open_store(open_source(path), stored).images
    dice = np.random.default_rng(0)

    def batches(size: int) -> Iterator[np.ndarray]:
        while True:
            yield dice.integers(0, len(images), size)

    def from_store() -> float:
        rows = batches(given.batch)
        images.sum(dtype=np.int64)  # fill the page cache, as during training
        return (
            given.gathers * given.batch / seconds(lambda: one_by_one(images[next(rows)] for _ in range(given.gathers)))
        )

    def by_index() -> float:
        rows = next(batches(given.by_index))
        with h5py.File(path) as file:
            return given.by_index / seconds(lambda: np.stack([file["images"][int(row)] for row in rows]))

    block = np.array(images[: given.batch])

    def copied() -> float:
        return given.gathers * given.batch / seconds(lambda: one_by_one(block.copy() for _ in range(given.gathers)))

    def converted() -> float:
        return given.images / seconds(lambda: convert(path, stored))

    def in_order() -> float:
        return given.images / seconds(lambda: read_in_order(path))

    by_batch = f"random batch of {given.batch}: store ÷ h5py by index"
    conversion = f"conversion of {given.images} images ÷ h5py in order"
    rows = [
        side_by_side(by_batch, from_store, by_index, repeats=given.repeats, target=5000),
        side_by_side("gather ÷ copy of a block of memory", from_store, copied, repeats=3 * given.repeats, target=0.5),
        side_by_side(conversion, converted, in_order, repeats=given.repeats, target=0.9),
    ]
    shutil.rmtree(stored)
    keep("store_reading", rows, given)


if __name__ == "__main__":
    main()
