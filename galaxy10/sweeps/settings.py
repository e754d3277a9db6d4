"""The `sweep` section of a configuration: the values that its settings allow, and the study that it describes."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from galaxy10.config.fields import (
    Field,
    check_fields,
    choice,
    did_you_mean,
    format_value,
    integer,
    number,
    optional,
    text,
)
from galaxy10.errors import Galaxy10Error
from galaxy10.metrics.specs import DEFAULT_METRIC_NAMES, VOTE_METRIC_NAMES, lower_is_better
from galaxy10.sweeps.points import all_points, to_params
from galaxy10.sweeps.space import Parameter, read_space

ACTIONS = ("run", "status", "report", "confirm")
_LIST_OF_NUMBERS = Field(
    lambda v: isinstance(v, list) and bool(v) and all(isinstance(x, int) and not isinstance(x, bool) for x in v),
    "a list of whole numbers, as in [0,1,2]",
)
_NAME_OR_NAMES = Field(
    lambda v: (isinstance(v, str) and v != "") or (isinstance(v, list) and bool(v) and len(set(map(str, v))) == len(v)),
    "a metric such as val/macro_f1, or several, as in '[val/macro_f1,train/images_per_s]'",
)
_DIRECTION = choice("maximize", "minimize")

SWEEP_FIELDS: dict[str, Field] = {
    "sweep.name": text(),
    "sweep.action": choice(*ACTIONS),
    "sweep.dir": text(),
    "sweep.storage": optional(text()),
    "sweep.objective": _NAME_OR_NAMES,
    "sweep.direction": Field(
        lambda v: v is None or all(_DIRECTION.allows(x) for x in (v if isinstance(v, list) else [v])),
        "maximize, minimize, one of them for each objective, or null for the direction of the metric",
        ("maximize", "minimize"),
    ),
    "sweep.n_trials": optional(integer(1)),
    "sweep.hours": optional(number(0, above=True)),
    "sweep.sampler": choice("tpe", "random", "grid", "cmaes"),
    "sweep.pruner": choice("median", "halving", "hyperband", "none"),
    "sweep.startup_trials": integer(0),
    "sweep.warmup_epochs": integer(0),
    "sweep.retries": integer(0, 100),
    "sweep.max_failures": integer(1),
    "sweep.seed": integer(0, 2**31 - 1),
    "sweep.workers": integer(1, 10_000),
    "sweep.workers_per_gpu": integer(1, 1000),
    "sweep.launcher": choice("local", "slurm"),
    "sweep.confirm_top": integer(1),
    "sweep.confirm_seeds": _LIST_OF_NUMBERS,
    "sweep.overrides": Field(
        lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v), "a list of overrides"
    ),
    "sweep.initial_points": Field(
        lambda v: isinstance(v, list) and all(isinstance(x, dict) for x in v), "a list of points of the space"
    ),
}
# Metrics that a run measures once, at its end; it measures all others every epoch.
AT_THE_END = ("train/images_per_s", "train/scoring_images_per_s", "train/seconds", "train/data_time_fraction")


@dataclass(frozen=True)
class Sweep:
    """The settings of a study, as plain values that workers receive as JSON.

    Attributes:
        overrides: of train.py, for every trial.
        config_dir: the user's own configuration folder, if any.
        max_epochs: of every trial; None if the space varies it.
        groups: configuration groups and their choices.
    """

    name: str
    directory: str
    objectives: tuple[str, ...]
    directions: tuple[str, ...]
    space: dict[str, Any]
    initial_points: tuple[dict[str, Any], ...]
    overrides: tuple[str, ...]
    n_trials: int | None
    hours: float | None
    sampler: str
    pruner: str
    startup_trials: int
    warmup_epochs: int
    retries: int
    max_failures: int
    seed: int
    storage: str | None = None
    config_dir: str | None = None
    max_epochs: int | None = None
    groups: dict[str, list[str]] | None = None

    @property
    def path(self) -> Path:
        """Return the study's directory."""
        return Path(self.directory)

    @property
    def parameters(self) -> list[Parameter]:
        """Return the parameters of the search space."""
        return read_space(self.space, self.groups or {})

    def trial_directory(self, number: int) -> Path:
        """Return the run directory of a trial."""
        return self.path / "trials" / f"{number:04}"

    def to_json(self) -> str:
        """Return the settings as JSON, for a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, content: str) -> "Sweep":
        """Create the settings from the JSON of to_json."""
        values: dict[str, Any] = json.loads(content)
        lists = ("objectives", "directions", "initial_points", "overrides")
        return cls(**(values | {key: tuple(values[key]) for key in lists}))


def read_sweep(
    section: Mapping[str, Any],
    overrides: list[str],
    groups: dict[str, list[str]],
    config_dir: str | None,
    metric_directions: Mapping[str, str] | None = None,
) -> tuple[Sweep, list[str]]:
    """Read the study that a `sweep` section describes, and remarks about initial points that were left out.

    Args:
        overrides: of every trial.
        groups: configuration groups and their choices, for the space.
        config_dir: the user's own configuration folder, if any.
        metric_directions: min or max of a user's own metrics.

    Raises:
        Galaxy10Error: a setting is not valid.
    """
    settings = {key: value for key, value in section.items() if key != "space"}
    check_fields({f"sweep.{key}": value for key, value in settings.items()}, SWEEP_FIELDS)
    space = read_space(section.get("space"), groups)
    _check_overrides(space, overrides)
    objectives = tuple([section["objective"]] if isinstance(section["objective"], str) else section["objective"])
    same = ("name", "n_trials", "hours", "sampler", "pruner", "startup_trials", "warmup_epochs", "retries")
    kept: dict[str, Any] = {key: section[key] for key in (*same, "max_failures", "seed", "storage")}
    sweep = Sweep(
        **kept,
        directory=str(section["dir"]),
        objectives=objectives,
        directions=_directions(section["direction"], objectives, metric_directions),
        space=dict(section["space"]),
        initial_points=(),
        overrides=tuple(overrides),
        config_dir=config_dir,
        groups=groups,
    )
    _check_budget(sweep)
    points, remarks = _initial_points(section["initial_points"], space)
    return replace(sweep, initial_points=tuple(points)), remarks


def _check_overrides(space: list[Parameter], overrides: list[str]) -> None:
    given = {word.lstrip("+~").partition("=")[0]: word for word in overrides}
    for parameter in space:
        if parameter.key in given:
            raise Galaxy10Error(
                f"{given[parameter.key]} is fixed, and sweep.space varies {parameter.key}; leave out one of them "
                f"(~sweep.space.{parameter.key} removes it from the space)"
            )


def _initial_points(points: list[dict[str, Any]], space: list[Parameter]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the initial points that lie in the space, and remarks about those that do not."""
    kept, remarks = [], []
    varied = {parameter.key for parameter in space}
    for point in points:
        left = {key: value for key, value in point.items() if key in varied}
        try:
            to_params(space, left)
        except Galaxy10Error as error:
            remarks.append(f"a point of sweep.initial_points is left out: {error}")
            continue
        kept.append(left)
        if len(left) < len(point):
            without = ", ".join(key for key in point if key not in varied)
            remarks.append(f"a point of sweep.initial_points is used without {without}, which the space does not vary")
    return kept, remarks


