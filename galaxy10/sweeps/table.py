"""The status of a study as a table for the terminal."""

import logging
import math
import statistics
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from galaxy10.config.fields import format_value
from galaxy10.sweeps.best_trial import best_trial, shell_command
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.study import load_study, seconds_used, settings_of
from galaxy10.sweeps.worker import state_of, summary

logger = logging.getLogger(__name__)

_MOST_ROWS = 60
NO_VALUE = "–"


def show_status(sweep: Sweep) -> dict[str, Any]:
    """Print the table of a study and return the object of the last output line.

    Raises:
        Galaxy10Error: there is no study.
    """
    sweep, study = load_study(sweep)
    print_table(sweep, study)
    trials = study.get_trials(deepcopy=False)
    best = best_trial(sweep, trials)
    if best is not None:
        logger.info(f"best so far: {shell_command(sweep, best)}")
    return {"study": sweep.directory, **summary(sweep, trials), "best_trial": best.number if best else None}


def print_table(sweep: Sweep, study: optuna.Study) -> None:
    """Print one row per trial, the best in bold, with failures, counts and time."""
    from rich.console import Console
    from rich.table import Table

    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
    best = best_trial(sweep, trials)
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = 1000  # do not wrap lines in logs
    table = Table("trial", "state", *sweep.objectives, "epochs", "time", "settings", box=None, pad_edge=False)
    for trial in trials[-_MOST_ROWS:]:
        table.add_row(*_row(sweep, trial), style="bold" if best is not None and trial.number == best.number else None)
    console.print()
    if len(trials) > _MOST_ROWS:
        console.print(f"(the last {_MOST_ROWS} of {len(trials)} trials)")
    console.print(table)
    for trial in trials:
        if trial.state == TrialState.FAIL:
            console.print(
                f"failed  trial {trial.number}: {trial.user_attrs.get('error')}", markup=False, highlight=False
            )
    counts = ", ".join(
        f"{number} {state}" for state, number in summary(sweep, study.get_trials(deepcopy=False)).items() if number
    )
    saved = seconds_saved(sweep, trials)
    console.print(
        f"{counts or 'no trial yet'}; {duration(seconds_used(trials))} used"
        + (f", about {duration(saved)} saved by pruning" if saved else ""),
        highlight=False,
    )


def _row(sweep: Sweep, trial: FrozenTrial) -> list[str]:
    values: list[float | None] = [None] * len(sweep.objectives)
    if trial.state == TrialState.COMPLETE:
        values = list(trial.values)
    elif trial.intermediate_values:
        values[0] = best_epoch_value(sweep, trial)
    shown = [NO_VALUE if value is None else f"{value:.4g}" for value in values]
    settings = " ".join(
        f"{key.rpartition('.')[2]}={_short(value)}" for key, value in settings_of(trial, sweep.parameters).items()
    )
    return [
        str(trial.number),
        state_of(sweep, trial),
        *shown,
        str(epochs_done(trial) or NO_VALUE),
        duration(trial.user_attrs.get("seconds")),
        settings,
    ]


def duration(seconds: float | None) -> str:
    """Format seconds, such as 42 s or 3 min 12 s; reports.html.duration would import matplotlib."""
    if seconds is None:
        return NO_VALUE
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else format_value(value)


def epochs_done(trial: FrozenTrial) -> int:
    """Return the number of epochs that a trial has reported."""
    return max(trial.intermediate_values, default=0)


def best_epoch_value(sweep: Sweep, trial: FrozenTrial) -> float | None:
    """Return the best value of the first objective over a trial's epochs; None without a finite value."""
    values = [value for value in trial.intermediate_values.values() if math.isfinite(value)]
    return (max if sweep.directions[0] == "maximize" else min)(values, default=None)


def seconds_outside_fit(trials: Sequence[FrozenTrial]) -> float | None:
    """Return the median time of complete trials outside of training; None without complete trials."""
    spent = [
        trial.user_attrs["seconds"] - trial.user_attrs["metrics"]["train/seconds"]
        for trial in trials
        if trial.state == TrialState.COMPLETE
        and "seconds" in trial.user_attrs
        and "train/seconds" in trial.user_attrs.get("metrics", {})
    ]
    return statistics.median(spent) if spent else None


def seconds_saved(sweep: Sweep, trials: Sequence[FrozenTrial]) -> float:
    """Estimate the time saved by pruning, from the time per epoch of each pruned trial."""
    saved, outside = 0.0, seconds_outside_fit(trials) or 0.0
    for trial in trials:
        done = epochs_done(trial)
        if trial.state == TrialState.PRUNED and done and sweep.max_epochs:
            pace = max(0.0, trial.user_attrs.get("seconds", 0.0) - outside) / done
            saved += (sweep.max_epochs - done) * pace
    return saved
