"""Counts, scores and intervals from labels and predictions."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from galaxy10.metrics.confusion import accuracy_interval, class_scores, confusion_matrix


def test_scores_are_those_of_scikit_learn():
    labels = np.array([0, 0, 0, 1, 1, 3, 3, 3])
    predicted = np.array([0, 0, 1, 1, 0, 3, 1, 3])
    scores = class_scores(confusion_matrix(labels, predicted, 5))
    present = [0, 1, 3]
    expected = precision_recall_fscore_support(labels, predicted, labels=present)
    for column, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(scores.loc[present, column], values)
    assert scores.loc[[2, 4], "f1"].isna().all()


def test_interval_is_wilsons():
    low, high = accuracy_interval(15, 20)
    assert (low, high) == pytest.approx((0.5313, 0.8881), abs=1e-3)
    assert all(np.isnan(accuracy_interval(0, 0)))
