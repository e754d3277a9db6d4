"""Write a simulated survey as an HDF5 file with the layout of Galaxy10_DECals.h5."""

import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
from numpy.typing import NDArray

from galaxy10.classes import GALAXY10_CLASSES
from galaxy10.errors import Galaxy10Error
from galaxy10.simulation.galaxies import draw_galaxy
from galaxy10.simulation.render import render_field
from galaxy10.simulation.survey import Field, Survey, plan_survey
from galaxy10.system import usable_cpus

MIN_IMAGES, MIN_SIZE_PX, MAX_SIZE_PX = 10, 16, 1024
GZIP_LEVEL = 4
CHUNKS_IN_FILE = 32  # the real file's 17,736 rows are cut into 32 chunks of up to 555
CHUNK_SIZE_PX = 16
BLANK_BYTE = 32  # zero flux in the viewer's stretch
IN_PROCESS_PIXELS = 4_000_000  # below this, starting worker processes takes longer than the work


def simulate_survey(
    path: Path,
    *,
    num_images: int = 2000,
    size_px: int = 256,
    seed: int = 0,
    defects: bool = True,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write a file like Galaxy10_DECals.h5 filled with simulated galaxies, and return its path.

    Keys: `images` (N, size, size, 3) uint8; `ans` (N,) uint8, sorted, with the attribute `class_names`; `ra`, `dec`
    (degrees), `redshift`, `pxscale` (arcsec per pixel), (N,) float64. At any size an image spans 67″, up to twice that
    for the brightest galaxies. An existing file is replaced when the new one is complete.

    Args:
        num_images: at least 10.
        size_px: 16 to 1024.
        seed: from 0. The bytes depend only on num_images, size_px, seed and defects.
        defects: include the real file's defects in its proportions: missing redshifts and, from 200 images on,
            duplicates with conflicting labels, blank images and overlapping fields.
        workers: number of processes; None: the usable CPU cores.
        progress: called with the number of finished rows.

    Raises:
        Galaxy10Error: an argument is out of range, or the path cannot be written.
    """
    if num_images < MIN_IMAGES:
        raise Galaxy10Error(f"num_images is {num_images}: give at least {MIN_IMAGES}, one for each class")
    if not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise Galaxy10Error(f"size_px is {size_px}: give {MIN_SIZE_PX} to {MAX_SIZE_PX} pixels")
    if seed < 0:
        raise Galaxy10Error(f"seed is {seed}: give a whole number from 0")
    if workers is not None and workers < 1:
        raise Galaxy10Error(f"workers is {workers}: give at least 1")
    path = Path(path)
    if path.is_dir():
        raise Galaxy10Error(f"{path} is a folder: give the name of a file, such as {path}/simulated.h5")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(part, plan_survey(num_images, size_px, seed, defects), seed, workers or usable_cpus(), progress)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise Galaxy10Error(f"cannot write {path}: {error.strerror or error}") from error
    return path


def draw_image(survey: Survey, seed: int, row: int) -> NDArray[np.uint8]:
    """Return the pixels (size, size, 3) uint8 of one row, independent of all other rows."""
    size = survey.size_px
    if survey.blank[row]:
        return np.full((size, size, 3), BLANK_BYTE, dtype=np.uint8)
    field: Field = survey.fields[row]
    # Two rows of one field draw all of it from the same generator, and each cuts out its own image.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(field.seed_row,)))
    columns, rows = zip(*field.image_offsets.values(), strict=True)
    left, top = min(columns), min(rows)
    centre = (size - 1) / 2
    galaxies = [
        (draw_galaxy(g.label, g.properties, rng), centre + g.column - left, centre + g.row - top)
        for g in field.galaxies
    ]
    image = render_field(
        rng,
        galaxies,
        width_px=size + max(columns) - left,
        height_px=size + max(rows) - top,
        pixel_arcsec=float(survey.pixel_scale[row]),
    )
    x, y = field.image_offsets[row][0] - left, field.image_offsets[row][1] - top
    return image[y : y + size, x : x + size]


def chunk_shape(num_images: int, size_px: int) -> tuple[int, int, int, int]:
    """Return chunks like those of the real file: a 32nd of the rows, 16 × 16 pixels, one channel."""
    side = min(CHUNK_SIZE_PX, size_px)
    return max(-(-num_images // CHUNKS_IN_FILE), min(num_images, 10)), side, side, 1


def draw_compressed_rows(survey: Survey, seed: int, first_row: int) -> list[tuple[tuple[int, int, int, int], bytes]]:
    """Return every gzip chunk that begins at `first_row`, with its offset in the data set.

    The workers compress, since HDF5 would compress in one thread.
    """
    num_images, size = len(survey.labels), survey.size_px
    chunk = chunk_shape(num_images, size)
    rows, side = chunk[0], chunk[1]
    full = -(-size // side) * side
    block = np.zeros((rows, full, full, 3), dtype=np.uint8)  # chunks at the edge have full size
    for i, row in enumerate(range(first_row, min(first_row + rows, num_images))):
        block[i, :size, :size] = draw_image(survey, seed, row)
    return [
        ((first_row, y, x, band), zlib.compress(block[:, y : y + side, x : x + side, band].tobytes(), GZIP_LEVEL))
        for y in range(0, full, side)
        for x in range(0, full, side)
        for band in range(3)
    ]


def _write(part: Path, survey: Survey, seed: int, workers: int, progress: Callable[[int], None] | None) -> None:
    num_images, size = len(survey.labels), survey.size_px
    chunk = chunk_shape(num_images, size)
    with h5py.File(part, "w") as file:
        images = file.create_dataset(
            "images",
            (num_images, size, size, 3),
            dtype=np.uint8,
            chunks=chunk,
            compression="gzip",
            compression_opts=GZIP_LEVEL,
            track_times=False,
        )
        labels = file.create_dataset("ans", data=survey.labels, track_times=False)
        labels.attrs["class_names"] = np.array(GALAXY10_CLASSES, dtype=h5py.string_dtype())
        for name, column in (
            ("ra", survey.ra),
            ("dec", survey.dec),
            ("redshift", survey.redshift),
            ("pxscale", survey.pixel_scale),
        ):
            file.create_dataset(name, data=column.astype(np.float64), track_times=False)
        starts = range(0, num_images, chunk[0])
        for start, chunks in zip(starts, _blocks(survey, seed, starts, workers), strict=True):
            for offset, data in chunks:
                images.id.write_direct_chunk(offset, data)
            if progress:
                progress(min(start + chunk[0], num_images))


def _blocks(
    survey: Survey, seed: int, starts: range, workers: int
) -> Iterator[list[tuple[tuple[int, int, int, int], bytes]]]:
    """Yield the compressed chunks of each block of rows in order, drawn in this process or by workers."""
    draw = partial(draw_compressed_rows, survey, seed)
    workers = min(workers, len(starts))
    if workers == 1 or len(survey.labels) * survey.size_px**2 < IN_PROCESS_PIXELS:
        yield from map(draw, starts)
        return
    # "spawn", since the parent may run threads of torch, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            with _hidden_main():
                drawn = pool.map(draw, starts)  # starts the workers
            yield from drawn
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Hide the user's script from the workers, which would run it again if it has no `__name__ == "__main__"`."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _end_with_parent() -> None:
    """End a worker when its parent is killed: otherwise it would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
