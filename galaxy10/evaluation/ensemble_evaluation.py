"""Evaluate an ensemble on labelled galaxies: probabilities before and after the temperature, and prediction sets."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from galaxy10.data.store import Store
from galaxy10.data.votes import votes_of
from galaxy10.errors import Galaxy10Error
from galaxy10.metrics.calibration_error import calibration_metrics
from galaxy10.metrics.classification import classification_metrics
from galaxy10.metrics.prediction_sets import set_metrics
from galaxy10.metrics.predictions import vote_columns
from galaxy10.prediction.calibration_file import Calibration
from galaxy10.prediction.conformal import prediction_set_mask
from galaxy10.prediction.ensemble import Ensemble
from galaxy10.prediction.int8 import evenly_spaced
from galaxy10.prediction.options import INT8, PredictOptions, set_thresholds_of
from galaxy10.prediction.predict_rows import predict_rows
from galaxy10.prediction.prediction_columns import prediction_columns
from galaxy10.runs.trained import check_run

_BLOCK = 2_048  # galaxies whose samples are in memory in float64


@dataclass(frozen=True)
class EnsembleEvaluation:
    """The predictions of an ensemble for N labelled galaxies.

    Attributes:
        labels: (N,) class numbers.
        raw: (N, C) probabilities before the temperature, with the class prior.
        calibrated: (N, C) probabilities after the temperature, with the class prior.
        used: (N, C) one of these two, as the options select.
        inside: (N, C) bool, the prediction sets.
    """

    labels: np.ndarray
    raw: np.ndarray
    calibrated: np.ndarray
    used: np.ndarray
    inside: np.ndarray
    images_per_s: float
    calibration: Calibration

    def coverage_error(self, coverage: float) -> float:
        """Return the standard error of the measured coverage, from the evaluated and the validation galaxies."""
        return sqrt(coverage * (1 - coverage) * (1 / len(self.labels) + 1 / self.calibration.num_galaxies))

    def metrics(self, class_names: Sequence[str]) -> dict[str, float | None]:
        """Return the metrics of the probabilities used, of the uncalibrated ones and of the prediction sets.

        loss_uncalibrated: before the temperature. The others are those of
        galaxy10.metrics.calibration_error.calibration_metrics and galaxy10.metrics.prediction_sets.set_metrics.
        """
        labels = torch.tensor(self.labels)
        before = classification_metrics(torch.tensor(self.raw), labels, class_names)
        after = classification_metrics(torch.tensor(self.used), labels, class_names)
        return {
            **after,
            "loss_uncalibrated": before["loss"],
            **calibration_metrics(self.labels, self.raw, self.calibrated),
            **set_metrics(self.inside, self.labels, class_names),
        }


def check_same_split(runs: Sequence[Path]) -> dict[str, Any]:
    """Check that runs were trained on the same split, and return the first run's provenance.

    Raises:
        Galaxy10Error: the splits differ: a test galaxy of one run may be a training galaxy of another.
    """
    provenances = [check_run(run) for run in runs]
    hashes = {str(run): provenance["split"]["hash"] for run, provenance in zip(runs, provenances, strict=True)}
    if len(set(hashes.values())) > 1:
        listed = ", ".join(f"{run} {name}" for run, name in hashes.items())
        raise Galaxy10Error(
            f"these runs have different splits ({listed}): a test galaxy of one may be a training galaxy of another; "
            "give runs of one split (same file, data.protocol, data.split_seed)"
        )
    return provenances[0]


def evaluate_ensemble(
    networks: Ensemble, store: Store, rows: np.ndarray, labels: np.ndarray, options: PredictOptions
) -> tuple[EnsembleEvaluation, pd.DataFrame]:
    """Evaluate rows (N,) of a store with labels (N,), and return the evaluation and the prediction table.

    options: temperature, coverage and per_class are used; the prior is the ensemble's. N is at least 1.

    Raises:
        Galaxy10Error: the ensemble is not calibrated.
    """
    fitted = networks.calibration()
    uncalibrated = fitted.without_temperature()
    calibration = fitted if options.temperature else uncalibrated
    if networks.engine == INT8:
        networks.quantize([networks.prepare(np.array(store.images[rows[i]])) for i in evenly_spaced(len(rows))])
    start = time.perf_counter()
    outputs = predict_rows(networks, store, rows, "evaluating")
    rate = len(rows) / max(time.perf_counter() - start, 1e-9)
    thresholds = set_thresholds_of(calibration, networks.class_names, options)
    assert thresholds is not None
    means: dict[str, list[np.ndarray]] = {"raw": [], "calibrated": [], "used": []}
    tables = []
    for first in range(0, len(rows), _BLOCK):
        part = outputs.take(range(first, min(first + _BLOCK, len(rows))))
        samples = part.samples.astype(np.float64)
        of_samples = calibration.apply(samples)
        means["used"].append(of_samples.mean(axis=0))
        means["raw"].append(uncalibrated.apply(samples).mean(axis=0))
        means["calibrated"].append(means["used"][-1] if options.temperature else fitted.apply(samples).mean(axis=0))
        tables.append(prediction_columns(of_samples, part.ood, networks.class_names, thresholds))
    table = pa.concat_tables(tables).to_pandas()
    table.insert(0, "label", labels)
    table.insert(0, "row", rows)
    if (votes := votes_of(store.table)) is not None:
        table = table.assign(**vote_columns(votes[rows], networks.class_names))
    raw, calibrated, used = (np.concatenate(parts) for parts in means.values())
    inside = prediction_set_mask(used, thresholds)
    return EnsembleEvaluation(labels, raw, calibrated, used, inside, rate, calibration), table
