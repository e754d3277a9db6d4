"""Values that modules and callbacks log with `self.log`."""

from collections.abc import Mapping
from typing import Any

SUBSET_PREFIXES = ("train/", "val/", "test/")


def logged_values(callback_metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the logged values under the names that were passed to `self.log`.

    Lightning stores a value logged with on_step=True and on_epoch=True three times: `x`, `x_step` and `x_epoch`. Only
    `x`, the epoch's value, is returned.

    Args:
        callback_metrics: of a Trainer, name → tensor of one number.
    """
    copies = {
        f"{name}{end}"
        for name in callback_metrics
        for end in ("_step", "_epoch")
        if f"{name}_step" in callback_metrics and f"{name}_epoch" in callback_metrics
    }
    return {name: float(value) for name, value in callback_metrics.items() if name not in copies}


def of_subset(values: Mapping[str, float], subset: str) -> dict[str, float]:
    """Return the values of a subset; a name without a subset gets the prefix of this one, `ece` → `test/ece`."""
    named = {name if name.startswith(SUBSET_PREFIXES) else f"{subset}/{name}": value for name, value in values.items()}
    return {name: value for name, value in named.items() if name.startswith(f"{subset}/")}
