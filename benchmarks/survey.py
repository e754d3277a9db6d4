"""The files that benchmarks read: a simulated survey, also with the chunks of the published file; created once."""

import os
from pathlib import Path

import h5py
import numpy as np
from side_by_side import WORK

from galaxy10.data.hdf5 import open_source
from galaxy10.data.source import obtain_source
from galaxy10.data.store import Store, open_store
from galaxy10.files import atomic_write

PUBLISHED_CHUNKS = (555, 16, 16, 1)
SURVEY = {"name": "simulated", "path": None, "class_names": None, "num_images": 2000, "image_px": 256}


def data_folder() -> Path:
    """Return the folder of the simulated survey of `make train`."""
    return Path(os.environ.get("GALAXY10_DATA", "data")).resolve()


def survey() -> Path:
    """Return a file of 2,000 simulated galaxies at 256 px, or the file of the environment variable GALAXY10_SURVEY."""
    if "GALAXY10_SURVEY" in os.environ:
        return Path(os.environ["GALAXY10_SURVEY"])
    settings = {**SURVEY, "dir": str(data_folder()), "simulation_seed": 0}
    return obtain_source(settings).path


def survey_store() -> Store:
    """Return the survey's store."""
    path = survey()
    return open_store(open_source(path), path.parent)


def published_layout(num_images: int) -> Path:
    """Return a file of simulated galaxies, repeated and rotated as necessary, with the published file's chunks."""
    path = WORK / f"published-layout-{num_images}.h5"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    images = survey_store().images
    with atomic_write(path) as part, h5py.File(part, "w") as file:
        shape = (num_images, *images.shape[1:])
        chunks = (min(PUBLISHED_CHUNKS[0], num_images), *PUBLISHED_CHUNKS[1:])
        out = file.create_dataset("images", shape, np.uint8, chunks=chunks, compression="gzip")
        for start in range(0, num_images, chunks[0]):
            rows = np.arange(start, min(start + chunks[0], num_images))
            out[rows[0] : rows[-1] + 1] = np.rot90(images[rows % len(images)], start // len(images), axes=(1, 2))
        file["ans"] = (np.arange(num_images) % 10).astype(np.uint8)
    return path
