"""The trials of a grid, and what became of them: a table for people, and the object of the last output line."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from galaxy10.config.overrides import quoted
from galaxy10.exit_codes import ExitCode, describe_exit, signalled
from galaxy10.files import strict
from galaxy10.runs.files import RunFiles
from galaxy10.sweeps.trial_process import train_command

logger = logging.getLogger(__name__)


@dataclass
class Trial:
    """One experiment of a grid.

    overrides: what was typed for it; options: the words that say which files it is composed from.
    directory: where its run is; result: the object of its last output line.
    state: waiting, running (in a job), finished, failed, interrupted.
    exit_code: None while it has not run in this command; said: its last words, where they are not shown above.
    """

    overrides: list[str]
    directory: Path
    options: Sequence[str] = ()
    state: str = "waiting"
    result: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    said: str = ""

    def describe(self) -> dict[str, Any]:
        """This trial's part of the last output line."""
        about = {"overrides": self.overrides, "state": self.state, "exit_code": self.exit_code, "error": self.error}
        return {"run_dir": str(self.directory), **self.result, **about}

    @property
    def error(self) -> str | None:
        """Why it failed, as far as it is known."""
        if self.state != "failed":
            return None
        if self.exit_code is not None and self.exit_code < 0:
            return describe_exit(self.exit_code)
        recorded = RunFiles(self.directory).read_status().get("error")
        return recorded or self.said or f"ended with exit code {self.exit_code}; what it said is above"

    def command(self) -> list[str]:
        """What runs it alone, composed from the same files as this command."""
        return train_command([*self.options, *self.overrides, f"run.dir={quoted(self.directory)}"])


def say_grid(trials: Sequence[Trial]) -> None:
    """Say where a grid is, and how much of it is finished already."""
    done = sum(trial.state == "finished" for trial in trials)
    finished = f", {done} of them finished already" if done else ""
    logger.info(f"grid    {trials[0].directory.parent}: {len(trials)} trials{finished}")


def conclude(trials: Sequence[Trial], stopped: int | None) -> int:
    """Print what became of a grid, as a table and as the last line's object; return the exit code.

    stopped: the signal that ended it.
    """
    print_table(trials)
    states = {trial.state for trial in trials}
    state = "interrupted" if stopped is not None else "finished" if states <= {"finished"} else "failed"
    grid = str(trials[0].directory.parent)
    summary = {"state": state, "grid": grid, "trials": [trial.describe() for trial in trials]}
    print(json.dumps(strict(summary), allow_nan=False), flush=True)
    if stopped is not None:
        return signalled(stopped)
    return ExitCode.FAILED if state == "failed" else ExitCode.FINISHED


def read_state(trial: Trial) -> None:
    """Note how a trial stands, by its directory: what has never begun has failed."""
    files = RunFiles(trial.directory)
    status = files.read_status()
    state = status.get("state")
    trial.state = state if state in ("finished", "failed", "interrupted") else "failed"
    if state == "finished":
        trial.result = {"state": state, "split_hash": files.split_hash(), **(status.get("metrics") or {})}
        trial.exit_code = 0


def print_table(trials: Sequence[Trial]) -> None:
    """What finished and what did not, on standard error."""
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
        console.width = 1000  # logs have no edge to wrap at
    console.print()
    console.print(table)
    for trial in trials:
        if trial.error:
            logger.info(f"failed  {trial.directory.name}: {trial.error}")
