"""Say how many galaxies of a labelled file a run was trained or validated on, and leave them out of its evaluation."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from galaxy10.data.labels import shortened
from galaxy10.errors import Galaxy10Error
from galaxy10.evaluation.labelled_file import LabelledFile
from galaxy10.prediction.trained_on import TrainedOn

logger = logging.getLogger(__name__)

LEFT_OUT = "the network was trained or validated on this galaxy"


def check_known(
    runs: Sequence[Path], store_table: pd.DataFrame, path: Path, include: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return which galaxies of a file are left out of an evaluation (N,) bool, and notes for its page.

    Args:
        store_table: pixel_hash, ra, dec of the file's store.
        path: the file, for messages.
        include: whether to evaluate galaxies that the runs were trained or validated on, too.

    Raises:
        Galaxy10Error: all galaxies would be left out.
    """
    trained_on, none = TrainedOn(runs), np.zeros(len(store_table), dtype=bool)
    why = trained_on.why_unchecked()
    unchecked = (why,) if why else ()
    for note in unchecked:
        logger.warning(f"note: {note}")
    match = trained_on.match(*(store_table[name].to_numpy() for name in ("pixel_hash", "ra", "dec")))
    if not match.known.any():
        return none, unchecked
    number, total = int(match.known.sum()), len(store_table)
    found = (
        f"the network was trained or validated on {number:,} of the {total:,} galaxies of {path.name} "
        f"({match.counted()})"
    )
    if include:
        note = f"{found}: they are evaluated, too, and the metrics are too optimistic"
        logger.warning(f"note: {note}")
        return none, (*unchecked, note)
    if number == total:
        raise Galaxy10Error(f"{found}; give other galaxies, or add --include-trained to evaluate these")
    logger.warning(f"note: {found}: they are left out; add --include-trained to evaluate them, too")
    return match.known, (*unchecked, f"{found}: they are left out")


def without_galaxies(file: LabelledFile, left_out: np.ndarray) -> LabelledFile:
    """Return a file whose absent classes are those without a galaxy that is evaluated.

    Args:
        left_out: (N,) bool.
    """
    names = file.source.names
    there = np.bincount(file.labels[~left_out], minlength=len(names)) > 0
    absent = tuple(name for name, present in zip(names, there, strict=True) if not present)
    gone = sorted(set(absent) - set(file.absent))
    if not gone:
        return file
    note = f"no galaxy of {shortened(gone)} is left: metrics are over the other classes"
    logger.warning(f"note: {note}")
    return replace(file, absent=absent, notes=(*file.notes, note))
