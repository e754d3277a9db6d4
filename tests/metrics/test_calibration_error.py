"""The calibration error, and how large it is without any miscalibration."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from galaxy10.metrics.calibration_error import calibration_error, calibration_metrics, perfect_calibration_error
from galaxy10.metrics.classification import classification_metrics


def galaxies(number: int, spread: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 4) of the confidence of a network, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (number, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, (probabilities.cumsum(axis=1) > rng.random((number, 1))).argmax(axis=1)


def test_it_is_that_of_torchmetrics():
    probabilities, labels = galaxies(300)
    expected = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(labels), 4, n_bins=15, norm="l1")
    assert calibration_error(labels, probabilities) == pytest.approx(float(expected), abs=1e-6)
    measured = classification_metrics(torch.tensor(probabilities), torch.tensor(labels), list("abcd"))
    assert measured["calibration_error"] == calibration_error(labels, probabilities)


@pytest.mark.parametrize(("number", "seen"), [(400, 0.053), (2264, 0.016), (9500, 0.0072)])
def test_a_perfect_models_error_shrinks_with_the_number_of_galaxies(number, seen):
    """.053 of 400 and .016 of 2,264 galaxies were measured with real networks' confidences, which differ from these."""
    probabilities, _ = galaxies(number, {400: 1.7, 2264: 5.0, 9500: 6.0}[number])
    mean, percentile = perfect_calibration_error(probabilities, resamples=300)
    assert mean == pytest.approx(seen, rel=0.12)
    assert mean < percentile < 1.8 * mean


def test_the_draws_are_those_of_labels_drawn_one_by_one():
    probabilities, _ = galaxies(200)
    mean, percentile = perfect_calibration_error(probabilities, seed=3)
    slowly = [
        calibration_error((probabilities.cumsum(axis=1) > drawn[:, None]).argmax(axis=1), probabilities)
        for drawn in np.random.default_rng(1).random((500, 200))
    ]
    assert mean == pytest.approx(np.mean(slowly), rel=0.05)
    assert percentile == pytest.approx(np.quantile(slowly, 0.95), rel=0.1)
    assert perfect_calibration_error(probabilities, seed=3) == (mean, percentile)
    assert perfect_calibration_error(probabilities[::-1], seed=4) != (mean, percentile)


def test_both_errors_tell_a_calibrated_network_from_an_overconfident_one():
    probabilities, labels = galaxies(2000)
    sharp = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    found = calibration_metrics(labels, sharp, probabilities)
    limit = found["calibration_error_perfect_95"]
    assert found["calibration_error_calibrated"] < limit < found["calibration_error_uncalibrated"]
    assert found["calibration_error_perfect"] == perfect_calibration_error(probabilities)[0]
    alone = calibration_metrics(labels, sharp, None)
    assert alone["calibration_error_calibrated"] is None
    assert alone["calibration_error_perfect"] == perfect_calibration_error(sharp)[0]


def test_without_finite_probabilities_there_is_no_error():
    assert np.isnan(perfect_calibration_error(np.full((3, 2), np.nan))).all()
    assert np.isnan(calibration_error(np.zeros(0, np.int64), np.empty((0, 2))))
