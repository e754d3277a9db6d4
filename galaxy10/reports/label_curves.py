"""Accuracy and macro-F1 by number of labels, from runs that differ only in data.train_fraction, epochs and seed."""

from collections.abc import Sequence

import pandas as pd

from galaxy10.reports.intervals import INTERVAL_METRICS, student_interval
from galaxy10.reports.seed_groups import SeedGroup, same_experiment, set_names
from galaxy10.runs.record import RunRecord

FRACTION = "data.train_fraction"
EPOCHS = "trainer.max_epochs"  # fewer labels are usually trained on in more epochs


def label_curves(experiments: Sequence[SeedGroup], subset: str) -> dict[str, pd.DataFrame]:
    """Return a table for each experiment that was trained with several numbers of labels, by its name.

    The table has a row per number: labels (mean number of training images), and for accuracy and macro_f1 the mean over
    the seeds and the ends <metric>_low and <metric>_high of its 95 % interval (Student's t; NaN for one seed).

    Args:
        experiments: of one split; groups that differ in data.train_fraction only are one experiment here, and those
            that differ in trainer.max_epochs, too, unless others are closer.
    """
    series: list[list[SeedGroup]] = []
    for experiment in experiments:
        found = next(
            (
                group
                for ignored in ((FRACTION,), (FRACTION, EPOCHS))
                for group in series
                if all(_fraction(other) != _fraction(experiment) for other in group)
                and same_experiment(group[0].runs[0], experiment.runs[0], ignored)
            ),
            None,
        )
        if found is None:
            series.append([experiment])
        else:
            found.append(experiment)
    named = [SeedGroup(list(group[0].runs)) for group in series]
    set_names(named, (FRACTION,))
    tables = {one.name: _curve(group, subset) for one, group in zip(named, series, strict=True)}
    return {name: table for name, table in tables.items() if len(table) > 1}


def num_labels(run: RunRecord) -> int | None:
    """Return the number of training images of a run; None if the run does not record it."""
    counts = RunRecord.section(run.provenance_section("split"), "counts")
    return counts.get("train") or None  # an evaluation counts none


def _fraction(experiment: SeedGroup) -> float:
    return RunRecord.section(experiment.config, "data").get("train_fraction") or 1.0


def _curve(groups: Sequence[SeedGroup], subset: str) -> pd.DataFrame:
    rows = []
    for group in groups:
        labels = [n for run in group.runs if (n := num_labels(run))]
        row = {"labels": sum(labels) / len(labels) if labels else float("nan")}
        for metric in INTERVAL_METRICS:
            found = group.spread(f"{subset}/{metric}")
            mean = found.mean if found else float("nan")
            interval = student_interval(found) or (float("nan"), float("nan"))
            row |= {metric: mean, f"{metric}_low": interval[0], f"{metric}_high": interval[1]}
        rows.append(row)
    table = pd.DataFrame(rows).dropna(subset=["labels", *INTERVAL_METRICS])
    return table.sort_values("labels", ignore_index=True)
