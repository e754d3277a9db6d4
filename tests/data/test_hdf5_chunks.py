"""Chunks that several cores decompress have the pixels that the HDF5 library reads."""

from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from galaxy10.data import hdf5_chunks
from galaxy10.data.hdf5_chunks import read_rows

IMAGES = np.random.default_rng(0).integers(0, 4, (50, 20, 24, 3), dtype=np.uint8)


class OfTheLibrary:
    """Stands in for a data set, and counts what is read with the HDF5 library's own functions."""

    def __init__(self, images: h5py.Dataset):
        self.images, self.reads = images, 0

    def __getattr__(self, name: str):
        return getattr(self.images, name)

    def __getitem__(self, key):
        self.reads += 1
        return self.images[key]


def read(images: h5py.Dataset) -> tuple[np.ndarray, int]:
    counted, step = OfTheLibrary(images), images.chunks[0] if images.chunks else 10
    with ThreadPoolExecutor(2) as pool:
        parts = [
            read_rows(counted, slice(start, min(start + step, len(images))), pool)
            for start in range(0, len(images), step)
        ]
    return np.concatenate(parts), counted.reads


@pytest.mark.parametrize("chunks", [(7, 16, 16, 1), (50, 20, 24, 3), (1, 20, 24, 3), (16, 8, 5, 2)])
def test_gzipped_chunks_are_read_without_the_library(tmp_path, chunks, monkeypatch):
    monkeypatch.setattr(hdf5_chunks, "_CHUNKS_AT_ONCE", 5)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", data=IMAGES, chunks=chunks, compression="gzip")
        found, reads = read(file["images"])
    assert np.array_equal(found, IMAGES)
    assert reads == 0


@pytest.mark.parametrize(
    "layout",
    [
        {"chunks": (7, 16, 16, 1)},
        {"chunks": (7, 16, 16, 1), "compression": "lzf"},
        {"chunks": (7, 16, 16, 1), "compression": "gzip", "shuffle": True},
        {"chunks": (7, 16, 16, 1), "compression": "gzip", "fletcher32": True},
        {},
    ],
)
def test_any_other_layout_is_left_to_the_library(tmp_path, layout):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", data=IMAGES, **layout)
        found, reads = read(file["images"])
    assert np.array_equal(found, IMAGES)
    assert reads > 0


def test_chunks_that_were_never_written_or_not_compressed_are_left_to_the_library(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        images = file.create_dataset(
            "images", IMAGES.shape, np.uint8, chunks=(10, 20, 24, 3), compression="gzip", fillvalue=9
        )
        images[:10] = IMAGES[:10]
        images.id.write_direct_chunk((20, 0, 0, 0), IMAGES[20:30].tobytes(), filter_mask=1)
        found, reads = read(images)
    assert np.array_equal(found[:10], IMAGES[:10])
    assert (found[10:20] == 9).all()
    assert np.array_equal(found[20:30], IMAGES[20:30])
    assert reads == 4


def test_a_damaged_chunk_raises_the_librarys_error(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        images = file.create_dataset("images", data=IMAGES, chunks=(10, 20, 24, 3), compression="gzip")
        images.id.write_direct_chunk((10, 0, 0, 0), b"no zlib")
    with h5py.File(tmp_path / "a.h5") as file, pytest.raises(OSError, match="filter returned failure"):
        read(file["images"])
