"""Compute the rows of an output part by part, from images that threads read ahead."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch

from galaxy10.catalogue.writer import Catalogue
from galaxy10.data.galaxy_image import GalaxyImage
from galaxy10.data.inputs import Inputs
from galaxy10.data.known_galaxies import positions
from galaxy10.data.prefetch import read_ahead
from galaxy10.data.quality import ReadingNotes, quality_line
from galaxy10.data.sidecars import Failure
from galaxy10.data.store import pixel_hash
from galaxy10.prediction.batch_size import DEFAULT_BATCH_SIZE, MEASURED_FROM, fastest_batch_size
from galaxy10.prediction.compute_streams import ComputeStreams, Networks
from galaxy10.progress import progress

logger = logging.getLogger(__name__)

BATCHES_PER_PART = 4
_NO_PIXELS = np.empty((0, 0, 3), dtype=np.uint8)

Prepared = tuple[list[torch.Tensor], int]  # of Ensemble.prepare


class ReadingNetworks(Networks, Protocol):
    """Networks with their preparation of images."""

    def prepare(self, pixels: np.ndarray) -> Prepared:
        """Return an image (H, W, 3) uint8 as inputs of the networks."""
        ...

    def placeholder(self) -> Prepared:
        """Return a prepared black image, used in place of an image that cannot be read."""
        ...


@dataclass(frozen=True)
class ReadImage:
    """An image that has been read.

    Attributes:
        prepared: of ReadingNetworks.prepare.
        about: the image without its pixels.
        pixel_hash: of the pixels, 64 bits.
    """

    prepared: Prepared
    about: GalaxyImage
    pixel_hash: int

    @classmethod
    def of(cls, image: GalaxyImage, networks: ReadingNetworks) -> "ReadImage":
        """Prepare an image for the networks."""
        return cls(networks.prepare(image.pixels), replace(image, pixels=_NO_PIXELS), pixel_hash(image.pixels))


@dataclass(frozen=True)
class Batch:
    """The images of a batch that could be read.

    Attributes:
        good: their positions in the batch.
        images, ra, dec: of these; positions in degrees, or NaN.
    """

    good: Sequence[int]
    images: Sequence[ReadImage]
    ra: np.ndarray
    dec: np.ndarray


class PartMaker(ABC):
    """Computes the rows of an output for the images of inputs.

    Args:
        options: batch_size and workers (galaxy10.prediction.options.PredictOptions).

    Attributes:
        notes: what is to be said about the images that were read.
    """

    networks: Any  # ReadingNetworks; a subclass knows more of them

    def __init__(self, options: Any):
        self.options, self.notes = options, ReadingNotes()

    @staticmethod
    @abstractmethod
    def forward(networks: Any, prepared: Sequence[Prepared]) -> Any:
        """Return the outputs of the networks of a stream for B prepared images, once they are computed."""

    @abstractmethod
    def rows(self, batch: Batch, outputs: Any) -> pa.Table:
        """Return the new columns for the images of a batch that could be read, of the outputs for the whole batch."""

    @abstractmethod
    def empty_table(self) -> pa.Table:
        """Return the new columns without rows."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Return what the output's record says about the networks."""

    def remarks(self, record: dict[str, Any]) -> Iterator[str]:
        """Yield what is to be said about a finished output."""
        yield from ()

    def with_quality(self, table: pa.Table, images: Sequence[ReadImage]) -> pa.Table:
        """Append the columns `filled` and `quality` of images, and count them in the notes."""
        for image in images:
            self.notes.add(image.about)
        table = table.append_column("filled", pa.array([image.about.filled for image in images], pa.float32()))
        return table.append_column("quality", pa.array([image.about.quality for image in images], pa.string()))

    def read_batches(self, inputs: Inputs, batches: Iterable[range]) -> Iterator[tuple[range, list[ReadImage | str]]]:
        """Yield batches of images that have been read; for an image that cannot be read, the reason."""

        def prepare(index: int) -> ReadImage:
            return ReadImage.of(inputs.read(index), self.networks)

        return read_ahead(prepare, batches, self.options.workers)

    def streams(self, num_images: int) -> ComputeStreams[Any]:
        """Return threads that compute the batches of that many images."""
        batches = -(-num_images // (self.options.batch_size or DEFAULT_BATCH_SIZE))
        return ComputeStreams(self.networks, most=max(1, batches))

    def batch_size(self, num_images: int, streams: ComputeStreams[Any]) -> int:
        """Return the images per forward pass, for that many images: as given, or measured with all streams at work."""
        if self.options.batch_size is not None:
            return int(self.options.batch_size)
        blank, device = self.networks.placeholder(), self.networks.device

        def compute(size: int) -> None:
            for result in [streams.submit(self.forward, [blank] * size) for _ in range(streams.number)]:
                result.result()

        size = fastest_batch_size(compute, num_images, device)
        logger.info(f"batch size {size}" + (" (measured)" if num_images >= MEASURED_FROM else ""))
        return size

    def parts(
        self, inputs: Inputs, parts: dict[int, range], size: int, streams: ComputeStreams[Any]
    ) -> Iterator[tuple[int, pa.Table, list[Failure]]]:
        """Yield number, rows and unreadable images of each part, computed in batches of a size.

        A blank replaces an image that cannot be read, so that the results of the other images in its batch are
        bitwise the same with and without it, and wherever an earlier command on this machine was killed.
        """
        batches = (range(s, min(s + size, part.stop)) for part in parts.values() for s in range(*_bounds(part, size)))
        computing = streams.map(self._outputs, self.read_batches(inputs, batches))
        for number, part in parts.items():
            given = inputs.lines(part.start, part.stop)
            ra, dec = positions(given)
            lines, failures, tables = [], [], [self.empty_table()]
            for _ in range(*_bounds(part, size)):
                (batch, images), outputs = next(computing)
                places = [index - part.start for index in batch]
                good = {i: image for i, image in enumerate(images) if not isinstance(image, str)}
                for i, reason in enumerate(images):
                    if isinstance(reason, str):
                        line = given.slice(places[i], 1)
                        failures.append((line["path"][0].as_py() or "", line["row"][0].as_py(), reason))
                if not good:
                    continue
                here = [places[i] for i in good]
                tables.append(self.rows(Batch(list(good), list(good.values()), ra[here], dec[here]), outputs))
                lines += here
            yield number, _beside(given, lines, pa.concat_tables(tables)), failures

    def _outputs(self, networks: Any, read: tuple[range, list[ReadImage | str]]) -> Any:
        """Return the outputs of the networks of a stream for a batch that was read; None if no image could be read."""
        images = read[1]
        if all(isinstance(image, str) for image in images):
            return None
        blank = self.networks.placeholder()
        return self.forward(networks, [blank if isinstance(image, str) else image.prepared for image in images])


def _beside(given: pa.Table, lines: list[int], new: pa.Table) -> pa.Table:
    """Return the inputs' own columns of some lines, with new columns beside them."""
    carried = given.take(pa.array(lines, pa.int64()))
    for name in new.column_names:
        carried = carried.append_column(name, new[name])
    return carried.combine_chunks()


def _bounds(part: range, size: int) -> tuple[int, int, int]:
    return part.start, part.stop, size


def fill(
    catalogue: Catalogue,
    inputs: Inputs,
    maker: PartMaker,
    mine: range,
    doing: str = "predicting",
    done: str = "catalogued",
) -> dict[str, Any]:
    """Write the missing parts of an output, finish it, and return its record.

    Args:
        mine: the images of this shard.
        doing, done: the work, for the progress and for the last line.
    """
    with maker.streams(len(mine)) as streams:
        batch_size = catalogue.batch_size(lambda: maker.batch_size(len(mine), streams))
        size = batch_size * BATCHES_PER_PART
        parts = [range(start, min(start + size, mine.stop)) for start in range(mine.start, mine.stop, size)] or [mine]
        missing = {number: part for number, part in enumerate(parts) if not catalogue.has(number)}
        so_far = before = sum(map(len, parts)) - sum(map(len, missing.values()))
        if before:
            logger.info(f"resuming: {before:,} of {len(mine):,} images are done")
        start = time.perf_counter()
        with progress(doing, len(mine), so_far) as show:
            for number, table, failures in maker.parts(inputs, missing, batch_size, streams):
                catalogue.add(number, table, failures)
                logger.debug("part %d: %d images, %d could not be read", number, len(table), len(failures))
                so_far += len(parts[number])
                show(so_far)
    rate = (so_far - before) / max(time.perf_counter() - start, 1e-9)
    record = catalogue.finish(len(parts), {**maker.record(), "batch_size": batch_size, "images_per_s": round(rate, 1)})
    for line in [
        *maker.notes.assumptions(),
        quality_line(record["quality"], maker.notes.remedy),
        *maker.remarks(record),
    ]:
        if line:
            logger.warning(f"note: {line}")
    failed = f", {record['failed']:,} could not be read: {catalogue.failed_path}" if record["failed"] else ""
    logger.info(f"{record['catalogued']:,} of {len(mine):,} images {done}{failed} ({rate:,.1f} images/s)")
    return record
