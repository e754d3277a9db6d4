"""Intervals of the metrics of an experiment: over galaxies, over seeds, and over folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import pandas as pd
from scipy.stats import t

from galaxy10.metrics.bootstrap import bootstrap_intervals
from galaxy10.reports.seed_groups import MeanStd, SeedGroup, spread

INTERVAL_METRICS = ("accuracy", "macro_f1")
Interval = tuple[float, float]


@dataclass(frozen=True)
class FoldRow:
    """The metrics of an experiment whose folds are pooled.

    Attributes:
        pooled: metric → value over all galaxies, mean over the seeds.
        galaxies, folds: metric → 95 % interval over galaxies (bootstrap) and over folds (Student's t).
        by_fold: metric → value of each fold, mean over the seeds.
    """

    name: str
    num_seeds: int
    pooled: dict[str, float | None]
    galaxies: dict[str, Interval]
    folds: dict[str, Interval | None]
    by_fold: dict[str, list[float]]

    def columns(self) -> dict[str, float]:
        """Return <metric>_galaxies_low and _high and <metric>_folds_low and _high, for a table of comparisons."""
        found = {}
        for over, intervals in (("galaxies", self.galaxies), ("folds", self.folds)):
            for name, interval in intervals.items():
                if interval is not None:
                    found[f"{name}_{over}_low"], found[f"{name}_{over}_high"] = interval
        return found


def fold_rows(experiments: Sequence[SeedGroup]) -> list[FoldRow]:
    """Return a row for each experiment with pooled folds."""
    rows = []
    for experiment in (e for e in experiments if any(run.folds for run in e.runs)):
        pooled = {name: experiment.spread(f"test/{name}") for name in INTERVAL_METRICS}
        by_fold = {name: _by_fold(experiment, f"test/{name}") for name in INTERVAL_METRICS}
        rows.append(
            FoldRow(
                name=experiment.name,
                num_seeds=len(experiment.runs),
                pooled={name: found.mean if found else None for name, found in pooled.items()},
                galaxies=galaxy_intervals(experiment, "test"),
                folds={name: student_interval(spread(values)) for name, values in by_fold.items()},
                by_fold=by_fold,
            )
        )
    return rows


def student_interval(found: MeanStd | None) -> Interval | None:
    """Return the 95 % interval (Student's t) of a mean; None for fewer than two values."""
    if found is None or found.std is None:
        return None
    half = float(t.ppf(0.975, found.n - 1)) * found.std / sqrt(found.n)
    return found.mean - half, found.mean + half


def galaxy_intervals(experiment: SeedGroup, subset: str) -> dict[str, Interval]:
    """Return the 95 % bootstrap intervals over the galaxies of INTERVAL_METRICS, means over the seeds.

    The mapping is empty if no run has predictions; galaxies that some run has not predicted are left out.
    """
    tables = [run.predictions[subset].set_index("row") for run in experiment.runs if subset in run.predictions]
    if not tables:
        return {}
    predicted = pd.concat([table["predicted"] for table in tables], axis=1, join="inner")
    if predicted.empty:
        return {}
    labels = tables[0]["label"].loc[predicted.index].to_numpy(np.int64)
    return bootstrap_intervals(labels, predicted.to_numpy(np.int64).T, len(experiment.class_names))


def _by_fold(experiment: SeedGroup, metric: str) -> list[float]:
    pooled = [run.folds for run in experiment.runs if run.folds]
    found = [spread([fold.metrics.get(metric) for fold in same]) for same in zip(*pooled, strict=True)]
    return [value.mean for value in found if value]
