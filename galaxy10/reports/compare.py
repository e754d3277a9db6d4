"""Compare runs on one page and in one table, from their directories alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.classes import slugs
from galaxy10.errors import Galaxy10Error
from galaxy10.metrics.specs import DEFAULT_METRIC_NAMES, MetricSpec, logged_columns, metric_specs_of_run
from galaxy10.reports.comparison_markdown import comparison_markdown
from galaxy10.reports.figures.comparison import curves_together, f1_heat_map, metrics_by_labels
from galaxy10.reports.finished_runs import SUBSET_NAMES, device_of, read_finished, split_description
from galaxy10.reports.folds import pool_folds
from galaxy10.reports.html import Drawing, PageFigure, render, write_figure, write_file
from galaxy10.reports.intervals import INTERVAL_METRICS, FoldRow, fold_rows
from galaxy10.reports.label_curves import EPOCHS, FRACTION, label_curves, num_labels
from galaxy10.reports.out_of_fold import write_out_of_fold
from galaxy10.reports.pairwise import MisclassifiedGalaxies, PairwiseTest, always_misclassified, pairwise_tests
from galaxy10.reports.published import BASELINE, LEAK_WARNING, OTHERS, baseline_result
from galaxy10.reports.seed_groups import SeedGroup, group_by_split, shown_subset
from galaxy10.reports.style import MANY
from galaxy10.runs.record import RunRecord

COSTS = ("seconds", "images_per_s", "parameters")
_STAGES = {"train": "training", "val": "validation"}
_CURVES = ("val/loss", "val/accuracy", "val/macro_f1", "train/loss")
_MOST_LOGGED = 12  # curves of metrics that the user's code has logged; metrics.csv has the rest


@dataclass(frozen=True)
class SplitSection:
    """The section of the page about the experiments on one split.

    key: see split_of. number: of the section, from 1. folds: of experiments whose folds are pooled. hard: galaxies that
    every run misclassifies.
    """

    key: str
    number: int
    subset: str
    description: str
    specs: tuple[MetricSpec, ...]
    rows: list[dict[str, Any]]
    folds: list[FoldRow]
    figures: list[PageFigure]
    hard: MisclassifiedGalaxies | None
    pairwise_tests: list[PairwiseTest]


def compare_runs(run_dirs: list[Path], out_dir: Path) -> Path:
    """Compare runs: write index.html, comparison.csv, comparison.md and figures/*.png.

    Runs that differ only in their seed become one row. The folds of one k-fold split are pooled, and their predictions
    written to out_of_fold.parquet and out_of_fold/. Rows are ranked within one split only.

    Args:
        run_dirs: run directories; the page lists those that are no run, or not finished, as left out.
        out_dir: the folder to write to, created if necessary.

    Returns:
        The path of index.html.

    Raises:
        Galaxy10Error: none of the folders is a finished run, or out_dir cannot be written.
    """
    finished, left_out = read_finished(run_dirs)
    if not finished:
        raise Galaxy10Error(
            f"none of the {len(run_dirs)} folders given is a finished run"
            + (f" ({left_out[0][0]}: {left_out[0][1]})" if left_out else "")
            + "; give run directories, such as runs/*"
        )
    out = Path(out_dir)
    pooled, notes = pool_folds(finished)
    by_split = group_by_split(pooled)
    parts = [_part(number, key, experiments, out) for number, (key, experiments) in enumerate(by_split.items(), 1)]
    table = _table(parts)
    write_file(out / "comparison.csv", table.to_csv(index=False).encode())
    write_out_of_fold([experiment for experiments in by_split.values() for experiment in experiments], out)
    markdown = comparison_markdown([(f"{part.description} (split {part.key})", part.rows) for part in parts])
    write_file(out / "comparison.md", markdown.encode())
    page = render(
        "compare.html.j2",
        parts=parts,
        subset_names=SUBSET_NAMES,
        left_out=left_out,
        notes=notes,
        num_runs=len(finished),
        baseline=BASELINE,
        others=OTHERS,
        leak_warning=LEAK_WARNING,
    )
    return write_file(out / "index.html", page.encode())


def _part(number: int, key: str, experiments: list[SeedGroup], out: Path) -> SplitSection:
    subset = shown_subset(experiments)
    specs = tuple({s.name: s for e in experiments for run in e.runs for s in metric_specs_of_run(run)}.values())
    drawings = _drawings(number, experiments, subset, specs)
    return SplitSection(
        key=key,
        number=number,
        subset=subset,
        description=split_description(experiments, subset),
        specs=specs,
        rows=_rows(experiments, subset, specs),
        folds=fold_rows(experiments),
        figures=[write_figure(drawing, out / "figures") for drawing in drawings],
        hard=always_misclassified(experiments, subset),
        pairwise_tests=pairwise_tests(experiments, subset),
    )


def _rows(experiments: list[SeedGroup], subset: str, specs: Sequence[MetricSpec]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for experiment in experiments:
        spreads = {spec.name: experiment.spread(f"{subset}/{spec.name}") for spec in specs}
        ranked = spreads["accuracy"] is not None
        rows.append(
            {
                "rank": len(rows) + 1 if ranked else None,
                "experiment": experiment,
                "spreads": spreads,
                "published": baseline_result(experiment.model),
                "device": device_of(experiment.runs[0]),
                "weights": _weights(experiment.runs[0]),
                **{name: experiment.cost(name) for name in COSTS},
            }
        )
    for spec in specs:
        key = spec.name
        means = [row["spreads"][key].mean for row in rows if row["spreads"][key]]
        best = (min if spec.direction == "min" else max)(means) if len(set(means)) > 1 else None
        for row in rows:
            row[f"best_{key}"] = best is not None and row["spreads"][key] and row["spreads"][key].mean == best
    return rows


def _weights(run: RunRecord) -> str | None:
    """Return the initial weights of a network; None for a network that has no pretrained weights to load."""
    model = run.provenance_section("model")
    if not model.get("backbone") or not model.get("weights"):
        return None
    weights = str(model["weights"])
    return "no pretrained weights" if weights == "random initialisation" else weights


def _table(parts: list[SplitSection]) -> pd.DataFrame:
    """Return comparison.csv: one row per experiment, numbers at full precision, missing numbers empty."""
    lines = []
    for part in parts:
        for row in part.rows:
            experiment: SeedGroup = row["experiment"]
            line: dict[str, Any] = {
                "split": part.key,
                "rank_within_split": row["rank"],
                "experiment": experiment.name,
                "model": experiment.model,
                "seeds": " ".join(str(seed) for seed in experiment.seeds),
                "runs": " ".join(run.name for run in experiment.runs),
                "subset": part.subset,
                "train_images": experiment.mean_of(num_labels),
                "weights": row["weights"],
            }
            for key in (spec.name for spec in part.specs):
                found = row["spreads"][key]
                line |= {key: found.mean if found else None, f"{key}_std": found.std if found else None}
            for fold_row in (found for found in part.folds if found.name == experiment.name):
                line |= fold_row.columns()
            line |= {name: row[name] for name in COSTS}
            line["published_accuracy"] = row["published"].accuracy if row["published"] else None
            names = [f"f1_{slug}" for slug in slugs(experiment.class_names)]
            line |= dict(zip(names, experiment.class_f1(part.subset), strict=True))
            lines.append(line)
    return pd.DataFrame(lines).astype({"rank_within_split": "Int64"})


def _curves(experiments: list[SeedGroup], specs: Sequence[MetricSpec]) -> list[tuple[str, str, bool]]:
    """Return column of metrics.csv, label, and whether values lie between 0 and 1, of every curve to draw."""
    by_name = {spec.name: spec for spec in specs}
    own = [f"val/{name}" for name in by_name if name not in DEFAULT_METRIC_NAMES]
    logged = list(dict.fromkeys(c for e in experiments for run in e.runs for c in logged_columns(run)))[:_MOST_LOGGED]
    found = []
    for column in (*_CURVES, *own, *logged):
        stage, _, name = column.partition("/")
        spec = by_name.get(name) if column not in logged else None
        label = f"{_STAGES.get(stage, stage)} {spec.label if spec else name}"
        found.append((column, label, spec is not None and spec.unit_range))
    return found


def _drawings(number: int, experiments: list[SeedGroup], subset: str, specs: Sequence[MetricSpec]) -> list[Drawing]:
    drawings = []
    names = [experiment.name for experiment in experiments]
    # One split may hold a file read with other class names; a heat map needs one set of classes.
    same = [e for e in experiments if e.class_names == experiments[0].class_names]
    f1 = np.array([experiment.class_f1(subset) for experiment in same])
    if f1.size and np.isfinite(f1).any():
        drawings.append(
            Drawing(
                f"f1_by_class_{number}",
                f"F1 of every class, {SUBSET_NAMES[subset]}",
                "Mean over seeds; the best of each class in bold. A dark row is a class that no experiment recognises. "
                f"Of more than {MANY} classes, those on which the experiments differ most.",
                f1_heat_map(f1, [e.name for e in same], same[0].class_names),
            )
        )
    if by_labels := label_curves(experiments, subset):
        labels = {spec.name: f"{SUBSET_NAMES[subset]} {spec.label}" for spec in specs if spec.name in INTERVAL_METRICS}
        caption = (
            f"Runs that differ in {FRACTION}, {EPOCHS} and seed: means over seeds, bars are their 95 % intervals "
            "(Student’s t)."
        )
        figure = metrics_by_labels(by_labels, labels)
        drawings.append(Drawing(f"by_labels_{number}", "By number of labels", caption, figure))
    for column, ylabel, unit_range in _curves(experiments, specs):
        curves = {name: c for name, e in zip(names, experiments, strict=True) if (c := e.curve(column)) is not None}
        if not curves:
            continue
        drawings.append(
            Drawing(
                f"{column.replace('/', '_')}_{number}",
                ylabel[0].upper() + ylabel[1:],
                "Lines are means over seeds; bands extend from the lowest to the highest seed.",
                curves_together(curves, ylabel, unit_range),
            )
        )
    return drawings
