"""Predict the rows of a catalogue from images, with an ensemble and its calibration."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from galaxy10.catalogue.parts import Batch, PartMaker, Prepared, ReadImage
from galaxy10.data.inputs import Inputs
from galaxy10.errors import Galaxy10Error
from galaxy10.prediction.calibration_file import Calibration
from galaxy10.prediction.ensemble import Ensemble, Outputs
from galaxy10.prediction.int8 import evenly_spaced
from galaxy10.prediction.options import set_thresholds_of
from galaxy10.prediction.prediction_columns import prediction_columns
from galaxy10.prediction.trained_on import TrainedOn

TRAINED_ON = "trained_on"


class Predictor(PartMaker):
    """An ensemble of runs, with options, that predicts the rows of a catalogue.

    Args:
        runs: run directories of the same classes.
        options: the options of `galaxy10 predict` (galaxy10.prediction.options.PredictOptions).

    Raises:
        Galaxy10Error: a run does not support the options.
    """

    networks: Ensemble

    def __init__(self, runs: Sequence[Path], options: Any):
        super().__init__(options)
        self.networks = Ensemble(
            runs,
            tta_views=options.tta_views,
            mc_dropout=options.mc_dropout,
            laplace=options.laplace,
            device=options.device,
            prior=options.prior,
            engine=options.engine,
        )
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

    def quantize(self, inputs: Inputs) -> None:
        """Compute in 8 bits, with ranges set by images from the whole input: the same for all its shards.

        Raises:
            Galaxy10Error: a network cannot be written as an ONNX graph of 8 bits.
        """
        numbers = evenly_spaced(len(inputs))
        (_, images), *_ = self.read_batches(inputs, [numbers])
        readable = [image.prepared for image in images if not isinstance(image, str)]
        self.networks.quantize(readable or [self.networks.placeholder()])

    @staticmethod
    def forward(networks: Ensemble, prepared: Sequence[Prepared]) -> Outputs:
        """Return the outputs for B prepared images."""
        return networks.predict(prepared)

    def rows(self, batch: Batch, outputs: Outputs) -> pa.Table:
        """Return the columns of the catalogue for the images of a batch that could be read."""
        return self.table(batch.images, outputs.take(batch.good), batch.ra, batch.dec)

    def table(self, images: Sequence[ReadImage], outputs: Outputs, ra: np.ndarray, dec: np.ndarray) -> pa.Table:
        """Return the columns of the catalogue for N images with their outputs and positions (N,) in degrees, or NaN."""
        table = self.columns(outputs)
        hashes = np.array([image.pixel_hash for image in images], np.uint64).astype(np.int64)
        known = self.trained_on.match(hashes, ra, dec).known
        # A galaxy that no run is known to have used may still be one of a run that does not record its galaxies.
        unknown = ~known if self.trained_on.unchecked else np.zeros(len(images), bool)
        table = table.append_column(TRAINED_ON, pa.array(known, pa.bool_(), mask=unknown))
        return self.with_quality(table, images)

    def columns(self, outputs: Outputs) -> pa.Table:
        """Return the prediction columns of the catalogue for the outputs of N images."""
        samples = outputs.samples.astype(np.float64)
        calibrated = self.calibration.apply(samples) if self.calibration else samples
        return prediction_columns(calibrated, outputs.ood, self.networks.class_names, self.thresholds)

    def empty_table(self) -> pa.Table:
        """Return the prediction columns of the catalogue without rows."""
        members = sum(member.mode.samples for member in self.networks.members)
        return self.table([], Outputs.empty(members, len(self.networks.class_names)), np.empty(0), np.empty(0))

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
            **(self.calibration.record(self.options.prior) if self.calibration else {"temperature": None}),
            "prediction_set_thresholds": self._named_thresholds(),
            "engine": self.networks.engine,
            **({"int8_agreement": agreement} if (agreement := self.networks.int8_agreement) is not None else {}),
            "torch": torch.__version__,
        }

    def remarks(self, record: dict[str, Any]) -> Iterator[str]:
        """Yield what a catalogue says about galaxies that the runs were trained or validated on."""
        if why := self.trained_on.why_unchecked():
            yield why
        if record["trained_on"]:
            yield (
                f"the network was trained or validated on {record['trained_on']:,} of these {record['catalogued']:,} "
                "galaxies (column trained_on): do not measure its accuracy on them"
            )
