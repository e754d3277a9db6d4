"""A trained run judged on a labelled file, by the same code and numbers as in training."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from galaxy10.data.hdf5 import SourceFile, open_source
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, strict

SUBSETS = ("train", "val", "test", "all")


def evaluate_run(
    run: Path,
    file: Path,
    out_dir: Path,
    subset: str | None = None,
    more_runs: Sequence[Path] = (),
    options: Any = None,
) -> None:
    """Write predictions, metrics and a page to out_dir; print the metrics as one JSON line.

    Classes are matched by name. On the file the run was trained from, only the run's own test subset is judged
    unless another subset is asked for; on any other file, all of it.

    Args:
        more_runs: the other members of an ensemble.
        options: how the networks are asked (galaxy10.inference.predict.Options); None: as in training.

    Raises:
        Galaxy10Error: no finished run, another file's classes, an output folder that is a run itself, runs that
            cannot be asked like this or have different splits.
    """
    about = check_run(run)
    class_names = tuple(about["data"]["class_names"])
    if subset is not None and subset not in SUBSETS:
        raise Galaxy10Error(f"--subset {subset} is not allowed; expected {', '.join(SUBSETS)}")
    check_output(out_dir)
    source, labels = match_classes(open_source(file, key="FILE"), class_names)
    if options is not None or more_runs:
        from galaxy10.evaluation.scoring_uncertain import score_uncertain

        result = score_uncertain([run, *more_runs], about, source, labels, out_dir, subset, options)
    else:
        from galaxy10.evaluation.scoring import score_file

        result = score_file(run, about, source, labels, out_dir, subset)
    print(json.dumps(strict(result), allow_nan=False))


def check_output(out_dir: Path) -> None:
    """Whether an evaluation may be written into a folder, which need not exist.

    Raises:
        Galaxy10Error: it is a trained run, which would be overwritten, or a file.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise Galaxy10Error(f"-o {out_dir} is a file; give a folder")
    about = read_json(out_dir / "provenance.json")
    if (out_dir / "checkpoints").exists() or (about and "trained_run" not in about):
        raise Galaxy10Error(f"-o {out_dir} is a run itself, which would be overwritten; give another folder")


def check_run(run: Path) -> dict:
    """The provenance of a run that can be used.

    Raises:
        Galaxy10Error: no run directory, or one without a trained network.
    """
    if not run.is_dir():
        raise Galaxy10Error(f"{run} is no folder; give the run directory that train.py printed (run_dir)")
    about = read_json(run / "provenance.json")
    if not about or not (run / "config.yaml").exists():
        raise Galaxy10Error(f"{run} is no run directory (no provenance.json); give the run_dir that train.py printed")
    if not (run / "checkpoints" / "best.ckpt").exists():
        state = read_json(run / "status.json").get("state", "unknown")
        raise Galaxy10Error(f"{run} has no checkpoints/best.ckpt (its state: {state}); let it train one epoch")
    return about


def run_config(run: Path) -> dict:
    """The configuration a run was trained with."""
    return yaml.safe_load((run / "config.yaml").read_text())


def match_classes(source: SourceFile, class_names: tuple[str, ...]) -> tuple[SourceFile, np.ndarray]:
    """A file's labels (N,) in the run's class order.

    Raises:
        Galaxy10Error: the file's classes are not the run's; both are listed.
    """
    labels = source.table["label"].to_numpy(np.int64)
    if source.class_names is None:
        if source.num_classes > len(class_names):
            raise Galaxy10Error(_mismatch(source, source.names, class_names))
        if class_names != tuple(str(i) for i in range(len(class_names))):
            print(
                f"note: {source.path.name} names no classes; its labels are taken as numbers of the run's classes "
                f"({', '.join(f'{i} {name}' for i, name in enumerate(class_names))})",
                file=sys.stderr,
            )
        return replace(source, class_names=class_names, num_classes=len(class_names)), labels
    if set(source.class_names) != set(class_names):
        raise Galaxy10Error(_mismatch(source, source.class_names, class_names))
    order = np.array([class_names.index(name) for name in source.class_names])
    return replace(source, class_names=class_names, num_classes=len(class_names)), order[labels]


def _mismatch(source: SourceFile, theirs: tuple[str, ...], ours: tuple[str, ...]) -> str:
    return (
        f"{source.path} has other classes than the run: the file has {', '.join(theirs)}; the run has "
        f"{', '.join(ours)}; give a file with the run's classes (attribute class_names on `ans`)"
    )


def subset_table(run: Path, source: SourceFile, own_file: bool, subset: str | None) -> tuple[str, pd.DataFrame | None]:
    """Which rows to judge: a name for people, and the run's split table (None: every row)."""
    if not own_file:
        if subset not in (None, "all"):
            raise Galaxy10Error(f"--subset {subset} belongs to the run's own file; {source.path} is another one")
        return "all", None
    return subset or "test", pd.read_parquet(run / "split.parquet")
