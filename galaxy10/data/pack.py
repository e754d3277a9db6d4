"""From a folder per class, or a table of paths and labels, to the HDF5 file that training reads."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch

from galaxy10.data.augment import center_square, resize
from galaxy10.data.hdf5 import COORDINATES
from galaxy10.data.images import MIN_SIZE_PX, ImageReadError
from galaxy10.data.input_files import Files, PathTable, Source
from galaxy10.data.inputs import pictures_below
from galaxy10.data.prefetch import read_ahead
from galaxy10.data.sidecars import Failure, check_beside_packed, failed_path, write_failures
from galaxy10.data.stretch import STRETCHES
from galaxy10.errors import Galaxy10Error
from galaxy10.files import replacing
from galaxy10.progress import progress

logger = logging.getLogger(__name__)

_BATCH = 64
_LOOKED_AT = 100  # pictures whose median side becomes the file's


@dataclass(frozen=True)
class Labelled:
    """Pictures with their class: labels (N,) int64, −1 where there is none; names in label order, None for numbers."""

    source: Source
    labels: np.ndarray
    names: list[str] | None
    columns: dict[str, np.ndarray]


def pack(
    origin: Path,
    output: Path,
    *,
    size: int | None = None,
    stretch: str = "auto",
    path_column: str | None = None,
    label_column: str = "label",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write `images` (N, size, size, 3) uint8, `ans` with its class names, the paths, and ra, dec, redshift and pxscale
    where a table has them; what cannot be read goes to NAME.failed.csv. Numbers `catalogued` and `failed`.

    Args:
        origin: a folder with one folder per class, or a table.
        size: px; None: the median side of the first hundred pictures. Others are cut to their central square and
            resized.

    Raises:
        Galaxy10Error: no classes, no labels, nothing that can be read, a name that is taken.
    """
    if output.suffix.lower() not in (".h5", ".hdf5"):
        raise Galaxy10Error(f"{output} is to be an HDF5 file; end its name in .h5")
    if output.exists() and not overwrite:
        raise Galaxy10Error(f"{output} is there already; give another name, or --overwrite")
    check_beside_packed(output)
    if stretch not in STRETCHES:
        raise Galaxy10Error(f"--stretch {stretch} is not known; there are {', '.join(STRETCHES)}")
    if size is not None and size < MIN_SIZE_PX:
        raise Galaxy10Error(f"--size {size} is too small; give at least {MIN_SIZE_PX} px")
    if origin.is_dir():
        found = _folders(origin, stretch)
    elif origin.is_file():
        found = _table(origin, stretch, path_column, label_column)
    else:
        raise Galaxy10Error(f"{origin} does not exist; give a folder with one folder per class, or a table")
    size = size or _median_side(found.source)
    with replacing(output) as part:
        kept, failures = _write(part, found, size)
        present = len(np.unique(found.labels[kept]))
        if present < 2:
            raise Galaxy10Error(
                f"{origin}: of {len(found.labels)} images {len(kept)} can be used, of {present} class"
                f"{'' if present == 1 else 'es'}; a classifier needs at least two classes"
                + (f" (the first that cannot: {failures[0][0]}: {failures[0][2]})" if failures else "")
            )
    if failures:
        with replacing(failed_path(output)) as part:
            write_failures(part, failures)
    else:
        failed_path(output).unlink(missing_ok=True)
    told = f", {len(failures):,} could not be used: {failed_path(output)}" if failures else ""
    logger.info(f"{len(kept):,} images of {present} classes at {size} px{told}")
    return {"catalogued": len(kept), "failed": len(failures)}


def _folders(origin: Path, stretch: str) -> Labelled:
    folders = sorted(p for p in origin.iterdir() if p.is_dir() and not p.name.startswith("."))
    paths = {folder.name: list(pictures_below(folder)) for folder in folders}
    names = [name for name, inside in paths.items() if inside]
    if len(names) < 2:
        raise Galaxy10Error(
            f"{origin} has {len(names)} folders with images in them; make one folder per class, or give a table with "
            "the columns path and label"
        )
    labels = np.repeat(np.arange(len(names)), [len(paths[name]) for name in names])
    return Labelled(Files([path for name in names for path in paths[name]], stretch), labels, names, {})


