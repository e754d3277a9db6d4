"""Calibration error: the gap between confidence and accuracy; the project's only place that computes it, in NumPy."""

from dataclasses import dataclass

import numpy as np

BINS = 15
RESAMPLES = 1000
_BLOCK = 2_000_000  # random numbers that are in memory at once


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: one entry per bin of the top probability, all (bins,).

    confidence and accuracy are means within the bin, NaN where the bin is empty; error is the expected calibration
    error (L1, weighted by count).
    """

    edges: np.ndarray  # (bins + 1,)
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> Reliability | None:
    """Compute a reliability diagram with equal bins (Guo et al. 2017, arXiv 1706.04599).

    Args:
        labels: (N,) class numbers.
        probabilities: (N, C); rows that are not finite are left out.

    Returns:
        None without a finite row.
    """
    finite = np.isfinite(probabilities).all(axis=1) if probabilities.size else np.zeros(len(labels), bool)
    if not finite.any():
        return None
    probabilities, labels = probabilities[finite], np.asarray(labels)[finite]
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    index = _bin_numbers(top, edges)
    count = np.bincount(index, minlength=bins)
    with np.errstate(divide="ignore", invalid="ignore"):
        confidence = np.bincount(index, weights=top, minlength=bins) / count
        accuracy = np.bincount(index, weights=right, minlength=bins) / count
    error = float(np.nansum(np.abs(confidence - accuracy) * count) / count.sum())
    return Reliability(edges, count, confidence, accuracy, error)


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the expected calibration error (L1, 15 equal bins of the top probability; Guo et al. 2017).

    Args:
        labels: (N,) class numbers.
        probabilities: (N, C); rows that are not finite are left out. NaN without any other.
    """
    found = reliability(labels, probabilities)
    return found.error if found else float("nan")


def perfect_calibration_error(
    probabilities: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return mean and 95th percentile of the calibration error of a perfectly calibrated model with these confidences.

    A finite number of galaxies has a calibration error above 0 even if every probability is true: each bin's accuracy
    scatters around its confidence. Labels are drawn from the probabilities themselves (a parametric bootstrap, as the
    consistency resampling of Bröcker & Smith 2007, Weather and Forecasting 22, 651; for the expected calibration error
    Vaicenavicius et al. 2019, arXiv 1902.06977), and the error is measured on each draw. A measured error below the
    95th percentile is no evidence of miscalibration.

    Args:
        probabilities: (N, C); rows that are not finite are left out. NaN without any other.
        resamples: number of draws of all labels.
        seed: of the draws; the result is a function of it and the probabilities.
    """
    top = probabilities.max(axis=1, initial=0)[np.isfinite(probabilities).all(axis=1)].astype(np.float64)
    if not len(top):
        return float("nan"), float("nan")
    top.sort()  # bins become slices; only whether the most probable class is the drawn one matters
    count = np.bincount(_bin_numbers(top, np.linspace(0, 1, BINS + 1)), minlength=BINS)
    first = (count.cumsum() - count)[count > 0]
    expected = np.add.reduceat(top, first)
    rng, errors = np.random.default_rng(seed), np.empty(resamples)
    at_once = max(1, _BLOCK // len(top))
    for start in range(0, resamples, at_once):
        correct = rng.random((min(at_once, resamples - start), len(top)), dtype=np.float32) < top.astype(np.float32)
        hits = np.add.reduceat(correct, first, axis=1, dtype=np.int64)
        errors[start : start + len(hits)] = np.abs(hits - expected).sum(axis=1) / len(top)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def calibration_metrics(labels: np.ndarray, before: np.ndarray, after: np.ndarray | None) -> dict[str, float | None]:
    """Return the calibration error before and after the temperature, and that of a perfectly calibrated model.

    Args:
        labels: (N,) class numbers, N at least 1.
        before: (N, C) probabilities without the temperature.
        after: (N, C) probabilities with the temperature; None if the network is not calibrated.

    Returns:
        calibration_error_uncalibrated, calibration_error_calibrated (None without `after`), and
        calibration_error_perfect and calibration_error_perfect_95: mean and 95th percentile of a perfectly calibrated
        model with the confidences of `after` (without it, of `before`).
    """
    mean, percentile = perfect_calibration_error(before if after is None else after)
    return {
        "calibration_error_uncalibrated": calibration_error(labels, before),
        "calibration_error_calibrated": None if after is None else calibration_error(labels, after),
        "calibration_error_perfect": mean,
        "calibration_error_perfect_95": percentile,
    }


def _bin_numbers(top: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the number of the bin of each top probability; exactly 1 belongs to the last bin, not to its own."""
    found: np.ndarray = np.clip(np.digitize(top, edges) - 1, 0, len(edges) - 2)
    return found
