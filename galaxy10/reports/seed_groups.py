"""Group runs that differ only in their seed, and compute mean and standard deviation over the seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.classes import slugs
from galaxy10.reports.html import is_number
from galaxy10.runs.directory import differences
from galaxy10.runs.record import SUBSETS, RunRecord

# The split hash identifies the galaxies; the paths of file and split table may differ between seeds.
_IGNORED_SETTINGS = ("seed", "data.path", "data.split_file")


@dataclass(frozen=True)
class MeanStd:
    """Mean and sample standard deviation of n values; the deviation is None for one value."""

    mean: float
    std: float | None
    n: int


@dataclass
class SeedGroup:
    """Finished runs of one experiment on one split, in order of their seeds."""

    runs: list[RunRecord]
    name: str = ""

    @property
    def config(self) -> dict[str, Any]:
        """Return the configuration of the first run."""
        return self.runs[0].config

    @property
    def model(self) -> str:
        """Return the name of the model."""
        model = self.runs[0].provenance_section("model").get("name") or RunRecord.section(self.config, "model").get(
            "name"
        )
        return str(model or self.runs[0].name)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the class names in label order."""
        return self.runs[0].class_names

    @cached_property
    def seeds(self) -> list[Any]:
        """Return the seeds of the runs; None for a run that does not record its seed."""
        return [seed_of(run) for run in self.runs]

    def spread(self, metric: str) -> MeanStd | None:
        """Return mean and deviation of `<subset>/<metric>` over the runs that have the metric."""
        return spread([run.metrics.get(metric) for run in self.runs])

    def mean_of(self, value: Callable[[RunRecord], Any]) -> float | None:
        """Return the mean over the runs of a number of each run; None if none has it."""
        found = spread([value(run) for run in self.runs])
        return found.mean if found else None

    def cost(self, name: str) -> float | None:
        """Return the mean over the runs of `seconds`, `images_per_s` (in training) or `parameters`."""
        values: dict[str, Callable[[RunRecord], Any]] = {
            "seconds": lambda run: run.status.get("seconds"),
            "images_per_s": lambda run: run.metrics.get("train/images_per_s"),
            "parameters": lambda run: run.provenance_section("model").get("parameters"),
        }
        return self.mean_of(values[name])

    def class_f1(self, subset: str) -> list[float]:
        """Return the mean F1 of every class over the seeds, C values; NaN for a class without F1."""
        found = [self.spread(f"{subset}/f1_{slug}") for slug in slugs(self.class_names)]
        return [f1.mean if f1 else float("nan") for f1 in found]

    def curve(self, column: str) -> pd.DataFrame | None:
        """Return epoch, mean, low and high of a column of metrics.csv over the seeds; None if no run has the column."""
        parts = [run.curves[["epoch", column]] for run in self.runs if run.curves is not None and column in run.curves]
        if not parts:
            return None
        table = pd.concat(parts)
        table[column] = pd.to_numeric(table[column], errors="coerce").replace([np.inf, -np.inf], np.nan)
        table = table.groupby("epoch")[column].agg(mean="mean", low="min", high="max").dropna().reset_index()
        return table if len(table) else None


def spread(values: Sequence[Any]) -> MeanStd | None:
    """Return mean and sample standard deviation of the finite numbers among the values; None if there are none."""
    found = [float(value) for value in values if is_number(value)]
    return MeanStd(fmean(found), stdev(found) if len(found) > 1 else None, len(found)) if found else None


def seed_of(run: RunRecord) -> Any:
    """Return the seed of a run; None if the run does not record its seed."""
    return run.config.get("seed", run.provenance.get("seed"))


def split_of(run: RunRecord) -> str:
    """Return a key that is equal for runs measured on the same galaxies.

    The key is the split's hash; for an evaluation on another file, which has no split, the identity of the file.
    """
    recorded = run.provenance_section("split").get("hash")
    identity = run.provenance_section("data").get("identity")
    return str(recorded or (f"file {identity}" if identity else f"unknown ({run.name})"))


