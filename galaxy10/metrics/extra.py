"""A user's own torchmetrics, computed on all predictions of a subset at once."""

from collections.abc import Mapping
from typing import Any

import torch

from galaxy10.config.user_code import describe_failure
from galaxy10.errors import TrainingError


def compute_extra_metrics(
    metrics: Mapping[str, Any], probabilities: torch.Tensor, labels: torch.Tensor
) -> dict[str, float | None]:
    """Return the value of each torchmetrics Metric; None where the value is NaN.

    Args:
        metrics: name → Metric, which is reset first.
        probabilities: (N, C) float32.
        labels: (N,) int64.

    Raises:
        TrainingError: a metric fails, or does not give one number.
    """
    values: dict[str, float | None] = {}
    for name, metric in metrics.items():
        try:
            metric.reset()
            metric.sync_on_compute = False  # every process has all predictions
            metric.update(probabilities, labels)
            value = float(metric.compute())
        except Exception as error:  # a user's metric may raise anything
            raise TrainingError(
                f"the metric {name} ({type(metric).__name__}) fails on probabilities {tuple(probabilities.shape)} and "
                f"labels {tuple(labels.shape)}: {describe_failure(error)}"
            ) from error
        values[name] = value if value == value else None
    return values
