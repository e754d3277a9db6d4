"""Which way a metric is better, by its name."""

_LOWER_IS_BETTER = ("loss", "calibration_error", "seconds", "data_share")


def lower_is_better(name: str) -> bool:
    """Whether the best value of e.g. `val/loss` is its lowest."""
    return name.endswith(_LOWER_IS_BETTER)


def better(name: str) -> str:
    """The same as Lightning says it: min or max."""
    return "min" if lower_is_better(name) else "max"
