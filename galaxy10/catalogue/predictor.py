"""Predict the rows of a catalogue from images, with an ensemble and its calibration."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from galaxy10.data.galaxy_image import GalaxyImage
from galaxy10.data.inputs import Inputs
from galaxy10.data.known_galaxies import positions
from galaxy10.data.prefetch import read_ahead
from galaxy10.data.quality import ReadingNotes
from galaxy10.data.sidecars import Failure
from galaxy10.data.store import pixel_hash
from galaxy10.errors import Galaxy10Error
from galaxy10.prediction.calibration_file import Calibration
from galaxy10.prediction.ensemble import Ensemble, Outputs
from galaxy10.prediction.options import set_thresholds_of
from galaxy10.prediction.prediction_columns import prediction_columns
from galaxy10.prediction.trained_on import TrainedOn

TRAINED_ON = "trained_on"
_NO_PIXELS = np.empty((0, 0, 3), dtype=np.uint8)


@dataclass(frozen=True)
class ReadImage:
    """An image that has been read.

    Attributes:
        prepared: of Ensemble.prepare.
        about: the image without its pixels.
        pixel_hash: of the pixels, 64 bits.
    """

    prepared: tuple[list[torch.Tensor], int]
    about: GalaxyImage
    pixel_hash: int

    @classmethod
    def of(cls, image: GalaxyImage, networks: Ensemble) -> "ReadImage":
        """Prepare an image for an ensemble."""
        return cls(networks.prepare(image.pixels), replace(image, pixels=_NO_PIXELS), pixel_hash(image.pixels))


def read_batches(
    inputs: Inputs, networks: Ensemble, batches: Iterable[range], workers: int | None
) -> Iterator[tuple[range, list[ReadImage | str]]]:
    """Yield batches of images that have been read; for an image that cannot be read, the reason."""

    def prepare(index: int) -> ReadImage:
        return ReadImage.of(inputs.read(index), networks)

    return read_ahead(prepare, batches, workers)


class Predictor:
    """An ensemble of runs, with options, that predicts the rows of a catalogue.

    Args:
        runs: run directories of the same classes.
        options: the options of `galaxy10 predict` (galaxy10.prediction.options.PredictOptions).

    Attributes:
        notes: what is to be said about the images that were predicted.

    Raises:
        Galaxy10Error: a run does not support the options.
    """

    def __init__(self, runs: Sequence[Path], options: Any):
        self.networks = Ensemble(
            runs,
            tta_views=options.tta_views,
            mc_dropout=options.mc_dropout,
            device=options.device,
            prior=options.prior,
        )
        self.options, self.notes = options, ReadingNotes()
        self.calibration = self._calibration()
        self.trained_on = TrainedOn(runs)
        self.thresholds = set_thresholds_of(self.calibration, self.networks.class_names, options)

    def _calibration(self) -> Calibration | None:
        if self.options.temperature:
            return self.networks.calibration()
        try:
            return self.networks.calibration().without_temperature()
        except Galaxy10Error:
            if self.options.prior != "none":
                raise
            return None  # without a calibration there are no prediction sets

    def table(self, images: Sequence[ReadImage], outputs: Outputs, ra: np.ndarray, dec: np.ndarray) -> pa.Table:
        """Return the columns of the catalogue for N images with their outputs and positions (N,) in degrees, or NaN."""
        table = self.columns(outputs)
        hashes = np.array([image.pixel_hash for image in images], np.uint64).astype(np.int64)
        known = self.trained_on.match(hashes, ra, dec).known
        # A galaxy that no run is known to have used may still be one of a run that does not record its galaxies.
        unknown = ~known if self.trained_on.unchecked else np.zeros(len(images), bool)
        table = table.append_column(TRAINED_ON, pa.array(known, pa.bool_(), mask=unknown))
        for image in images:
            self.notes.add(image.about)
        table = table.append_column("filled", pa.array([image.about.filled for image in images], pa.float32()))
        return table.append_column("quality", pa.array([image.about.quality for image in images], pa.string()))

    def columns(self, outputs: Outputs) -> pa.Table:
        """Return the prediction columns of the catalogue for the outputs of N images."""
        samples = outputs.samples.astype(np.float64)
        calibrated = self.calibration.apply(samples) if self.calibration else samples
        return prediction_columns(calibrated, outputs.ood, self.networks.class_names, self.thresholds)

    def parts(self, inputs: Inputs, parts: dict[int, range]) -> Iterator[tuple[int, pa.Table, list[Failure]]]:
        """Yield number, rows and unreadable images of each part.

        A blank replaces an image that cannot be read, so that the predictions of the other images in its batch are
        bitwise the same with and without it, and wherever an earlier command was killed.
        """
        size = self.options.batch_size
        batches = [range(s, min(s + size, part.stop)) for part in parts.values() for s in range(*_bounds(part, size))]
        reading = read_batches(inputs, self.networks, batches, self.options.workers)
        ra, dec = positions(inputs.columns)
        for number, part in parts.items():
            lines, failures, tables = [], [], [self.empty_table()]
            for _ in range(*_bounds(part, size)):
                batch, images = next(reading)
                good = {i: image for i, image in enumerate(images) if not isinstance(image, str)}
                for i, reason in enumerate(images):
                    if isinstance(reason, str):
                        line = inputs.columns.slice(batch[i], 1)
                        failures.append((line["path"][0].as_py() or "", line["row"][0].as_py(), reason))
                if not good:
                    continue
                prepared = [self.networks.placeholder()] * len(batch)
                for i, image in good.items():
                    prepared[i] = image.prepared
                outputs = self.networks.predict(prepared).take(list(good))
                here = [batch[i] for i in good]
                tables.append(self.table(list(good.values()), outputs, ra[here], dec[here]))
                lines += here
            yield number, self._beside(inputs, lines, pa.concat_tables(tables)), failures

    def empty_table(self) -> pa.Table:
        """Return the prediction columns of the catalogue without rows."""
        members = sum(max(1, member.mode.dropout) for member in self.networks.members)
        return self.table([], Outputs.empty(members, len(self.networks.class_names)), np.empty(0), np.empty(0))

    @staticmethod
    def _beside(inputs: Inputs, lines: list[int], predictions: pa.Table) -> pa.Table:
        first = lines[0] if lines else 0
        window = inputs.columns.slice(first, lines[-1] - first + 1 if lines else 0)
        carried = window.take(pa.array(np.asarray(lines, dtype=np.int64) - first))
        for name in predictions.column_names:
            carried = carried.append_column(name, predictions[name])
        return carried.combine_chunks()

    def _named_thresholds(self) -> float | dict[str, float] | None:
        """Return the one threshold of all classes, or with per_class that of each class by its name."""
        if self.thresholds is None:
            return None
        found = self.thresholds.tolist()
        if self.options.per_class:
            return dict(zip(self.networks.class_names, found, strict=True))
        return float(found[0])

    def record(self) -> dict[str, Any]:
        """Return the part of a catalogue's record about the networks and their calibration."""
        return {
            "runs": [str(member.run.resolve()) for member in self.networks.members],
            "split_hashes": [member.provenance["split"]["hash"] for member in self.networks.members],
            "modes": [member.mode.key for member in self.networks.members],
            "class_names": list(self.networks.class_names),
            "temperature": self.calibration.temperature if self.calibration else None,
            **(self.calibration.prior_record(self.options.prior) if self.calibration else {}),
            "prediction_set_thresholds": self._named_thresholds(),
            "torch": torch.__version__,
        }


def _bounds(part: range, size: int) -> tuple[int, int, int]:
    return part.start, part.stop, size
