"""The trials of a grid and their results: a table for people, and the object of the last output line."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from galaxy10.config.overrides import quote
from galaxy10.exit_codes import ExitCode, describe_exit, signal_exit_code
from galaxy10.files import json_safe
from galaxy10.runs.files import RunFiles
from galaxy10.sweeps.trial_process import train_command

logger = logging.getLogger(__name__)


@dataclass
class GridTrial:
    """One experiment of a grid.

    Attributes:
        overrides: of the experiment.
        options: the command-line options that it is composed with.
        directory: the run directory.
        state: waiting, running (in a job), finished, failed, interrupted.
        result: the object of the trial's last output line.
        exit_code: None if the trial has not run in this command.
        last_line: of its output, if that was not shown.
    """

    overrides: list[str]
    directory: Path
    options: Sequence[str] = ()
    state: str = "waiting"
    result: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    last_line: str = ""

    def describe(self) -> dict[str, Any]:
        """Return the trial's entry in the object of the last output line."""
        outcome = {"overrides": self.overrides, "state": self.state, "exit_code": self.exit_code, "error": self.error}
        return {"run_dir": str(self.directory), **self.result, **outcome}

    @property
    def error(self) -> str | None:
        """Return why the trial failed; None if it did not fail."""
        if self.state != "failed":
            return None
        if self.exit_code is not None and self.exit_code < 0:
            return describe_exit(self.exit_code)
        recorded = RunFiles(self.directory).read_status().get("error")
        return recorded or self.last_line or f"ended with exit code {self.exit_code}; see its output above"

    def command(self) -> list[str]:
        """Return the command that runs the trial alone."""
        return train_command([*self.options, *self.overrides, f"run.dir={quote(self.directory)}"])


def log_grid(trials: Sequence[GridTrial]) -> None:
    """Log the directory of a grid, and the number of its trials and of those that are finished."""
    done = sum(trial.state == "finished" for trial in trials)
    finished = f", {done} of them finished already" if done else ""
    logger.info(f"grid    {trials[0].directory.parent}: {len(trials)} trials{finished}")


def summarize_grid(trials: Sequence[GridTrial], stopped: int | None) -> int:
    """Print the results of a grid as a table and as the object of the last output line; return the exit code.

    stopped: the signal that ended the grid, if any.
    """
    print_table(trials)
    states = {trial.state for trial in trials}
    state = "interrupted" if stopped is not None else "finished" if states <= {"finished"} else "failed"
    grid = str(trials[0].directory.parent)
    summary = {"state": state, "grid": grid, "trials": [trial.describe() for trial in trials]}
    print(json.dumps(json_safe(summary), allow_nan=False), flush=True)
    if stopped is not None:
        return signal_exit_code(stopped)
    return ExitCode.FAILED if state == "failed" else ExitCode.FINISHED


def read_state(trial: GridTrial) -> None:
    """Set a trial's state and result from its run directory; a trial that never began has failed."""
    files = RunFiles(trial.directory)
    status = files.read_status()
    state = status.get("state")
    trial.state = state if state in ("finished", "failed", "interrupted") else "failed"
    if state == "finished":
        trial.result = {"state": state, "split_hash": files.split_hash(), **(status.get("metrics") or {})}
        trial.exit_code = 0


def print_table(trials: Sequence[GridTrial]) -> None:
    """Print a table of the trials on standard error."""
    from rich.console import Console
    from rich.table import Table

    table = Table("trial", "state", "subset", "accuracy", "macro-F1", "run directory", box=None, pad_edge=False)
    for trial in trials:
        subset = "test" if "test/accuracy" in trial.result else "val"
        numbers = [trial.result.get(f"{subset}/{metric}") for metric in ("accuracy", "macro_f1")]
        shown = [f"{number:.3f}" if isinstance(number, float) else "–" for number in numbers]
        name, _, _ = trial.directory.name.rpartition("-")
        table.add_row(name, trial.state, subset if trial.result else "–", *shown, str(trial.directory))
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = 1000  # do not wrap lines in logs
    console.print()
    console.print(table)
    for trial in trials:
        if trial.error:
            logger.info(f"failed  {trial.directory.name}: {trial.error}")
