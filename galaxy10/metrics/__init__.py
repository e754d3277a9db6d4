"""Metrics: names, directions and labels, and the functions that compute them."""

from typing import TYPE_CHECKING

from galaxy10.lazy import lazy_attributes

if TYPE_CHECKING:
    from galaxy10.metrics.classification import classification_metrics
    from galaxy10.metrics.confusion import class_scores, confusion_matrix
    from galaxy10.metrics.predictions import prediction_table
    from galaxy10.metrics.specs import MetricSpec

__all__ = [
    "MetricSpec",
    "class_scores",
    "classification_metrics",
    "confusion_matrix",
    "prediction_table",
]
__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "MetricSpec": "specs",
        "class_scores": "confusion",
        "classification_metrics": "classification",
        "confusion_matrix": "confusion",
        "prediction_table": "predictions",
    },
)
