"""Prediction sets and out-of-distribution scores"""

import numpy as np
import pytest
import torch

from galaxy10.metrics.prediction_sets import set_metrics
from galaxy10.prediction.conformal import prediction_set_mask, scores_by_class, set_thresholds
from galaxy10.prediction.ood import KNNDetector


def predictions(number: int, rng: np.random.Generator, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities (N, 3) of a network that neglects the rare class 2, and labels drawn from them."""
    logits = rng.normal(0, sharpness, (number, 3)) - [0, 0, 1.3 * sharpness]
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return true, (true.cumsum(axis=1) > rng.random((number, 1))).argmax(axis=1)


def measured(per_class: bool, sharpness: float, coverage: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Coverage of each class (3,), sizes of the sets, and accuracy, over forty draws of validation and test."""
    rng = np.random.default_rng(0)
    values, sizes, right = [], [], []
    for _ in range(40):
        p, labels = predictions(1400, rng, sharpness)
        thresholds = set_thresholds(scores_by_class(p[:400], labels[:400]), coverage, per_class)
        inside = prediction_set_mask(p[400:], thresholds)
        found = set_metrics(inside, labels[400:], ["a", "b", "c"])
        values.append([found[f"coverage_{name}"] for name in "abc"])
        sizes.append(inside.sum(axis=1))
        right.append((p[400:].argmax(axis=1) == labels[400:]).mean())
    return np.mean(values, axis=0), np.concatenate(sizes), float(np.mean(right))


def test_a_network_more_accurate_than_the_coverage(says):
    """The network is more accurate than the coverage that the prediction sets are made for."""
    _, sizes, accuracy = measured(False, 8, 0.8)
    assert accuracy > 0.85
    assert (sizes == 1).all()
    says(f"no set is empty: with an accuracy of {accuracy:.2f} and --coverage .8, each holds the most probable class")


def test_a_rare_class_is_covered_less(says):
    """Prediction sets with a coverage of 90 % hold the true class of a rare class far less often."""
    together, _, _ = measured(False, 1.5, 0.9)
    alone, sizes, _ = measured(True, 1.5, 0.9)
    assert together[2] < 0.75
    assert alone == pytest.approx(0.9, abs=0.02)
    says(
        f"the report lists the coverage of each class ({together[2]:.2f} here); with --per-class it is {alone[2]:.2f}, "
        f"and a set has {sizes.mean():.1f} classes"
    )


def test_how_high_an_out_of_distribution_score_is(says):
    """An ood_score of 0.8: is that high?"""
    rng = np.random.default_rng(0)
    detector = KNNDetector.fit(torch.tensor(rng.normal(0, 0.1, (300, 8)) + 1, dtype=torch.float32))
    assert detector is not None
    assert detector.percentile(np.array([0.0, 1.0, 9.0])).tolist() == pytest.approx([0, 99, 100], abs=0.5)
    share = float(detector.percentile(np.array([0.8]))[0])
    says(f"ood_percentile beside it says {share:.0f}: the percentage of validation galaxies with a lower score")
