"""The list of metrics that progress, metrics.csv, checkpoints, reports, comparisons and sweeps share."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from galaxy10.runs.record import RunRecord


@dataclass(frozen=True)
class MetricSpec:
    """Name, direction and label of a metric of a subset.

    Attributes:
        name: as in metrics.csv, without the subset.
        label: the name on pages and in messages.
        direction: `min` if lower values are better, else `max`.
        unit_range: whether the values lie between 0 and 1.
        meaning: one line for a report.
    """

    name: str
    label: str
    direction: str
    unit_range: bool = True
    meaning: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values, for provenance.json."""
        return asdict(self)


# Every run measures these, and the F1 of each class (f1_<slug>).
DEFAULT_METRICS = (
    MetricSpec("accuracy", "accuracy", "max", meaning="share of galaxies with the correct prediction"),
    MetricSpec("balanced_accuracy", "balanced accuracy", "max", meaning="mean recall of the classes"),
    MetricSpec(
        "macro_f1", "macro-F1", "max", meaning="mean F1 of the classes: high only if rare classes are recognised, too"
    ),
    MetricSpec(
        "calibration_error",
        "calibration error",
        "min",
        meaning="mean difference of confidence and accuracy; 0 is best",
    ),
    MetricSpec("loss", "loss", "min", unit_range=False, meaning="cross-entropy; lower is better"),
)
DEFAULT_METRIC_NAMES = tuple(spec.name for spec in DEFAULT_METRICS)
# Measured where the data have people's votes (votes.vote_metrics).
VOTE_METRICS = (
    MetricSpec(
        "vote_brier", "Brier score to votes", "min", unit_range=False, meaning="squared distance to the vote fractions"
    ),
    MetricSpec(
        "vote_kl",
        "KL divergence to votes",
        "min",
        unit_range=False,
        meaning="from the vote fractions, in nats; 0 is best",
    ),
    MetricSpec(
        "vote_entropy_correlation",
        "entropy correlation with votes",
        "max",
        unit_range=False,
        meaning="rank correlation of the network's uncertainty and people's disagreement",
    ),
)
VOTE_METRIC_NAMES = tuple(spec.name for spec in VOTE_METRICS)
_LOWER_IS_BETTER = ("loss", "calibration_error", "seconds", "data_time_fraction", "vote_brier", "vote_kl")


def lower_is_better(name: str, directions: Mapping[str, str] | None = None) -> bool:
    """Return whether lower values of a metric such as `val/loss` are better.

    directions: min or max of a user's own metrics, by the metric's name without the subset.
    """
    own = (directions or {}).get(name.partition("/")[2] or name)
    return own == "min" if own else name.endswith(_LOWER_IS_BETTER)


def metric_mode(name: str, directions: Mapping[str, str] | None = None) -> str:
    """Return `min` or `max`: the `mode` of Lightning's callbacks for a metric."""
    return "min" if lower_is_better(name, directions) else "max"


def metric_directions(metrics: Mapping[str, Any] | None) -> dict[str, str]:
    """Return min or max of every metric in a configuration's `metrics` section.

    A metric without `direction` is imported for its `higher_is_better`; `max` unless that is False.

    Raises:
        Galaxy10Error: a metric's class cannot be imported.
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


def metric_specs(metrics: Mapping[str, Any] | None) -> tuple[MetricSpec, ...]:
    """Return the metrics of a run with a configuration's `metrics` section: the default ones, then the user's own."""
    directions = metric_directions(metrics)
    own = (
        MetricSpec(name, str(node.get("label") or name.replace("_", " ")), directions[name], unit_range=False)
        for name, node in (metrics or {}).items()
    )
    return (*DEFAULT_METRICS, *own)


def metric_specs_of_run(run: "RunRecord") -> tuple[MetricSpec, ...]:
    """Return the metrics of a run: the default ones, those of votes if they were measured, those in provenance.json.

    Malformed entries are left out.
    """
    measured = {*run.metrics, *(() if run.curves is None else map(str, run.curves))}
    voted = (spec for spec in VOTE_METRICS if {f"val/{spec.name}", f"test/{spec.name}"} & measured)
    found = {spec.name: spec for spec in (*DEFAULT_METRICS, *voted)}
    listed = run.provenance.get("metrics")
    for record in listed if isinstance(listed, list) else ():
        if isinstance(record, Mapping) and {"name", "label", "direction"} <= set(record):
            given = {
                key: record[key] for key in ("name", "label", "direction", "unit_range", "meaning") if key in record
            }
            found.setdefault(str(record["name"]), MetricSpec(**given))
    return tuple(found.values())


def logged_columns(run: "RunRecord") -> list[str]:
    """Return the columns of metrics.csv that a user's module or callback has logged with self.log."""
    if run.curves is None:
        return []
    known = {"train/loss", "train/accuracy", *(f"val/{spec.name}" for spec in metric_specs_of_run(run))}
    return [str(c) for c in run.curves if "/" in str(c) and c not in known and not str(c).startswith("val/f1_")]
