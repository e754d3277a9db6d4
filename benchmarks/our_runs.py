"""Run train.py as a user does, in a temporary directory and with CSV logs only."""

import csv
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from side_by_side import ROOT, last_json, run
from survey import data_folder, survey_store


def train_on(data: Sequence[str], *overrides: str) -> tuple[dict[str, Any], list[dict[str, float]], float]:
    """Train, and return the object of the last line, the rows of profile.csv, and seconds from start to exit."""
    folder = Path(mkdtemp(prefix="bench-"))
    start = time.perf_counter()
    result = last_json(run(ROOT / "train.py", *data, "logger=csv", f"run.dir={folder / 'run'}", *overrides))
    seconds = time.perf_counter() - start
    with (folder / "run" / "profile.csv").open(newline="") as file:
        profile = [{key: float(cell) for key, cell in row.items() if cell} for row in csv.DictReader(file)]
    shutil.rmtree(folder)
    return result, profile, seconds


def train(*overrides: str) -> tuple[dict[str, Any], list[dict[str, float]], float]:
    """Train on the simulated survey, whose store is built before the clock starts; returns as train_on."""
    survey_store()
    return train_on(["data=simulated", f"data.dir={data_folder()}"], *overrides)


def warm_rate(batches: int, *overrides: str) -> dict[str, float]:
    """Return the row of profile.csv for the second epoch of `batches` batches, without validation and test."""
    short = ["trainer.max_epochs=2", f"trainer.limit_train_batches={batches}", "trainer.limit_val_batches=0"]
    return train(*short, "run.test=false", *overrides)[1][-1]