def _directions(given: Any, objectives: tuple[str, ...], own: Mapping[str, str] | None) -> tuple[str, ...]:
    if given is None:
        return tuple("minimize" if lower_is_better(name, own) else "maximize" for name in objectives)
    directions = tuple([given] * len(objectives) if isinstance(given, str) else given)
    if len(directions) != len(objectives):
        raise Galaxy10Error(
            f"sweep.direction={format_value(given)} does not match {len(objectives)} objectives; "
            "give one for each, or null"
        )
    return directions


def _check_budget(sweep: Sweep) -> None:
    if sweep.n_trials is None and sweep.hours is None:
        raise Galaxy10Error("a study needs an end: type sweep.n_trials=20 or sweep.hours=2")
    several = len(sweep.objectives) > 1
    if several and sweep.pruner != "none":
        raise Galaxy10Error(
            f"sweep.pruner={sweep.pruner} compares one objective, and sweep.objective names {len(sweep.objectives)}; "
            "type sweep.pruner=none"
        )
    if several and sweep.sampler == "cmaes":
        raise Galaxy10Error("sweep.sampler=cmaes searches for one objective; type sweep.sampler=tpe")
    if sweep.sampler == "grid":
        all_points(sweep.parameters)
    if sweep.storage is not None and "://" not in sweep.storage:
        raise Galaxy10Error(
            f"sweep.storage={sweep.storage} is not a database URL; expected e.g. postgresql://user@host/database, "
            "or null for a journal file in sweep.dir"
        )


def check_objectives(sweep: Sweep, class_slugs: tuple[str, ...] | None, own: Collection[str], logs: bool) -> None:
    """Check that every objective is a metric of a run, and not of its training or test galaxies.

    Args:
        class_slugs: of the file's classes, whose F1 can be objectives; None if the classes are not known yet.
        own: names of the user's own metrics.
        logs: whether a trial runs the user's own code, which may log other metrics.

    Raises:
        Galaxy10Error: an objective is not allowed.
    """
    per_class = [f"val/f1_{slug}" for slug in class_slugs or ()]
    for name in sweep.objectives:
        if name.startswith("test/"):
            raise Galaxy10Error(
                f"sweep.objective={name} would choose a trial by its test galaxies; "
                f"type sweep.objective=val/{name.removeprefix('test/')}"
            )
        if name in ("train/loss", "train/accuracy"):
            raise Galaxy10Error(
                f"sweep.objective={name} would choose a trial by its training galaxies; "
                f"type sweep.objective=val/{name.removeprefix('train/')}"
            )
        known = [
            *(f"val/{metric}" for metric in (*DEFAULT_METRIC_NAMES, *VOTE_METRIC_NAMES, *own)),
            *AT_THE_END,
            *per_class,
        ]
        if (
            name not in known
            and not (logs and name.startswith("val/"))
            and not (class_slugs is None and str(name).startswith("val/f1_"))
        ):
            raise Galaxy10Error(f"there is no metric {name}{did_you_mean(str(name), known)} (sweep.objective)")
        if name in AT_THE_END and sweep.pruner != "none":
            raise Galaxy10Error(f"sweep.objective={name} is measured only at the end of a run; type sweep.pruner=none")
