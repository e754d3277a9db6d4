"""`galaxy10 runs`: list the state of every run in a folder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from galaxy10.console import printable
from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.progress import duration
from galaxy10.runs.epochs import epoch_rows
from galaxy10.runs.files import RunFiles, check_format
from galaxy10.runs.liveness import is_alive
from galaxy10.runs.lock import read_holder

KILLED, UNREADABLE = "killed", "unreadable"
_NAMES = RunFiles(Path())
_RATE_FROM = 3  # epochs


@dataclass(frozen=True)
class RunSummary:
    """The state of one run.

    Attributes:
        state: the state in status.json; `killed` if that is running and no process holds the lock; `unreadable` if
            another version of galaxy10 wrote the directory, or the configuration is damaged.
        epochs: epochs done, and trainer.max_epochs (None: training has ended); None for an evaluation.
        best: monitored metric and its best value.
        seconds_left: estimate of the remaining training time, from the last epochs.
        job: id of the SLURM job.
    """

    path: Path
    state: str
    epochs: tuple[int, int | None] | None
    best: tuple[str, float] | None
    seconds_left: float | None
    job: str | None
    error: str | None


def list_runs(folder: Path) -> list[RunSummary]:
    """Return all runs below a folder, sorted by path.

    Raises:
        Galaxy10Error: there is no such folder.
    """
    if not folder.is_dir():
        raise Galaxy10Error(f"there is no folder {folder}; give the one that run.root names (default: runs)")
    return [_line_or_damage(path) for path in _run_directories(folder)]


def _run_directories(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders.sort()
        if _NAMES.status.name in files and _NAMES.config.name in files:
            folders.clear()  # no runs inside a run
            yield Path(place)


def _line_or_damage(path: Path) -> RunSummary:
    try:
        return _line(path)
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:  # a value of another kind
        why = f"has a file with a value that no run writes ({first_line(error)})"
        return RunSummary(path, UNREADABLE, None, None, None, None, why)


def _line(path: Path) -> RunSummary:
    files = RunFiles(path)
    provenance = files.read_provenance()
    try:
        check_format(path, provenance)
        config = files.read_config()
    except Galaxy10Error as error:
        return RunSummary(path, UNREADABLE, None, None, None, None, str(error).removeprefix(f"{path} "))
    status, holder = files.read_status(), read_holder(path)
    state = str(status.get("state"))
    if state == "running" and not (holder and is_alive(holder)):
        state = KILLED
    most = (config.get("trainer") or {}).get("max_epochs") or 0
    # A finished run needs no more epochs, also if it was stopped early.
    wanted = most if most > 0 and state != "finished" else None
    rows = [row for _, row in epoch_rows(path, after=-1)]
    done = int(status["epoch"]) + 1 if status.get("epoch") is not None else 0
    recent = [row.get("profile/seconds", 0) + row.get("profile/validation_seconds", 0) for row in rows[-_RATE_FROM:]]
    left = sum(recent) / len(recent) * (wanted - done) if state == "running" and recent and wanted else None
    best: dict[str, Any] = status.get("best") or {}
    return RunSummary(
        path=path,
        state=state,
        epochs=None if "trained_run" in provenance else (done, wanted),
        best=(str(best["metric"]), float(best["value"])) if "value" in best else None,
        seconds_left=left,
        job=str(status["job"]) if status.get("job") else None,
        error=str(status["error"]) if status.get("error") else None,
    )


def print_runs(folder: Path) -> None:
    """Print a table of all runs below a folder.

    Raises:
        Galaxy10Error: there is no such folder.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = list_runs(folder)
    console = Console()
    if not console.is_terminal:
        console.width = 1000  # logs have no edge to wrap at
    if not lines:
        console.print(f"no runs in {folder}", markup=False)
        return
    table = Table("run", "state", "epoch", "best", "left", "SLURM job", "why", box=None, pad_edge=False)
    for line in lines:
        cells = (
            str(line.path.relative_to(folder)) if line.path != folder else str(folder),
            line.state,
            "/".join(str(n) for n in line.epochs if n is not None) if line.epochs else "–",
            f"{line.best[0]} {line.best[1]:.3f}" if line.best else "–",
            duration(line.seconds_left) if line.seconds_left is not None else "–",
            line.job or "–",
            (line.error or "") if line.state != KILLED else "its state is running, but no process holds its lock",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))  # no markup, whatever a run directory says
    console.print(table)
    if any(line.state in (KILLED, "interrupted") for line in lines):
        console.print("\nto resume a killed or interrupted run, repeat its command with run.dir=RUN", markup=False)
