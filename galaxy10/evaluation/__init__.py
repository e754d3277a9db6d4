"""From prediction tables to metrics, figures and pages."""

from typing import TYPE_CHECKING

from galaxy10.lazy import lazy_names

if TYPE_CHECKING:
    from galaxy10.evaluation.as_trained import score_file
    from galaxy10.evaluation.evaluate import evaluate_run

__all__ = [
    "evaluate_run",
    "score_file",
]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "evaluate_run": "evaluate",
        "score_file": "as_trained",
    },
)
