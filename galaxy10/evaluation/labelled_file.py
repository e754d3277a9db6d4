"""The labelled file of an evaluation: labels in the run's class order, and the rows to evaluate."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from galaxy10.data.hdf5 import SourceFile
from galaxy10.data.labels import classes_of
from galaxy10.errors import Galaxy10Error
from galaxy10.runs.files import RunFiles

logger = logging.getLogger(__name__)


def check_evaluation_folder(out_dir: Path) -> None:
    """Check that an evaluation may be written into a folder, which need not exist.

    Raises:
        Galaxy10Error: the folder is a trained run, which would be overwritten, or a file.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise Galaxy10Error(f"-o {out_dir} is a file; give a folder")
    files = RunFiles(out_dir)
    provenance = files.read_provenance()
    if files.checkpoints.exists() or (provenance and "trained_run" not in provenance):
        raise Galaxy10Error(f"-o {out_dir} is a run itself, which would be overwritten; give another folder")


def match_classes(source: SourceFile, class_names: tuple[str, ...]) -> tuple[SourceFile, np.ndarray]:
    """Return the file with the run's classes, and its labels (N,) in the run's class order.

    Raises:
        Galaxy10Error: the file's classes are not the run's.
    """
    labels = source.table["label"].to_numpy(np.int64)
    if source.class_names is None:
        if set(source.names) <= set(class_names):  # the run's classes are numbers, too
            order = np.array([class_names.index(name) for name in source.names])
            return replace(source, class_names=class_names, num_classes=len(class_names)), order[labels]
        if all(name.isdecimal() for name in class_names):
            raise Galaxy10Error(_mismatch(source, source.names, class_names))
        try:
            labels, ids = classes_of(source.label_ids, class_names, str(source.path))
        except Galaxy10Error as error:
            raise Galaxy10Error(_mismatch(source, source.names, class_names)) from error
        logger.info(
            f"note: {source.path.name} names no classes; its labels are taken as numbers of the run's classes "
            f"({', '.join(f'{number} {name}' for number, name in zip(ids, class_names, strict=True))})"
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
    """Return the name of the subset to evaluate, and the run's split table (None: every row).

    Raises:
        Galaxy10Error: the file is not the run's own, and `subset` names one of the run's subsets.
    """
    if not own_file:
        if subset not in (None, "all"):
            raise Galaxy10Error(
                f"--subset {subset} needs the run's own file, and {source.path} is another one; leave out --subset"
            )
        return "all", None
    return subset or "test", RunFiles(run).read_split()
