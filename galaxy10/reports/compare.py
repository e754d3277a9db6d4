"""Any runs side by side: one page and one table, made from their directories alone."""

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
from galaxy10.reports.experiments import Experiment, group_by_split, shown_subset
from galaxy10.reports.figures.comparison import curves_together, f1_heat_map
from galaxy10.reports.html import Drawing, Picture, render, write_file, write_picture
from galaxy10.reports.pairwise import HardGalaxies, PairwiseTest, always_misclassified, pairwise_tests
from galaxy10.reports.published import OTHERS, STUDY, SUSPECT_A_LEAK, study_claim
from galaxy10.runs.record import RunRecord, read_run

COSTS = ("seconds", "images_per_s", "parameters")
_SAID = {"test": "test", "val": "validation"}
_STAGES = {"train": "training", "val": "validation"}
_CURVES = ("val/loss", "val/accuracy", "val/macro_f1", "train/loss")
_MOST_LOGGED = 12  # curves of what users' own code has logged; metrics.csv has the rest


@dataclass(frozen=True)
class SplitPart:
    """What the page says about the experiments measured on one split."""

    key: str
    number: int
    subset: str
    about: str
    measures: tuple[MetricSpec, ...]
    rows: list[dict[str, Any]]
    pictures: list[Picture]
    hard: HardGalaxies | None
    pairwise_tests: list[PairwiseTest]


def compare_runs(run_dirs: list[Path], out_dir: Path) -> Path:
    """Write index.html, comparison.csv, comparison.md and figures/*.png about any number of runs.

    Runs that differ only in their seed become one row. Only rows of one split are ranked among each other.

    Args:
        run_dirs: run directories; those that are no run, or not finished, are listed as left out.
        out_dir: where to write; made if it is not there.

    Returns:
        The path of index.html.

    Raises:
        Galaxy10Error: not one finished run among them, or out_dir cannot be written.
    """
    finished, left_out = _read(run_dirs)
    if not finished:
        raise Galaxy10Error(
            f"none of the {len(run_dirs)} folders given is a finished run"
            + (f" ({left_out[0][0]}: {left_out[0][1]})" if left_out else "; give run directories, e.g. runs/*")
        )
    out = Path(out_dir)
    by_split = group_by_split(finished)
    parts = [_part(number, key, experiments, out) for number, (key, experiments) in enumerate(by_split.items(), 1)]
    table = _table(parts)
    write_file(out / "comparison.csv", table.to_csv(index=False).encode())
    markdown = comparison_markdown([(f"{part.about} (split {part.key})", part.rows) for part in parts])
    write_file(out / "comparison.md", markdown.encode())
    page = render(
        "compare.html.j2",
        parts=parts,
        said=_SAID,
        left_out=left_out,
        num_runs=len(finished),
        study=STUDY,
        others=OTHERS,
        suspicion=SUSPECT_A_LEAK,
    )
    return write_file(out / "index.html", page.encode())


def _read(run_dirs: Sequence[Path]) -> tuple[list[RunRecord], list[tuple[str, str]]]:
    finished, left_out = [], []
    for path in dict.fromkeys(Path(path).resolve() for path in run_dirs):
        try:
            run = read_run(path)
        except Galaxy10Error as error:
            left_out.append((path.name, str(error).replace(str(path), "it", 1)))
            continue
        if run.status.get("state") != "finished":
            left_out.append((path.name, f"its state is {run.status.get('state') or 'unknown'}, not finished"))
        else:
            finished.append(run)
    return finished, left_out


def _part(number: int, key: str, experiments: list[Experiment], out: Path) -> SplitPart:
    subset = shown_subset(experiments)
    measures = tuple({m.name: m for e in experiments for run in e.runs for m in metric_specs_of_run(run)}.values())
    drawings = _drawings(number, experiments, subset, measures)
    return SplitPart(
        key=key,
        number=number,
        subset=subset,
        about=_about(experiments[0].runs[0], subset),
        measures=measures,
        rows=_rows(experiments, subset, measures),
        pictures=[write_picture(drawing, out / "figures") for drawing in drawings],
        hard=always_misclassified(experiments, subset),
        pairwise_tests=pairwise_tests(experiments, subset),
    )


def _about(run: RunRecord, subset: str) -> str:
    data, split = run.provenance_section("data"), run.provenance_section("split")
    counts = RunRecord.section(split, "counts")
    words = [str(data.get("name") or "unnamed data")]
    if path := data.get("path"):
        words[0] += f" ({Path(str(path)).name})"
    if split.get("protocol"):
        words.append(f"protocol {split['protocol']}, split seed {split.get('split_seed')}")
    if counts:
        words.append(f"{counts.get('train', 0):,} training and {counts.get(subset, 0):,} {_SAID[subset]} galaxies")
    return ", ".join(words)