def _table(file: Path, stretch: str, path_column: str | None, label_column: str) -> Labelled:
    source = PathTable(file, path_column, stretch, label_column)
    given = source.columns[source.names[label_column]].to_pandas()
    columns = {}
    for name in COORDINATES:
        if name in source.columns.column_names:
            values = pd.to_numeric(source.columns[name].to_pandas(), errors="coerce")
            columns[name] = values.to_numpy(np.float64)
    if pd.api.types.is_numeric_dtype(given) and not pd.api.types.is_bool_dtype(given):
        numbers = given.to_numpy(np.float64)
        whole = np.isfinite(numbers)
        if (numbers[whole] % 1 != 0).any() or (numbers[whole] < 0).any():
            raise Galaxy10Error(
                f"{file}: column {label_column} holds numbers that are no classes; give names or 0, 1, …"
            )
        return Labelled(source, np.where(whole, numbers, -1).astype(np.int64), None, columns)
    texts = given.map(lambda value: str(value).strip(), na_action="ignore")
    names = sorted({text for text in texts.dropna() if text})
    order = {name: number for number, name in enumerate(names)}
    return Labelled(source, np.array([order.get(text, -1) for text in texts], dtype=np.int64), names, columns)


def _median_side(source: Source) -> int:
    sides = []
    for index in range(min(_LOOKED_AT, len(source.columns))):
        try:
            sides.append(min(source.read(index).pixels.shape[:2]))
        except ImageReadError:
            continue
    if not sides:
        raise Galaxy10Error(f"none of the first {_LOOKED_AT} images can be read; give --size to look at all")
    return int(np.median(sides))


def _write(part: Path, found: Labelled, size: int) -> tuple[np.ndarray, list[Failure]]:
    """Fill the file; which pictures are in it, and which are not."""

    def prepare(index: int) -> np.ndarray:
        if found.labels[index] < 0:
            raise ImageReadError("no label")
        return brought_to(found.source.read(index).pixels, size)

    total = len(found.labels)
    batches = [range(start, min(start + _BATCH, total)) for start in range(0, total, _BATCH)]
    kept: list[int] = []
    failures: list[Failure] = []
    with h5py.File(part, "w") as file, progress("packing images", total) as tell:
        images = file.create_dataset(
            "images", (0, size, size, 3), np.uint8, maxshape=(None, size, size, 3), chunks=(16, size, size, 3)
        )
        for batch, pictures in read_ahead(prepare, batches, None):
            good = [picture for picture in pictures if not isinstance(picture, str)]
            for index, picture in zip(batch, pictures, strict=True):
                if isinstance(picture, str):
                    line = found.source.columns.slice(index, 1)
                    failures.append((line["path"][0].as_py() or "", line["row"][0].as_py(), picture))
                else:
                    kept.append(index)
            if good:
                images.resize(len(kept), axis=0)
                images[len(kept) - len(good) :] = np.stack(good)
            tell(batch.stop)
        _write_columns(file, found, kept)
    return np.array(kept, dtype=np.int64), failures


def _write_columns(file: h5py.File, found: Labelled, kept: Sequence[int]) -> None:
    rows = np.asarray(kept, dtype=np.int64)
    labels = found.labels[rows]
    text = h5py.string_dtype()
    file["ans"] = labels.astype(np.uint8 if found.labels.max(initial=0) < 256 else np.uint16)
    if found.names is not None:
        file["ans"].attrs["class_names"] = np.array(found.names, dtype=text)
    paths = found.source.columns["path"].to_pylist()
    file.create_dataset("path", data=np.array([paths[i] for i in kept], dtype=object), dtype=text)
    for name, values in found.columns.items():
        file[name] = values[rows]


def brought_to(pixels: np.ndarray, size: int) -> np.ndarray:
    """The central square of a picture (H, W, 3) uint8 at another size, (size, size, 3) uint8."""
    return resize(center_square(torch.from_numpy(pixels)[None]), size)[0].contiguous().numpy()
