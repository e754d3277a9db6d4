"""Which way a metric is better."""

from collections.abc import Mapping
from typing import Any

# What every run measures of a subset, and what metrics.csv calls it; F1 of each class (f1_<slug>) besides.
USUAL = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "calibration_error")
_LOWER_IS_BETTER = ("loss", "calibration_error", "seconds", "data_share")


def lower_is_better(name: str, directions: Mapping[str, str] | None = None) -> bool:
    """Return whether the best value of a metric such as `val/loss` is its lowest.

    directions: min or max of a user's own metrics, by their name without the subset.
    """
    own = (directions or {}).get(name.partition("/")[2] or name)
    return own == "min" if own else name.endswith(_LOWER_IS_BETTER)


def better(name: str, directions: Mapping[str, str] | None = None) -> str:
    """Return `min` or `max`, as Lightning says it."""
    return "min" if lower_is_better(name, directions) else "max"


def directions_of(metrics: Mapping[str, Any] | None) -> dict[str, str]:
    """Return min or max of every metric in a configuration's `metrics` section.

    By its `direction`; without one, by the class's `higher_is_better`, for which it is imported.

    Raises:
        Galaxy10Error: it cannot be imported.
    """
    found = {}
    for name, node in (metrics or {}).items():
        direction = node.get("direction")
        if direction is None:
            from galaxy10.config.building import resolve

            cls = resolve(node["_target_"], f"metrics.{name}._target_")
            direction = "min" if getattr(cls, "higher_is_better", None) is False else "max"
        found[name] = direction
    return found


def labels_of(metrics: Mapping[str, Any] | None) -> dict[str, str]:
    """Return how people read every metric of a configuration's `metrics` section: its `label`, else its name."""
    return {name: str(node.get("label") or name.replace("_", " ")) for name, node in (metrics or {}).items()}
