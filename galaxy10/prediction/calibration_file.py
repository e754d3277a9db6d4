"""A run's calibration.json: one calibration for each prediction mode."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, write_json
from galaxy10.foreign_files import load_arrays
from galaxy10.prediction.conformal import set_thresholds
from galaxy10.prediction.label_smoothing import remove_label_smoothing
from galaxy10.prediction.mode import PredictMode, resolve_mode
from galaxy10.prediction.prior import shift_prior
from galaxy10.prediction.temperature import apply_temperature
from galaxy10.runs.files import RunFiles
from galaxy10.runs.trained import checkpoint_hash

FORMAT = 2  # of calibration.json: 1 had the scores of all classes in one list


@dataclass(frozen=True)
class Calibration:
    """Temperature and conformal scores of one prediction mode, for one run or an ensemble.

    "Without the temperature" is also without label smoothing taken back.

    Attributes:
        temperature: divides the logits; 1 changes nothing.
        conformal_scores: of the validation galaxies with the temperature, one sorted list for each class
            (galaxy10.prediction.conformal.scores_by_class).
        uncalibrated_scores: the same without the temperature.
        loss: of the validation galaxies, without and with the temperature.
        calibration_error: of the validation galaxies, without and with the temperature.
        prior_strength: of the prior, without and with the temperature (galaxy10.prediction.prior); None for no prior.
        log_offsets: of the prior, with the temperature: (1, C), or (K, C) for K samples of runs that were trained on
            different shares; None for no prior.
        uncalibrated_log_offsets: the same without the temperature.
        label_smoothing_removed: from the probabilities before the temperature; 0 changes nothing.
    """

    temperature: float
    conformal_scores: list[list[float]]
    uncalibrated_scores: list[list[float]]
    loss: tuple[float, float]
    calibration_error: tuple[float, float]
    prior_strength: tuple[float, float] | None = None
    log_offsets: list[list[float]] | None = None
    uncalibrated_log_offsets: list[list[float]] | None = None
    label_smoothing_removed: float = 0.0

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Return probabilities (K, N, C) without label smoothing, then with the temperature, then with the prior."""
        unsmoothed = remove_label_smoothing(samples, self.label_smoothing_removed)
        return shift_prior(apply_temperature(unsmoothed, self.temperature), self.log_offsets)

    def record(self, prior: str) -> dict[str, Any]:
        """Return temperature, label smoothing and prior (name, strength, log offsets) for the record of a result."""
        removed = {"label_smoothing_removed": self.label_smoothing_removed} if self.label_smoothing_removed else {}
        found = {"temperature": self.temperature, **removed}
        if self.prior_strength is None:
            return found
        strength = {"prior": prior, "prior_strength": self.prior_strength[1], "prior_log_offsets": self.log_offsets}
        return {**found, **strength}

    def without_temperature(self) -> "Calibration":
        """Return the calibration with temperature 1, no label smoothing taken back, and their scores and offsets."""
        return replace(
            self,
            temperature=1.0,
            label_smoothing_removed=0.0,
            conformal_scores=self.uncalibrated_scores,
            prior_strength=self.prior_strength and (self.prior_strength[0],) * 2,
            log_offsets=self.uncalibrated_log_offsets,
        )

    @property
    def num_galaxies(self) -> int:
        """Return the number of validation galaxies."""
        return sum(map(len, self.conformal_scores))

    def thresholds(self, coverage: float, per_class: bool = False) -> np.ndarray:
        """Return the highest conformal score that is still in the prediction set, for each class (C,)."""
        return set_thresholds(self.conformal_scores, coverage, per_class)

    def without_own_threshold(self, coverage: float) -> list[int]:
        """Return the classes with too few validation galaxies for a threshold of their own: they are in every set."""
        return np.flatnonzero(np.isinf(self.thresholds(coverage, per_class=True))).tolist()


def save_calibrations(run: Path, mode: PredictMode, calibrations: Mapping[str, Calibration]) -> None:
    """Add calibrations of one mode, by prior, to the run's file; drop those of other weights."""
    path, checkpoint = RunFiles(run).calibration, checkpoint_hash(run)
    saved = read_json(path)
    same = saved.get("checkpoint") == checkpoint and saved.get("format") == FORMAT
    modes = saved.get("modes", {}) if same else {}
    added = {mode.with_prior(prior).key: asdict(calibration) for prior, calibration in calibrations.items()}
    write_json(path, {"format": FORMAT, "checkpoint": checkpoint, "modes": {**modes, **added}})


def load_calibration(run: Path, mode: PredictMode) -> Calibration:
    """Return the calibration of one run for one mode.

    Raises:
        Galaxy10Error: there is none, or it belongs to other weights or another version; the message names the
            command to type.
    """
    saved = read_json(RunFiles(run).calibration)
    found: dict[str, Any] | None = (saved.get("modes") or {}).get(mode.key)
    command = f"galaxy10 calibrate {shlex.quote(str(run))}{mode.cli_options}"
    if found is None:
        raise Galaxy10Error(f"{run} is not calibrated for {mode.key}; type {command}")
    if saved.get("checkpoint") != checkpoint_hash(run):
        raise Galaxy10Error(f"{run} has been trained further since it was calibrated; type {command}")
    if saved.get("format") != FORMAT:
        raise Galaxy10Error(
            f"{run} was calibrated by another version of galaxy10, with other prediction sets; type {command}"
        )
    loss, error, strength = found["loss"], found["calibration_error"], found.get("prior_strength")
    return Calibration(
        found["temperature"],
        found["conformal_scores"],
        found["uncalibrated_scores"],
        (loss[0], loss[1]),
        (error[0], error[1]),
        (strength[0], strength[1]) if strength else None,
        found.get("log_offsets"),
        found.get("uncalibrated_log_offsets"),
        found.get("label_smoothing_removed", 0.0),
    )


def load_validation_samples(
    run: Path, mode: PredictMode, default_views: int, names: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows (N,), labels (N,) and samples (K, N, C) of a run's validation galaxies, before any calibration.

    Raises:
        Galaxy10Error: the file of samples is gone; the message names the command to type.
    """
    if mode.passes_key == resolve_mode(default_views, None, 0).key:
        table = RunFiles(run).read_predictions("val")
        probabilities = table[[f"p_{name}" for name in names]].to_numpy(np.float32)
        return table["row"].to_numpy(), table["label"].to_numpy(), probabilities[None]
    path = RunFiles(run).validation_samples(mode.passes_key)
    if not path.exists():
        raise Galaxy10Error(
            f"{path} does not exist any more; type galaxy10 calibrate {shlex.quote(str(run))}{mode.cli_options}"
        )
    arrays = load_arrays(path)
    return arrays["rows"], arrays["labels"], arrays["samples"]
