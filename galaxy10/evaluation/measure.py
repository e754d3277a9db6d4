"""Labelled galaxies judged with temperature, dropout, views or an ensemble, and how honest that is."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from galaxy10.data.store import Store, forget_pages
from galaxy10.errors import Galaxy10Error
from galaxy10.metrics.classification import classification_metrics
from galaxy10.prediction.calibration import apply_temperature
from galaxy10.prediction.calibration_file import Calibration
from galaxy10.prediction.ensemble import Ensemble, Outputs
from galaxy10.prediction.prediction_columns import in_set, prediction_columns
from galaxy10.progress import progress
from galaxy10.runs.trained import check_run

BATCH_SIZE = 64


@dataclass(frozen=True)
class Measured:
    """Labelled galaxies judged in one way.

    raw and calibrated: (N, C) probabilities before and after the temperature. inside: (N, C) bool, the prediction sets.
    """

    labels: np.ndarray
    raw: np.ndarray
    calibrated: np.ndarray
    inside: np.ndarray
    images_per_s: float
    calibration: Calibration

    @property
    def covered(self) -> np.ndarray:
        """(N,) bool: whether the true class is in the set."""
        return self.inside[np.arange(len(self.labels)), self.labels]

    def coverage_error(self, coverage: float) -> float:
        """The standard error of the measured coverage: from the galaxies judged, and from those it was fitted to."""
        return sqrt(coverage * (1 - coverage) * (1 / len(self.labels) + 1 / len(self.calibration.scores)))

    def metrics(self, class_names: Sequence[str]) -> dict[str, float | None]:
        """The usual metrics of the calibrated probabilities, those before the temperature, and those of the sets."""
        labels = torch.tensor(self.labels)
        before = classification_metrics(torch.tensor(self.raw), labels, class_names)
        after = classification_metrics(torch.tensor(self.calibrated), labels, class_names)
        return {
            **after,
            "loss_uncalibrated": before["loss"],
            "calibration_error_uncalibrated": before["calibration_error"],
            "coverage": float(self.covered.mean()),
            "mean_set_size": float(self.inside.sum(axis=1).mean()),
        }


def check_same_split(runs: Sequence[Path]) -> dict[str, Any]:
    """The first run's provenance.

    Raises:
        Galaxy10Error: the runs were trained on different splits: one's test galaxies may have trained another.
    """
    abouts = [check_run(run) for run in runs]
    hashes = {str(run): about["split"]["hash"] for run, about in zip(runs, abouts, strict=True)}
    if len(set(hashes.values())) > 1:
        told = ", ".join(f"{run} {name}" for run, name in hashes.items())
        raise Galaxy10Error(
            f"these runs have different splits ({told}), so some of one's test galaxies may have trained another; "
            "give runs of one split (same file, data.protocol, data.split_seed)"
        )
    return abouts[0]


def ask(networks: Ensemble, store: Store, rows: np.ndarray) -> tuple[Outputs, float]:
    """What networks say about some rows of a store, and how many pictures a second it took."""
    answers, start = [], time.perf_counter()
    with progress("evaluating", len(rows)) as tell:
        for first in range(0, len(rows), BATCH_SIZE):
            pictures = [networks.prepare(np.array(store.images[row])) for row in rows[first : first + BATCH_SIZE]]
            answers.append(networks.ask(pictures))
            forget_pages(store.images)
            tell(first + len(pictures))
    seconds = max(time.perf_counter() - start, 1e-9)
    samples = np.concatenate([answer.samples for answer in answers], axis=1)
    return Outputs(samples, np.concatenate([answer.ood_score for answer in answers])), len(rows) / seconds


def measure(
    networks: Ensemble, store: Store, rows: np.ndarray, labels: np.ndarray, temperature: bool, coverage: float
) -> tuple[Measured, pd.DataFrame]:
    """Evaluate rows (N,) of a store with labels (N,): what can be measured, and the table of predictions."""
    calibration = networks.calibration()
    if not temperature:
        calibration = calibration.raw()
    answers, rate = ask(networks, store, rows)
    threshold = calibration.threshold(coverage)
    calibrated = apply_temperature(answers.samples.astype(np.float64), calibration.temperature).mean(axis=0)
    names = networks.class_names
    table = prediction_columns(
        answers.samples, answers.ood_score, names, calibration.temperature, threshold
    ).to_pandas()
    table.insert(0, "label", labels)
    table.insert(0, "row", rows)
    raw = answers.samples.astype(np.float64).mean(axis=0)
    return Measured(labels, raw, calibrated, in_set(calibrated, threshold), rate, calibration), table
