"""Runs that differ only in their seed are one experiment, with a mean and a standard deviation."""

from collections.abc import Sequence
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

# The split hash says which galaxies were used; the same file may lie elsewhere for another seed.
_NOT_ANOTHER_EXPERIMENT = ("seed", "data.path")


@dataclass(frozen=True)
class Spread:
    """A metric over seeds: mean and sample standard deviation (None with one seed), n values."""

    mean: float
    std: float | None
    n: int


@dataclass
class Experiment:
    """Finished runs on one split that differ only in `seed`, in order of the seed."""

    runs: list[RunRecord]
    name: str = ""

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the first run."""
        return self.runs[0].config

    @property
    def model(self) -> str:
        """The network's name."""
        model = self.runs[0].provenance_section("model").get("name") or RunRecord.section(self.config, "model").get(
            "name"
        )
        return str(model or self.runs[0].name)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.runs[0].class_names

    @cached_property
    def seeds(self) -> list[Any]:
        """The seeds of the runs; None where a run does not say."""
        return [seed_of(run) for run in self.runs]

    def spread(self, metric: str) -> Spread | None:
        """Mean and spread of `<subset>/<metric>` over the runs that have it."""
        return spread([run.metrics.get(metric) for run in self.runs])

    def cost(self, name: str) -> float | None:
        """Mean of what a run costs: `seconds`, `images_per_s` or `parameters`."""
        values = {
            "seconds": [run.status.get("seconds") for run in self.runs],
            "images_per_s": [run.metrics.get("train/images_per_s") for run in self.runs],
            "parameters": [run.provenance_section("model").get("parameters") for run in self.runs],
        }[name]
        found = spread(values)
        return found.mean if found else None

    def class_f1(self, subset: str) -> list[float]:
        """Mean F1 of every class over the seeds, NaN where a class has none: C values."""
        found = [self.spread(f"{subset}/f1_{slug}") for slug in slugs(self.class_names)]
        return [f1.mean if f1 else float("nan") for f1 in found]

    def curve(self, column: str) -> pd.DataFrame | None:
        """One curve over the seeds: epoch, mean, low, high; None where no run has it."""
        parts = [run.curves[["epoch", column]] for run in self.runs if run.curves is not None and column in run.curves]
        if not parts:
            return None
        table = pd.concat(parts)
        table[column] = pd.to_numeric(table[column], errors="coerce").replace([np.inf, -np.inf], np.nan)
        table = table.groupby("epoch")[column].agg(mean="mean", low="min", high="max").dropna().reset_index()
        return table if len(table) else None


def spread(values: Sequence[Any]) -> Spread | None:
    """Mean and sample standard deviation of the finite numbers among the values; None if there is none."""
    found = [float(value) for value in values if is_number(value)]
    return Spread(fmean(found), stdev(found) if len(found) > 1 else None, len(found)) if found else None


def seed_of(run: RunRecord) -> Any:
    """The seed of a run, if it says."""
    return run.config.get("seed", run.provenance.get("seed"))


def split_of(run: RunRecord) -> str:
    """What must be equal for two runs to be measured on the same galaxies.

    The split's hash; for an evaluation on another file, which has no split, the identity of that file.
    """
    recorded = run.provenance_section("split").get("hash")
    identity = run.provenance_section("data").get("identity")
    return str(recorded or (f"file {identity}" if identity else f"unknown ({run.name})"))


def group_by_split(runs: Sequence[RunRecord]) -> dict[str, list[Experiment]]:
    """Experiments by split; within a split the best mean accuracy comes first, those without one last."""
    by_split: dict[str, list[Experiment]] = {}
    for run in runs:
        experiments = by_split.setdefault(split_of(run), [])
        match = next((e for e in experiments if _same_experiment(e.runs[0], run)), None)
        if match is None:
            experiments.append(Experiment([run]))
        else:
            match.runs.append(run)
    for split, experiments in by_split.items():
        for experiment in experiments:
            experiment.runs = _latest_per_seed(experiment.runs)
        _give_names(experiments)
        subset = shown_subset(experiments)
        by_split[split] = sorted(experiments, key=lambda e: _rank(e, f"{subset}/accuracy"))
    return by_split


def shown_subset(experiments: Sequence[Experiment]) -> str:
    """The subset experiments are compared on: test, unless none of them was tested."""
    return next((s for s in SUBSETS if any(e.spread(f"{s}/accuracy") for e in experiments)), SUBSETS[0])


def _rank(experiment: Experiment, metric: str) -> tuple[float, str]:
    found = experiment.spread(metric)
    return (-found.mean if found else 1.0, experiment.name)


def _same_experiment(one: RunRecord, other: RunRecord) -> bool:
    if not one.config or not other.config or _asked(one) != _asked(other):
        return False
    # An evaluation keeps the configuration of the training: there, another file means another network.
    alike = ("seed",) if one.is_evaluation else _NOT_ANOTHER_EXPERIMENT
    return all(key in alike for key, _, _ in differences(one.config, other.config))


def _asked(run: RunRecord) -> tuple[Any, ...] | None:
    """How an evaluation asked how many networks; None for a training."""
    if not run.is_evaluation:
        return None
    prediction = run.provenance_section("prediction")
    tempered = prediction.get("temperature", 1.0) != 1.0  # its value is each network's own
    networks = str(run.provenance["trained_run"]).count(", ") + 1
    return (networks, prediction.get("modes"), prediction.get("requested_coverage"), tempered)


def _latest_per_seed(runs: list[RunRecord]) -> list[RunRecord]:
    """The same seed run twice is no second measurement: it would make the spread look smaller than it is."""
    latest: dict[Any, RunRecord] = {}
    for run in sorted(runs, key=lambda r: str(r.status.get("ended") or "")):
        seed = seed_of(run)
        key = run.provenance["trained_run"] if run.is_evaluation else seed
        latest[run.path if key is None else key] = run
    return sorted(latest.values(), key=lambda r: (not is_number(seed_of(r)), seed_of(r) or 0, r.name))


def _give_names(experiments: list[Experiment]) -> None:
    """The recipe's name or the model's; where that is not enough, what differs."""
    for experiment in experiments:
        recipe = experiment.config.get("experiment")
        experiment.name = recipe if isinstance(recipe, str) and recipe else experiment.model
    for name in {experiment.name for experiment in experiments}:
        same = [experiment for experiment in experiments if experiment.name == name]
        if len(same) > 1:
            _tell_apart(same)


def _tell_apart(same: list[Experiment]) -> None:
    keys: dict[str, None] = {}
    for other in same[1:]:
        found = differences(same[0].config, other.config) if same[0].config and other.config else []
        keys |= {key: None for key, _, _ in found if key not in _NOT_ANOTHER_EXPERIMENT}
    words = [", ".join(f"{key}={_look_up(e.config, key)}" for key in list(keys)[:3]) for e in same]
    for experiment, word in zip(same, words, strict=True):
        ambiguous = not word or words.count(word) > 1
        experiment.name += f" ({experiment.runs[0].name if ambiguous else word})"


def _look_up(config: dict[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
