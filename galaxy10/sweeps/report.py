"""The page about a study: its trials, the importance of its settings, its cost, and the best trial's command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from galaxy10.config.fields import format_value
from galaxy10.files import read_json
from galaxy10.reports.html import NO_VALUE, Drawing, number, plural, render, write_figure, write_file
from galaxy10.sweeps.best_trial import best_trial, ranked, shell_command, write_best
from galaxy10.sweeps.figures import (
    importance_bars,
    learning_curves,
    optimization_history,
    parallel_coordinates,
    pareto_front,
    slice_plot,
)
from galaxy10.sweeps.importance import importances
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.study import load_study, seconds_used, settings_of
from galaxy10.sweeps.table import best_epoch_value, epochs_done, seconds_outside_fit, seconds_saved
from galaxy10.sweeps.worker import state_of, summary

_FEW = 2  # minimum of complete trials for a figure


def build_study_report(sweep: Sweep) -> Path:
    """Write a study's report.html, figures/*.png and trials.csv, and return the path of the page.

    Raises:
        Galaxy10Error: there is no study, or the directory cannot be written.
    """
    sweep, study = load_study(sweep)
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
    table = trial_table(sweep, trials)
    shares = importances(sweep, trials)
    drawings = _drawings(sweep, study, trials, table, shares)
    figures = {drawing.name: write_figure(drawing, sweep.path / "figures") for drawing in drawings}
    write_best(sweep, study)
    write_file(sweep.path / "trials.csv", table.to_csv(index=False).encode())
    page = render("study.html.j2", **_context(sweep, study, trials, table, shares), figures=figures)
    return write_file(sweep.path / "report.html", page.encode())


def trial_table(sweep: Sweep, trials: Sequence[FrozenTrial]) -> pd.DataFrame:
    """Return a table with one row per trial.

    The columns are number, state, value (of a pruned trial its best epoch's), the objectives, epochs, seconds, error,
    and every setting (None if the trial does not have it).
    """
    keys = list(dict.fromkeys(parameter.key for parameter in sweep.parameters))
    lines = []
    for trial in trials:
        settings = settings_of(trial, sweep.parameters)
        complete = trial.state == TrialState.COMPLETE
        values = list(trial.values) if complete else [None] * len(sweep.objectives)
        pruned = best_epoch_value(sweep, trial) if trial.state == TrialState.PRUNED else None
        line: dict[str, Any] = {
            "number": trial.number,
            "state": state_of(sweep, trial),
            "value": values[0] if complete else pruned,
            **dict(zip(sweep.objectives, values, strict=True)),
            "epochs": epochs_done(trial),
            "seconds": trial.user_attrs.get("seconds"),
            "error": trial.user_attrs.get("error"),
        }
        # The choice null is a value; an empty cell is a setting that the trial does not have.
        chosen = {key: "null" if value is None else value for key, value in settings.items()}
        lines.append({**line, **{key: chosen.get(key) for key in keys}})
    table = pd.DataFrame(lines)
    if not lines:
        return pd.DataFrame(
            columns=["number", "state", "value", *sweep.objectives, "epochs", "seconds", "error", *keys]
        )
    for key in keys:  # pandas would convert choices that look like numbers, and null to NaN
        table[key] = pd.Series([line[key] for line in lines], dtype=object)
    return table.astype({"value": float})


def _drawings(
    sweep: Sweep, study: optuna.Study, trials: list[FrozenTrial], table: pd.DataFrame, shares: dict[str, float]
) -> list[Drawing]:
    objective, maximize = sweep.objectives[0], sweep.directions[0] == "maximize"
    drawings = []
    if table["value"].notna().any():
        drawings.append(
            Drawing("history", "Optimization history", "The value of every trial, in the order of their start.",
                    optimization_history(table, objective, maximize))
        )  # fmt: skip
    curves = {t.number: pd.Series(t.intermediate_values).sort_index() for t in trials if t.intermediate_values}
    best = best_trial(sweep, trials)
    if curves:
        states = dict(zip(table["number"], table["state"], strict=True))
        drawings.append(
            Drawing("learning_curves", "Learning curves", "One line per trial; a cross marks pruning.",
                    learning_curves(curves, states, best.number if best else None, objective))
        )  # fmt: skip
    if len(sweep.objectives) > 1 and best is not None:
        front = [trial.number for trial in study.best_trials]
        complete = table[table["state"] == "complete"]
        drawings.append(
            Drawing("pareto", "Pareto front", "Numbers are trials; no other trial is better in both objectives.",
                    pareto_front(complete, sweep.objectives, front))
        )  # fmt: skip
    if shares:
        drawings.append(
            Drawing("importance", "Hyperparameter importance",
                    "Share of the variance between complete trials that each setting explains (fANOVA). It is "
                    "unreliable with few trials. Settings that only some trials have are left out.",
                    importance_bars(shares))
        )  # fmt: skip
    settings = varied(table, sweep)
    if (table["state"] == "complete").sum() >= _FEW and settings:
        log = [parameter.key for parameter in sweep.parameters if parameter.log]
        drawings += [
            Drawing("slices", "Slice plot",
                    "Later trials are darker; crosses are pruned trials (their best epoch).",
                    slice_plot(table, settings, log, objective)),
            Drawing("parallel", "Parallel coordinates",
                    f"A line is a complete trial; its colour is the value ({objective}, at the right). Lines skip "
                    "settings that the trial does not have.",
                    parallel_coordinates(table, settings, log, objective, maximize)),
        ]  # fmt: skip
    return drawings


def varied(table: pd.DataFrame, sweep: Sweep) -> list[str]:
    """Return the settings that differ between the trials of a table, in the order of the space."""
    keys = dict.fromkeys(parameter.key for parameter in sweep.parameters)
    return [key for key in keys if len({format_value(value) for value in table[key] if value is not None}) > 1]


def _context(
    sweep: Sweep, study: optuna.Study, trials: list[FrozenTrial], table: pd.DataFrame, shares: dict[str, float]
) -> dict[str, Any]:
    best = best_trial(sweep, trials)
    initial = next(
        (t for t in trials if t.number == 0 and t.state == TrialState.COMPLETE and sweep.initial_points), None
    )
    counts = summary(sweep, study.get_trials(deepcopy=False))
    return {
        "sweep": sweep,
        "counts": counts,
        "objectives": list(zip(sweep.objectives, sweep.directions, strict=True)),
        "best": best,
        "best_command": shell_command(sweep, best) if best else None,
        "best_settings": [(key, format_value(value)) for key, value in settings_of(best, sweep.parameters).items()]
        if best
        else [],
        "initial": initial,
        "front": [trial.number for trial in study.best_trials] if len(sweep.objectives) > 1 else [],
        "rows": _rows(sweep, trials, table),
        "used": seconds_used(trials),
        "saved": seconds_saved(sweep, trials),
        "outside_fit": seconds_outside_fit(trials),
        "confirmed": read_json(sweep.path / "confirm" / "confirm.json"),
        "ranking": [trial.number for trial in ranked(sweep, trials)],
        "keys": varied(table, sweep),
        "plural": plural,
        "number": number,
    }


def _rows(sweep: Sweep, trials: list[FrozenTrial], table: pd.DataFrame) -> list[dict[str, Any]]:
    keys = varied(table, sweep)
    order = {trial.number: place for place, trial in enumerate(ranked(sweep, trials), 1)}
    rows = []
    for _, line in table.iterrows():
        rows.append(
            {
                "rank": order.get(line["number"]),
                "number": line["number"],
                "state": line["state"],
                "values": [line[name] for name in sweep.objectives] if line["state"] == "complete" else [line["value"]],
                "epochs": line["epochs"],
                "seconds": line["seconds"],
                "error": line["error"] if isinstance(line["error"], str) else None,
                "settings": [_shown(line[key]) for key in keys],
            }
        )
    return sorted(rows, key=lambda row: (row["rank"] or len(rows) + 1, row["number"]))


def _shown(value: Any) -> str:
    return NO_VALUE if value is None else f"{value:.3g}" if isinstance(value, float) else format_value(value)
