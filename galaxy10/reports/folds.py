"""Pool the folds of one k-fold split: every galaxy is tested once, by the network that has not seen it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.metrics.table_metrics import table_metrics
from galaxy10.metrics.votes import vote_metrics
from galaxy10.reports.seed_groups import same_experiment, seed_of, spread
from galaxy10.runs.record import RunRecord, probability_columns

FOLD = "data.fold"


def pool_folds(runs: Sequence[RunRecord]) -> tuple[list[RunRecord], list[str]]:
    """Return runs with the folds of each complete k-fold split pooled into one record, and remarks on incomplete ones.

    Folds belong together if they are of one split into folds, of one seed, and differ in data.fold only. Of a fold that
    was trained twice, the latest run counts. Folds of an incomplete set stay runs of their own.
    """
    sets: list[list[RunRecord]] = []
    others = []
    for run in runs:
        if _fold_of(run) is None or "test" not in run.predictions:
            others.append(run)
            continue
        found = next((one for one in sets if _belong_together(one[0], run)), None)
        if found is None:
            sets.append([run])
        else:
            found.append(run)
    notes = []
    for folds in sets:
        latest = {_fold_of(run): run for run in sorted(folds, key=lambda run: str(run.status.get("ended") or ""))}
        count = folds[0].provenance_section("split")["num_folds"]
        missing = [number for number in range(count) if number not in latest]
        if missing:
            names, lacking = ", ".join(run.name for run in folds), ", ".join(map(str, missing))
            notes.append(f"{names}: not pooled, because data.fold={lacking} of data.num_folds={count} is not there")
            others += folds
        else:
            others.append(_pooled([latest[number] for number in range(count)]))
    return others, notes


def _fold_of(run: RunRecord) -> int | None:
    split = run.provenance_section("split")
    known = {"folds_hash", "num_folds", "fold"} <= set(split) and not run.is_evaluation
    return split["fold"] if known else None


def _belong_together(one: RunRecord, other: RunRecord) -> bool:
    hashes = [run.provenance_section("split")["folds_hash"] for run in (one, other)]
    return hashes[0] == hashes[1] and seed_of(one) == seed_of(other) and same_experiment(one, other, (FOLD,))


def _pooled(folds: list[RunRecord]) -> RunRecord:
    first = folds[0]
    tables = [run.predictions["test"].assign(fold=number) for number, run in enumerate(folds)]
    table = pd.concat(tables, ignore_index=True).sort_values("row", ignore_index=True)
    columns = probability_columns(table, first.class_names)
    probabilities = table[columns].to_numpy() if len(columns) == len(first.class_names) else None
    scores = table_metrics(table["label"].to_numpy(), table["predicted"].to_numpy(), probabilities, first.class_names)
    scores |= vote_metrics(table, first.class_names)
    metrics: dict[str, Any] = {f"test/{name}": value for name, value in scores.items()}
    speed = spread([run.metrics.get("train/images_per_s") for run in folds])
    metrics["train/images_per_s"] = speed.mean if speed else None
    seconds = [run.status.get("seconds") for run in folds]
    config = {**first.config, "data": {**RunRecord.section(first.config, "data"), "fold": None}}
    return replace(
        first,
        config=config,
        provenance={**first.provenance, "split": _split_section(folds, len(table))},
        status={
            **first.status,
            "metrics": metrics,
            "seconds": sum(seconds) if all(isinstance(s, int | float) for s in seconds) else None,
            "ended": max(str(run.status.get("ended") or "") for run in folds),
        },
        split=_split_table(first, table),
        curves=_mean_curves(folds),
        profile=None,
        distribution=None,
        scree=None,
        predictions={"test": table},
        samples=_samples(folds),
        folds=tuple(folds),
    )


def _split_section(folds: list[RunRecord], num_tested: int) -> dict[str, Any]:
    split = folds[0].provenance_section("split")
    counts = [RunRecord.section(run.provenance_section("split"), "counts") for run in folds]
    trained = spread([count.get("train") for count in counts])
    table = RunRecord.section(split, "table").get("name")
    return {
        **split,
        "hash": split["folds_hash"],
        "fold": None,
        "protocol": f"{len(folds)} folds" + (f" of {table}" if table else ""),
        "counts": {"train": round(trained.mean) if trained else 0, "test": num_tested},
        "notes": [f"every galaxy is tested once: the test predictions of {len(folds)} folds are pooled"],
    }


def _split_table(first: RunRecord, table: pd.DataFrame) -> pd.DataFrame | None:
    """Return a split table in which the galaxies of all folds are test galaxies."""
    if first.split is None:
        return None
    tested = first.split["row"].isin(table["row"])
    return first.split.assign(subset=first.split["subset"].where(~tested, "test"))


def _mean_curves(folds: list[RunRecord]) -> pd.DataFrame | None:
    curves = [run.curves for run in folds if run.curves is not None and "epoch" in run.curves]
    return pd.concat(curves).groupby("epoch").mean(numeric_only=True).reset_index() if curves else None


def _samples(folds: list[RunRecord]) -> dict[str, dict[str, np.ndarray]]:
    name = "misclassified_test"
    found = [run.samples[name] for run in folds if name in run.samples]
    same = {sample["images"].shape[1:] for sample in found}
    if len(same) != 1:
        return {}
    return {name: {key: np.concatenate([sample[key] for sample in found]) for key in found[0]}}
