"""Trained runs on labelled files: predictions and metrics."""

from typing import TYPE_CHECKING

from galaxy10.lazy import lazy_attributes

if TYPE_CHECKING:
    from galaxy10.evaluation.as_trained import evaluate_as_trained
    from galaxy10.evaluation.evaluate import evaluate_run

__all__ = [
    "evaluate_as_trained",
    "evaluate_run",
]
__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "evaluate_run": "evaluate",
        "evaluate_as_trained": "as_trained",
    },
)
