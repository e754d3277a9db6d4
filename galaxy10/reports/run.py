"""Write the report of one run from its directory alone: without torch or the data, in a few seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from galaxy10.classes import slugs
from galaxy10.metrics.confusion import accuracy_interval, class_scores, confusion_matrix
from galaxy10.metrics.prediction_sets import COVERAGE, SET_SIZE
from galaxy10.metrics.specs import metric_specs_of_run
from galaxy10.reports.html import NO_VALUE, PageFigure, count, is_number, render, write_figure, write_file
from galaxy10.reports.run_figures import PAGE_ORDER, draw_all
from galaxy10.reports.run_galleries import batch, demonstrations, misclassified
from galaxy10.runs.files import RunFiles
from galaxy10.runs.record import SCORED_SUBSETS, SUBSETS, RunRecord, read_run

SUBSET_NAMES = {"test": "test", "val": "validation", "train": "training", "dropped": "dropped"}
_NAMES = RunFiles(Path())
_LOSES = {
    _NAMES.config: "the configuration",
    _NAMES.provenance: "where the run comes from",
    _NAMES.status: "the run's state and final metrics",
    _NAMES.split: "the split and the dropped rows",
    _NAMES.metrics: "the training curves",
    _NAMES.profile: "",
    _NAMES.class_distribution: "the class distribution",
    _NAMES.predictions("test"): "everything about the test galaxies (run.test=false does not evaluate them)",
    _NAMES.predictions("val"): "everything about the validation galaxies",
    _NAMES.samples("batch"): "the batch as the network sees it",
    _NAMES.samples("misclassified_test"): "the gallery of misclassified test galaxies",
    _NAMES.samples("misclassified_val"): "the gallery of misclassified validation galaxies",
    _NAMES.samples("augmentation"): "the augmentation demonstration",
    _NAMES.samples("noise"): "the noise demonstration",
    _NAMES.samples("components"): "the images of the principal components",
    _NAMES.scree: "the scree plot",
}
_ONLY_TRAINING_WRITES = {
    _NAMES.metrics,
    _NAMES.predictions("val"),
    _NAMES.samples("batch"),
    _NAMES.samples("misclassified_val"),
}

_ERRORS = (
    (
        "calibration_error_uncalibrated",
        "calibration error before the temperature",
        "mean difference of confidence and accuracy; 0 is best",
    ),
    ("calibration_error_calibrated", "calibration error after the temperature", "the same of calibrated probabilities"),
    (
        "calibration_error_perfect",
        "calibration error of a perfectly calibrated model",
        "mean of models with these confidences on so many galaxies; an error near it is noise",
    ),
    (
        "calibration_error_perfect_95",
        "95 % of such models are below",
        "only an error above this is evidence of miscalibration",
    ),
)
_SETS = (
    ("coverage", "coverage", "share of galaxies whose true class is in their prediction set"),
    ("mean_set_size", "classes in a set", "mean number of classes in a prediction set"),
)


def build_report(run_dir: Path, out_dir: Path | None = None) -> Path:
    """Write figures/*.png and report.html of a run or an evaluation.

    Args:
        run_dir: the run directory; the page lists missing files and what is left out without them.
        out_dir: the folder to write to; None: the run directory.

    Returns:
        The path of report.html.

    Raises:
        Galaxy10Error: run_dir is no run directory, or out_dir cannot be written.
    """
    run = read_run(Path(run_dir))
    out = Path(out_dir) if out_dir is not None else run.path
    counts = {
        subset: confusion_matrix(table["label"].to_numpy(), table["predicted"].to_numpy(), len(run.class_names))
        for subset, table in run.predictions.items()
    }
    files = RunFiles(out)
    figures = {drawing.name: write_figure(drawing, files.figures) for drawing in draw_all(run, counts)}
    page = render("report.html.j2", **_context(run, counts, figures))
    return write_file(files.report, page.encode())


def _context(run: RunRecord, counts: dict[str, np.ndarray], figures: dict[str, PageFigure]) -> dict[str, Any]:
    # Metrics under train/ are speed and last loss, which this table does not show.
    recorded = [s for s in SUBSETS if any(key.startswith(f"{s}/") for key in run.metrics)]
    subsets = [s for s in SCORED_SUBSETS if s in counts or s in recorded]
    return {
        "run": run,
        "state": run.status.get("state") or "unknown",
        "subsets": subsets,
        "subset_names": SUBSET_NAMES,
        "headline": _headline(run, counts, subsets),
        "metric_rows": _metric_rows(run, counts, subsets),
        "disagreements": _disagreements(run, counts),
        "class_rows": _class_rows(run, counts),
        "has_sets": any(key.endswith("/coverage") for key in run.metrics),
        "figures": {part: [figures[n] for n in names if n in figures] for part, names in PAGE_ORDER.items()},
        "misclassified": misclassified(run),
        "batch": batch(run),
        "demonstrations": demonstrations(run),
        "split": _split(run),
        "provenance": _provenance(run),
        "packages": run.provenance_section("packages"),
        "config_text": yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True) if run.config else "",
        "missing": _missing(run),
    }


def _missing(run: RunRecord) -> list[tuple[str, str, str]]:
    """Return each missing file, what the page lacks without the file, and why; files of training only if one."""
    return [
        (str(file), _LOSES[file], why)
        for file, why in ((Path(name), why) for name, why in run.missing.items())
        if _LOSES.get(file) and not (run.is_evaluation and file in _ONLY_TRAINING_WRITES)
    ]


def final_metric(run: RunRecord, counts: dict[str, np.ndarray], subset: str, metric: str) -> float | None:
    """Return a final metric as the run recorded it; without a record, from the confusion matrix."""
    recorded = run.metrics.get(f"{subset}/{metric}")
    if is_number(recorded) or f"{subset}/{metric}" in run.metrics or subset not in counts:
        return recorded
    return _from_counts(counts[subset], run.absent).get(metric)


def _from_counts(counts: np.ndarray, absent: Sequence[int]) -> dict[str, float]:
    scores = class_scores(counts, absent)
    return {
        "accuracy": float(np.trace(counts) / counts.sum()),
        "balanced_accuracy": float(scores.loc[scores["support"] > 0, "recall"].mean()),
        "macro_f1": float(scores["f1"].mean()),
    }


def _headline(run: RunRecord, counts: dict[str, np.ndarray], subsets: Sequence[str]) -> dict[str, Any] | None:
    if not subsets:
        return None
    subset = subsets[0]
    headline: dict[str, Any] = {"subset": subset, "galaxies": None, "interval": None, "commonest": None}
    headline |= {key: final_metric(run, counts, subset, key) for key in ("accuracy", "balanced_accuracy", "macro_f1")}
    if subset in counts:
        matrix = counts[subset]
        support = matrix.sum(axis=1)
        common = int(support.argmax())
        headline |= {
            "galaxies": int(matrix.sum()),
            "interval": accuracy_interval(int(np.trace(matrix)), int(matrix.sum())),
            "commonest": (run.class_names[common], support[common] / matrix.sum()),
        }
    return headline


def _metric_rows(run: RunRecord, counts: dict[str, np.ndarray], subsets: Sequence[str]) -> list[dict[str, Any]]:
    both = any(is_number(run.metrics.get(f"{s}/{_ERRORS[0][0]}")) for s in subsets)  # before and after the temperature
    rows = [
        {"name": m.label, "meaning": m.meaning, "values": [final_metric(run, counts, s, m.name) for s in subsets]}
        for m in metric_specs_of_run(run)
        if not (both and m.name == "calibration_error")
    ]
    rows = [row for row in rows if row["name"] != "loss" or any(is_number(v) for v in row["values"])]
    # Validation galaxies, which the temperature is fitted to, have only the error before it.
    instead = {_ERRORS[0][0]: "calibration_error"} if both else {}
    others = [
        {
            "name": n,
            "meaning": m,
            "values": [run.metrics.get(f"{s}/{k}", run.metrics.get(f"{s}/{instead.get(k)}")) for s in subsets],
        }
        for k, n, m in (*_ERRORS, *_SETS)
    ]
    return rows + [row for row in others if any(is_number(value) for value in row["values"])]


def _disagreements(run: RunRecord, counts: dict[str, np.ndarray]) -> list[str]:
    """Return the recorded metrics that differ from those of the prediction table."""
    found = []
    for subset, matrix in counts.items():
        for metric in ("accuracy", "macro_f1"):
            recorded, derived = run.metrics.get(f"{subset}/{metric}"), _from_counts(matrix, run.absent)[metric]
            if is_number(recorded) and abs(recorded - derived) > 1e-3:
                found.append(
                    f"{_NAMES.status} says {subset}/{metric} = {recorded:.4f}, "
                    f"{_NAMES.predictions(subset)} gives {derived:.4f}"
                )
    return found


def _class_rows(run: RunRecord, counts: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    shown = next((s for s in SUBSETS if s in counts), None)
    if shown is None:
        return []
    scores = class_scores(counts[shown], run.absent).to_dict("records")
    other = "val" if shown == "test" and "val" in counts else None
    other_f1 = class_scores(counts[other])["f1"] if other else None
    rows = []
    for number, (name, slug) in enumerate(zip(run.class_names, slugs(run.class_names), strict=True)):
        line = scores[number]
        recorded = run.metrics.get(f"{shown}/f1_{slug}")
        rows.append(
            {
                "name": name,
                "support": int(line["support"]),
                "precision": line["precision"],
                "recall": line["recall"],
                "f1": recorded if is_number(recorded) else line["f1"],
                "other_f1": other_f1[number] if other_f1 is not None else None,
                "coverage": run.metrics.get(f"{shown}/{COVERAGE}_{slug}"),
                "set_size": run.metrics.get(f"{shown}/{SET_SIZE}_{slug}"),
                "confused": _most_confused(counts[shown][number], number, run.class_names),
            }
        )
    return rows


def _most_confused(row: np.ndarray, own: int, class_names: Sequence[str]) -> tuple[str, int] | None:
    others = row.copy()
    others[own] = 0
    return (class_names[int(others.argmax())], int(others.max())) if others.max() > 0 else None


def _split(run: RunRecord) -> dict[str, Any]:
    recorded = run.provenance_section("split")
    facts: dict[str, Any] = {
        "hash": recorded.get("hash"),
        "protocol": recorded.get("protocol"),
        "split_seed": recorded.get("split_seed"),
        "fold": recorded.get("fold"),
        "num_folds": recorded.get("num_folds"),
        "counts": run.section(recorded, "counts"),
        "notes": [str(note) for note in recorded.get("notes") or []],
        "reasons": [],
        "groups": None,
        "crossing": None,
    }
    if run.split is None or "subset" not in run.split:
        return facts
    if not facts["counts"]:
        facts["counts"] = run.split["subset"].value_counts().to_dict()
    dropped = run.split[run.split["subset"] == "dropped"]
    if len(dropped) and "reason" in dropped:
        for reason, rows in dropped.groupby(dropped["reason"].fillna("no reason recorded"))["row"]:
            facts["reasons"].append((str(reason), len(rows), [int(r) for r in rows.head(12)]))
        facts["reasons"].sort(key=lambda line: -line[1])
    used = run.split[run.split["subset"] != "dropped"]
    # An evaluation has only one subset, so no group can lie in two.
    if "group" in used and len(used) and not run.is_evaluation:
        per_group = used.dropna(subset="group").groupby("group")["subset"].nunique()
        facts |= {"groups": len(per_group), "crossing": int((per_group > 1).sum())}
    return facts


def _provenance(run: RunRecord) -> list[tuple[str, Any]]:
    data, model, git = (run.provenance_section(part) for part in ("data", "model", "git"))
    commit = git.get("commit")
    if commit:
        commit = f"{str(commit)[:12]}{' (with uncommitted changes)' if git.get('dirty') else ''}"
    rate, share = (run.metrics.get(f"train/{name}") for name in ("images_per_s", "data_time_fraction"))
    if rate is None and run.profile is not None and "images_per_s" in run.profile:
        rate = float(pd.to_numeric(run.profile["images_per_s"], errors="coerce").median())
    lines = [
        ("trained run", run.provenance.get("trained_run")),
        ("command", run.provenance.get("command")),
        ("seed", run.provenance.get("seed")),
        ("galaxy10", run.provenance.get("galaxy10")),
        ("git commit", commit),
        ("data file", data.get("path")),
        ("data identity", data.get("identity")),
        ("images", count(data.get("num_images"))),
        ("image shape", data.get("image_shape")),
        ("mean of the training pixels (0–1)", data.get("pixel_mean")),
        ("standard deviation of the training pixels", data.get("pixel_std")),
        ("network", model.get("name")),
        ("initial weights", model.get("weights")),
        ("saved weights", run.provenance_section("training").get("weights")),
        ("input size (px)", model.get("image_size")),
        ("parameters", count(model.get("parameters"))),
        ("trainable parameters", count(model.get("trainable_parameters"))),
        ("device", run.provenance.get("device")),
        ("training speed (images/s)", rate),
        ("share of time spent waiting for data", share),
        ("python", run.provenance.get("python")),
        ("platform", run.provenance.get("platform")),
        ("started", run.status.get("started")),
        ("ended", run.status.get("ended")),
    ]
    return [(name, value) for name, value in lines if value not in (None, {}, NO_VALUE)]
