"""Read the rows of metrics.csv and profile.csv."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from galaxy10.runs.files import RunFiles


def epoch_rows(path: Path, after: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (epoch, values) for every epoch later than `after`.

    Values are the columns of metrics.csv, and those of profile.csv as `profile/<column>`; empty cells are left out.
    """
    profile = {row["epoch"]: row for row in _rows(RunFiles(path).profile)}
    for row in _rows(RunFiles(path).metrics):
        epoch = int(row["epoch"])
        if epoch > after:
            timings = {f"profile/{key}": value for key, value in profile.get(epoch, {}).items() if key != "epoch"}
            yield epoch, {**row, **timings}


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{key: _number(cell) for key, cell in row.items() if cell} for row in csv.DictReader(file)]


def _number(cell: str) -> int | float:
    return int(cell) if cell.isdigit() else float(cell)
