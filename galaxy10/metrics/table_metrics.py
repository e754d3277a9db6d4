"""The metrics of a prediction table without torch: for reports that pool tables."""

from collections.abc import Sequence

import numpy as np

from galaxy10.classes import slugs
from galaxy10.metrics.calibration_error import reliability
from galaxy10.metrics.confusion import class_scores, confusion_matrix


def table_metrics(
    labels: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray | None, class_names: Sequence[str]
) -> dict[str, float | None]:
    """Return accuracy, balanced_accuracy, macro_f1, f1_<slug>…, and with probabilities loss and calibration_error.

    The definitions are those of classification.classification_metrics.

    Args:
        labels, predicted: (N,) class numbers, N at least 1.
        probabilities: (N, C), in the order of the class names.
    """
    scores = class_scores(confusion_matrix(labels, predicted, len(class_names)))
    metrics: dict[str, float | None] = {
        "accuracy": float((labels == predicted).mean()),
        "balanced_accuracy": float(scores["recall"].mean()),  # NaN, for a class without galaxies, is left out
        "macro_f1": float(scores["f1"].mean()),
    }
    if probabilities is not None:
        true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
        found = reliability(labels, probabilities)
        metrics["loss"] = float(-np.log(np.maximum(true, 1e-12)).mean())
        metrics["calibration_error"] = found.error if found else None
    f1 = scores["f1"].to_numpy()
    return metrics | {
        f"f1_{slug}": float(value) if np.isfinite(value) else None
        for slug, value in zip(slugs(class_names), f1, strict=True)
    }
