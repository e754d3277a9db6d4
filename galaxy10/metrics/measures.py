"""What is measured: the one list that progress, metrics.csv, checkpoints, reports, comparisons and sweeps read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from galaxy10.runs.record import RunRecord


@dataclass(frozen=True)
class Measure:
    """A metric of a subset.

    Attributes:
        name: as in metrics.csv, without the subset. label: as people read it.
        direction: min or max, whichever is better.
        unit_range: whether its values lie between 0 and 1.
        meaning: one line for a report.
    """

    name: str
    label: str
    direction: str
    unit_range: bool = True
    meaning: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for provenance.json."""
        return asdict(self)


# What every run measures; F1 of each class (f1_<slug>) besides.
USUAL = (
    Measure("accuracy", "accuracy", "max", meaning="share of galaxies given the right class"),
    Measure("balanced_accuracy", "balanced accuracy", "max", meaning="the same, every class counting equally"),
    Measure(
        "macro_f1", "macro-F1", "max", meaning="mean of the classes' F1: high only where rare classes do well, too"
    ),
    Measure(
        "calibration_error",
        "calibration error",
        "min",
        meaning="how far confidence is from the share of right predictions; 0 is best",
    ),
    Measure("loss", "loss", "min", unit_range=False, meaning="cross-entropy; lower is better"),
)
USUAL_NAMES = tuple(measure.name for measure in USUAL)
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


def measures_of(metrics: Mapping[str, Any] | None) -> tuple[Measure, ...]:
    """Return what a run with a configuration's `metrics` section measures: the usual, then the user's own."""
    directions = directions_of(metrics)
    own = (
        Measure(name, str(node.get("label") or name.replace("_", " ")), directions[name], unit_range=False)
        for name, node in (metrics or {}).items()
    )
    return (*USUAL, *own)


def measures_of_run(run: "RunRecord") -> tuple[Measure, ...]:
    """Return what a run measured by its provenance.json, the usual metrics first; what is no measure is left out."""
    found = {measure.name: measure for measure in USUAL}
    listed = run.provenance.get("metrics")
    for record in listed if isinstance(listed, list) else ():
        if isinstance(record, Mapping) and {"name", "label", "direction"} <= set(record):
            given = {
                key: record[key] for key in ("name", "label", "direction", "unit_range", "meaning") if key in record
            }
            found.setdefault(str(record["name"]), Measure(**given))
    return tuple(found.values())


def logged_columns(run: "RunRecord") -> list[str]:
    """Return the columns of metrics.csv that a run's own code has handed to self.log."""
    if run.curves is None:
        return []
    known = {"train/loss", "train/accuracy", *(f"val/{measure.name}" for measure in measures_of_run(run))}
    return [str(c) for c in run.curves if "/" in str(c) and c not in known and not str(c).startswith("val/f1_")]
