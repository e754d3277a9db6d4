"""What is measured."""

from typing import TYPE_CHECKING

from galaxy10.lazy import lazy_names

if TYPE_CHECKING:
    from galaxy10.metrics.classification import classification_metrics
    from galaxy10.metrics.confusion import class_scores, confusion_counts
    from galaxy10.metrics.measures import Measure
    from galaxy10.metrics.predictions import prediction_table

__all__ = [
    "Measure",
    "class_scores",
    "classification_metrics",
    "confusion_counts",
    "prediction_table",
]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Measure": "measures",
        "class_scores": "confusion",
        "classification_metrics": "classification",
        "confusion_counts": "confusion",
        "prediction_table": "predictions",
    },
)
