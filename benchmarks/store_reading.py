"""The store beside the file it is made from: random batches, conversion, and a gather beside copying memory."""

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
    """Plain h5py: whole chunks, one after the other."""
    with h5py.File(path) as file:
        images = file["images"]
        for start in range(0, len(images), images.chunks[0]):
            images[start : start + images.chunks[0]]


def convert(path: Path, folder: Path) -> None:
    """The store of a file, built anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    forget_pages(open_store(open_source(path), folder).images)


def one_by_one(batches: Iterable[np.ndarray]) -> None:
    """Each is gone before the next comes, as in training: to keep them all measures the system's fresh pages."""
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
        images.sum(dtype=np.int64)  # as amid training; a quarter of a minute unused, and systems take pages away
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
        side_by_side(by_batch, from_store, by_index, repeats=given.repeats, asked=5000),
        side_by_side("gather ÷ copy of a block of memory", from_store, copied, repeats=3 * given.repeats, asked=0.5),
        side_by_side(conversion, converted, in_order, repeats=given.repeats, asked=0.8),
    ]
    shutil.rmtree(stored)
    keep("store_reading", rows, given)


if __name__ == "__main__":
    main()