def _rows(experiments: list[Experiment], subset: str, measures: Sequence[MetricSpec]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for experiment in experiments:
        spreads = {measure.name: experiment.spread(f"{subset}/{measure.name}") for measure in measures}
        ranked = spreads["accuracy"] is not None
        rows.append(
            {
                "rank": len(rows) + 1 if ranked else None,
                "experiment": experiment,
                "spreads": spreads,
                "published": study_claim(experiment.model),
                "device": _device(experiment.runs[0]),
                "weights": _weights(experiment.runs[0]),
                **{name: experiment.cost(name) for name in COSTS},
            }
        )
    for measure in measures:
        key = measure.name
        means = [row["spreads"][key].mean for row in rows if row["spreads"][key]]
        best = (min if measure.direction == "min" else max)(means) if len(set(means)) > 1 else None
        for row in rows:
            row[f"best_{key}"] = best is not None and row["spreads"][key] and row["spreads"][key].mean == best
    return rows


def _device(run: RunRecord) -> str | None:
    device = run.provenance_section("device")
    return ", ".join(device["gpus"]) if device.get("gpus") else device.get("cpu")


def _weights(run: RunRecord) -> str | None:
    """What a network began from, where it could have begun from pretrained weights."""
    model = run.provenance_section("model")
    if not model.get("backbone") or not model.get("weights"):
        return None
    begun = str(model["weights"])
    return "no pretrained weights" if begun == "random initialisation" else begun


def _table(parts: list[SplitPart]) -> pd.DataFrame:
    """comparison.csv: one line per experiment, numbers at full precision, an empty cell where there is none."""
    lines = []
    for part in parts:
        for row in part.rows:
            experiment: Experiment = row["experiment"]
            line: dict[str, Any] = {
                "split": part.key,
                "rank_within_split": row["rank"],
                "experiment": experiment.name,
                "model": experiment.model,
                "seeds": " ".join(str(seed) for seed in experiment.seeds),
                "runs": " ".join(run.name for run in experiment.runs),
                "subset": part.subset,
                "weights": row["weights"],
            }
            for key in (measure.name for measure in part.measures):
                found = row["spreads"][key]
                line |= {key: found.mean if found else None, f"{key}_std": found.std if found else None}
            line |= {name: row[name] for name in COSTS}
            line["published_accuracy"] = row["published"].accuracy if row["published"] else None
            names = [f"f1_{slug}" for slug in slugs(experiment.class_names)]
            line |= dict(zip(names, experiment.class_f1(part.subset), strict=True))
            lines.append(line)
    return pd.DataFrame(lines).astype({"rank_within_split": "Int64"})


def _curves(experiments: list[Experiment], measures: Sequence[MetricSpec]) -> list[tuple[str, str, bool]]:
    """(column of metrics.csv, label, whether it lies between 0 and 1) of every curve that is drawn."""
    by_name = {measure.name: measure for measure in measures}
    own = [f"val/{name}" for name in by_name if name not in DEFAULT_METRIC_NAMES]
    logged = list(dict.fromkeys(c for e in experiments for run in e.runs for c in logged_columns(run)))[:_MOST_LOGGED]
    found = []
    for column in (*_CURVES, *own, *logged):
        stage, _, name = column.partition("/")
        measure = by_name.get(name) if column not in logged else None
        label = f"{_STAGES.get(stage, stage)} {measure.label if measure else name}"
        found.append((column, label, measure is not None and measure.unit_range))
    return found


def _drawings(number: int, experiments: list[Experiment], subset: str, measures: Sequence[MetricSpec]) -> list[Drawing]:
    drawings = []
    names = [experiment.name for experiment in experiments]
    # One split may hold a file read with other class names; a heat map needs one set of classes.
    same = [e for e in experiments if e.class_names == experiments[0].class_names]
    f1 = np.array([experiment.class_f1(subset) for experiment in same])
    if f1.size and np.isfinite(f1).any():
        drawings.append(
            Drawing(
                f"f1_by_class_{number}",
                f"F1 of every class, {_SAID[subset]}",
                "Mean over seeds; the best of each class in bold. Bright is good: a dark row is a class that nobody "
                "recognises.",
                f1_heat_map(f1, [e.name for e in same], same[0].class_names),
            )
        )
    for column, ylabel, unit_range in _curves(experiments, measures):
        curves = {name: c for name, e in zip(names, experiments, strict=True) if (c := e.curve(column)) is not None}
        if not curves:
            continue
        drawings.append(
            Drawing(
                f"{column.replace('/', '_')}_{number}",
                ylabel[0].upper() + ylabel[1:],
                "Lines are means over seeds, bands reach from the lowest to the highest seed.",
                curves_together(curves, ylabel, unit_range),
            )
        )
    return drawings
