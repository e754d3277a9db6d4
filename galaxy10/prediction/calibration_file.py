"""A run's calibration.json: what its validation galaxies said about each way of asking it."""

import hashlib
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, write_json
from galaxy10.prediction.mode import PredictMode, resolve_mode
from galaxy10.runs.files import RunFiles


@dataclass(frozen=True)
class Calibration:
    """Temperature and conformal scores of one way of asking one run, or several.

    scores: of the validation galaxies, sorted: one minus the probability of the true class, after the temperature;
    raw_scores: before it. loss and calibration_error: of the validation galaxies, before and after.
    """

    temperature: float
    scores: list[float]
    raw_scores: list[float]
    loss: tuple[float, float]
    calibration_error: tuple[float, float]

    def raw(self) -> "Calibration":
        """The same without a temperature."""
        return replace(self, temperature=1.0, scores=self.raw_scores)

    def threshold(self, coverage: float) -> float:
        """The highest score that is still in the prediction set.

        Split conformal prediction with the finite-sample quantile (Angelopoulos & Bates 2021, arXiv 2107.07511):
        the ⌈(n + 1) · coverage⌉-th smallest of n scores; infinite where n is too small for that, all classes then.
        """
        rank = ceil((len(self.scores) + 1) * coverage)
        return self.scores[rank - 1] if rank <= len(self.scores) else float("inf")


def checkpoint_identity(run: Path) -> str:
    """Which weights a run has now."""
    with RunFiles(run).best.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def save_calibration(run: Path, way: PredictMode, calibration: Calibration) -> None:
    """Add one way's calibration to the run's; those of other weights go."""
    path, checkpoint = RunFiles(run).calibration, checkpoint_identity(run)
    known = read_json(path)
    ways = known.get("ways", {}) if known.get("checkpoint") == checkpoint else {}
    write_json(path, {"checkpoint": checkpoint, "ways": {**ways, way.key: asdict(calibration)}})


def load_calibration(run: Path, way: PredictMode) -> Calibration:
    """The calibration of one run for one way.

    Raises:
        Galaxy10Error: it was never made, or for other weights; says what to type.
    """
    known = read_json(RunFiles(run).calibration)
    found: dict[str, Any] | None = (known.get("ways") or {}).get(way.key)
    command = f"galaxy10 calibrate {run}{way.options}"
    if found is None:
        raise Galaxy10Error(f"{run} is not calibrated for {way.key}; type {command}")
    if known.get("checkpoint") != checkpoint_identity(run):
        raise Galaxy10Error(f"{run} has been trained on since it was calibrated; type {command}")
    loss, error = found["loss"], found["calibration_error"]
    return Calibration(
        found["temperature"], found["scores"], found["raw_scores"], (loss[0], loss[1]), (error[0], error[1])
    )


def stored_samples(
    run: Path, way: PredictMode, own_views: int, names: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rows (N,), labels (N,) and samples (K, N, C) of a run's validation galaxies, as they were asked in one way."""
    if way == resolve_mode(own_views, None, 0):
        table = RunFiles(run).read_predictions("val")
        probabilities = table[[f"p_{name}" for name in names]].to_numpy(np.float32)
        return table["row"].to_numpy(), table["label"].to_numpy(), probabilities[None]
    path = RunFiles(run).validation_samples(way.key)
    if not path.exists():
        raise Galaxy10Error(f"{path} is gone; type galaxy10 calibrate {run}{way.options}")
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["rows"], arrays["labels"], arrays["samples"]
