"""The labelled file of an evaluation: labels in the run's class order, and the rows to evaluate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.classes import class_key
from galaxy10.data.hdf5 import SourceFile, open_source
from galaxy10.data.labels import classes_of, numbering_note, shortened
from galaxy10.data.votes import vote_columns, votes_of
from galaxy10.errors import Galaxy10Error
from galaxy10.runs.files import RunFiles


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


@dataclass(frozen=True)
class LabelledFile:
    """A labelled file whose labels are a run's classes.

    Attributes:
        source: the file, with the run's class names.
        labels: (N,) class numbers in the run's class order.
        absent: the run's classes that the file has no galaxy of.
        notes: what was assumed about the classes, and what else is to be known about the file.
        order: the run's class of each class of the file; −1 for one that has neither a galaxy nor a vote.
    """

    source: SourceFile
    labels: np.ndarray
    absent: tuple[str, ...]
    notes: tuple[str, ...]
    order: np.ndarray

    def with_votes(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the table of the file's store with the votes, if there are any, in the run's class order."""
        votes = votes_of(table)
        if votes is None:
            return table
        given = self.order >= 0
        ours = np.zeros((len(table), self.source.num_classes))
        ours[:, self.order[given]] = votes[:, given]
        theirs = list(vote_columns(votes))
        return table.drop(columns=theirs).assign(**vote_columns(ours))


def open_labelled_file(path: Path, provenance: dict[str, Any]) -> LabelledFile:
    """Open a labelled HDF5 file for the evaluation of a run.

    Args:
        provenance: the run's.

    Raises:
        Galaxy10Error: the file cannot be read, or has a class that the run does not know.
    """
    data = provenance["data"]
    source = open_source(path, key="FILE", one_class=True)
    return match_classes(source, tuple(data["class_names"]), data.get("class_ids"))


def match_classes(
    source: SourceFile, class_names: tuple[str, ...], class_ids: Sequence[int] | None = None
) -> LabelledFile:
    """Return a file with a run's classes: matched by their names, or by the numbers of a file without names.

    Names are equal if only case, blanks, hyphens or underscores differ. The run may have more classes than the file.

    Args:
        class_names: the run's.
        class_ids: the number of each class in the file that the run was trained from; None: 0, 1, ….

    Raises:
        Galaxy10Error: a class of the file is none of the run's, or could be several.
    """
    labelled = np.unique(source.table["label"].to_numpy(np.int64))
    votes = votes_of(source.table)
    found = labelled if votes is None else np.union1d(labelled, np.flatnonzero(votes.any(axis=0)))
    if source.class_names is not None:
        matched, note = _by_name(source, found, class_names)
    else:
        matched, note = _by_number(source, found, class_names, class_ids)
    order = np.full(source.num_classes, -1, dtype=np.int64)
    order[found] = matched
    absent = tuple(class_names[k] for k in np.setdiff1d(np.arange(len(class_names)), order[labelled]))
    numbering = numbering_note(source.class_ids, source.class_names, source.path.name)
    notes = [other for other in source.notes if other != numbering] + [note]
    if absent:
        notes.append(
            f"{source.path.name} has {len(labelled)} of the run's {len(class_names)} classes, and no "
            f"{shortened(absent)}: metrics are over the classes that are there"
        )
    ours = replace(source, class_names=class_names, num_classes=len(class_names))
    return LabelledFile(ours, order[source.table["label"]], absent, tuple(note for note in notes if note), order)


def _by_name(source: SourceFile, found: np.ndarray, ours: tuple[str, ...]) -> tuple[np.ndarray, str | None]:
    """Return the run's class (n,) of each class that occurs in a file with names, and a note."""
    theirs = [source.names[k] for k in found]
    spellings: dict[str, list[int]] = {}
    for number, name in enumerate(ours):
        spellings.setdefault(class_key(name), []).append(number)
    exact = {name: number for number, name in enumerate(ours)}
    candidates = [[exact[name]] if name in exact else spellings.get(class_key(name), []) for name in theirs]
    if unknown := [name for name, numbers in zip(theirs, candidates, strict=True) if not numbers]:
        raise Galaxy10Error(_mismatch(source, unknown, ours))
    for name, numbers in zip(theirs, candidates, strict=True):
        if len(numbers) > 1:
            raise Galaxy10Error(
                f"{source.path}: class {name} could be {' or '.join(ours[k] for k in numbers)} of the run; rename it "
                "(attribute class_names on `ans`)"
            )
    matched = np.array([numbers[0] for numbers in candidates], dtype=np.int64)
    for number in np.flatnonzero(np.bincount(matched) > 1).tolist():
        same = [name for name, k in zip(theirs, matched, strict=True) if k == number]
        raise Galaxy10Error(
            f"{source.path}: {' and '.join(same)} could both be the run's class {ours[number]}; rename them, or make "
            "them one class"
        )
    pairs = [f"{name} is {ours[k]}" for name, k in zip(theirs, matched, strict=True) if name != ours[k]]
    return matched, f"class names of {source.path.name} are matched: {shortened(pairs)}" if pairs else None


def _by_number(
    source: SourceFile, found: np.ndarray, ours: tuple[str, ...], class_ids: Sequence[int] | None
) -> tuple[np.ndarray, str | None]:
    """Return the run's class (n,) of each class that occurs in a file without names, and a note on what is assumed."""
    if set(source.names) <= set(ours):  # the run's classes are numbers, too
        position = {name: k for k, name in enumerate(ours)}
        return np.array([position[source.names[k]] for k in found], dtype=np.int64), None
    ids = [source.class_ids[k] for k in found]
    if class_ids is not None and set(ids) <= set(class_ids):
        position_of_id = {number: k for k, number in enumerate(class_ids)}
        matched = np.array([position_of_id[number] for number in ids], dtype=np.int64)
    elif class_ids is not None or all(name.isdecimal() for name in ours):
        raise Galaxy10Error(_mismatch(source, list(map(str, ids)), ours))
    else:
        try:
            matched, _ = classes_of(np.array(ids, dtype=np.int64), ours, str(source.path))
        except Galaxy10Error as error:
            raise Galaxy10Error(_mismatch(source, list(map(str, ids)), ours)) from error
    pairs = [f"{number} is {ours[k]}" for number, k in zip(ids, matched, strict=True)]
    return matched, (
        f"{source.path.name} names no classes: its labels are taken as numbers of the run's classes "
        f"({shortened(pairs)}); if that is wrong, give it names (attribute class_names on `ans`)"
    )


def _mismatch(source: SourceFile, unknown: Sequence[str], ours: tuple[str, ...]) -> str:
    return (
        f"{source.path} has classes that the run does not know: {shortened(unknown)}; the run has {shortened(ours)}; "
        "leave these galaxies out, or rename the classes (attribute class_names on `ans`)"
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