def group_by_split(runs: Sequence[RunRecord]) -> dict[str, list[SeedGroup]]:
    """Return the seed groups of each split, sorted by mean accuracy, the best first; groups without accuracy last."""
    by_split: dict[str, list[SeedGroup]] = {}
    for run in runs:
        experiments = by_split.setdefault(split_of(run), [])
        match = next((e for e in experiments if same_experiment(e.runs[0], run)), None)
        if match is None:
            experiments.append(SeedGroup([run]))
        else:
            match.runs.append(run)
    for split, experiments in by_split.items():
        for experiment in experiments:
            experiment.runs = _latest_per_seed(experiment.runs)
        set_names(experiments)
        subset = shown_subset(experiments)
        by_split[split] = sorted(experiments, key=lambda e: _rank(e, f"{subset}/accuracy"))
    return by_split


def shown_subset(experiments: Sequence[SeedGroup]) -> str:
    """Return the subset on which experiments are compared: test, or val if none has a test accuracy."""
    return next((s for s in SUBSETS if any(e.spread(f"{s}/accuracy") for e in experiments)), SUBSETS[0])


def _rank(experiment: SeedGroup, metric: str) -> tuple[float, str]:
    found = experiment.spread(metric)
    return (-found.mean if found else 1.0, experiment.name)


def same_experiment(one: RunRecord, other: RunRecord, also_ignored: Sequence[str] = ()) -> bool:
    """Return whether two runs differ only in seed and path, and in settings that are ignored, too."""
    if not one.config or not other.config or _prediction_options(one) != _prediction_options(other):
        return False
    # An evaluation has the configuration of the training: another file there means another network.
    ignored = (*(("seed",) if one.is_evaluation else _IGNORED_SETTINGS), *also_ignored)
    return all(key in ignored for key, _, _ in differences(one.config, other.config))


def _prediction_options(run: RunRecord) -> tuple[Any, ...] | None:
    """Return the number of networks and the prediction options of an evaluation; None for a training."""
    if not run.is_evaluation:
        return None
    prediction = run.provenance_section("prediction")
    # Their values differ between the networks of one experiment.
    tempered = prediction.get("temperature", 1.0) != 1.0 or bool(prediction.get("label_smoothing_removed"))
    networks = str(run.provenance["trained_run"]).count(", ") + 1
    return (networks, prediction.get("modes"), prediction.get("requested_coverage"), tempered)


def _latest_per_seed(runs: list[RunRecord]) -> list[RunRecord]:
    """Keep the latest run of each seed: a repetition would make the deviation over seeds too small."""
    latest: dict[Any, RunRecord] = {}
    for run in sorted(runs, key=lambda r: str(r.status.get("ended") or "")):
        seed = seed_of(run)
        key = run.provenance["trained_run"] if run.is_evaluation else seed
        latest[run.path if key is None else key] = run
    return sorted(latest.values(), key=lambda r: (not is_number(seed_of(r)), seed_of(r) or 0, r.name))


def set_names(experiments: Sequence[SeedGroup], ignored: Sequence[str] = ()) -> None:
    """Name each group by its experiment, else its model; groups of the same name also by the settings that differ.

    ignored: settings that no name mentions, beside seed and path.
    """
    for experiment in experiments:
        choice = experiment.config.get("experiment")
        experiment.name = choice if isinstance(choice, str) and choice else experiment.model
    for name in {experiment.name for experiment in experiments}:
        same = [experiment for experiment in experiments if experiment.name == name]
        if len(same) > 1:
            _add_differences(same, (*_IGNORED_SETTINGS, *ignored))


def _add_differences(same: list[SeedGroup], ignored: Sequence[str]) -> None:
    keys: dict[str, None] = {}
    for other in same[1:]:
        found = differences(same[0].config, other.config) if same[0].config and other.config else []
        keys |= {key: None for key, _, _ in found if key not in ignored}
    settings = [", ".join(f"{key}={_look_up(e.config, key)}" for key in list(keys)[:3]) for e in same]
    for experiment, text in zip(same, settings, strict=True):
        ambiguous = not text or settings.count(text) > 1
        experiment.name += f" ({experiment.runs[0].name if ambiguous else text})"


def _look_up(config: dict[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
