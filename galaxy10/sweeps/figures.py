"""Figures of a study, drawn from tables with one row per trial and one column per setting."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galaxy10.config.fields import format_value
from galaxy10.reports.style import BLUE, GREEN, GREY, SCORES, VERMILLION, in_house_style, label_width_in, new_figure

_LINE = 13  # characters per line of a setting's name
_SPREAD = 0.12  # horizontal jitter of trials with the same choice


@in_house_style
def optimization_history(trials: pd.DataFrame, objective: str, maximize: bool) -> Figure:
    """Draw the value of every trial in the order of their start, and the best value so far.

    Args:
        trials: number, state (complete, pruned, failed), value (NaN for a trial without one).
    """
    figure = new_figure(7.2, 4.4)
    axes = figure.subplots()
    complete, pruned = trials[trials["state"] == "complete"], trials[trials["state"] == "pruned"]
    axes.plot(complete["number"], complete["value"], "o", color=BLUE, label="complete")
    axes.plot(pruned["number"], pruned["value"], "x", color=GREY, label="pruned (its best epoch)")
    failed = trials[trials["state"] == "failed"]
    if len(failed):
        low = trials["value"].min() if trials["value"].notna().any() else 0.0
        axes.plot(failed["number"], [low] * len(failed), "v", color=VERMILLION, label="failed")
    if len(complete):
        best = complete["value"].cummax() if maximize else complete["value"].cummin()
        axes.step(complete["number"], best, where="post", color=VERMILLION, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(objective)
    axes.grid(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@in_house_style
def importance_bars(shares: Mapping[str, float]) -> Figure:
    """Draw the importance of each setting, the largest on top. shares: setting → importance, with sum 1."""
    ordered = sorted(shares.items(), key=lambda item: item[1])
    names = [name for name, _ in ordered]
    figure = new_figure(4.2 + label_width_in(names, 11), 1.0 + 0.36 * len(names))
    axes = figure.subplots()
    bars = axes.barh(names, [share for _, share in ordered], color=BLUE, height=0.7)
    axes.bar_label(bars, [f"{share:.2f}" for _, share in ordered], padding=4)
    axes.set_xlim(0, 1.15 * max(shares.values()))
    axes.set_xlabel("importance")
    axes.tick_params(axis="y", length=0)
    return figure


@in_house_style
def slice_plot(trials: pd.DataFrame, settings: Sequence[str], log: Sequence[str], objective: str) -> Figure:
    """Draw the objective over every setting, one panel each; later trials are darker.

    Args:
        trials: number, state, value, and a column per setting (NaN or None for a trial without the setting).
        log: settings with a logarithmic axis.
    """
    columns = min(4, len(settings))
    rows = math.ceil(len(settings) / columns)
    figure = new_figure(3.1 * columns, 2.7 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    shown = trials[trials["value"].notna()]
    for axes, setting in zip(panels.flat, settings, strict=False):
        part = shown[shown[setting].notna()]
        x = _positions(axes, part[setting], setting in log)
        done = (part["state"] == "complete").to_numpy()
        shade = (part["number"] / max(1, trials["number"].max())).to_numpy(float)
        colours = colormaps["Blues"](0.35 + 0.6 * shade)
        axes.scatter(x[~done], part["value"][~done], marker="x", s=26, color=GREY, linewidths=1.2)
        axes.scatter(x[done], part["value"][done], s=30, color=colours[done])
        axes.set_xlabel(setting)
        axes.grid(True)
    for axes in panels.flat[len(settings) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel(objective)
    return figure


def _positions(axes: Axes, values: pd.Series, log: bool) -> np.ndarray:
    """Set up an x axis for numbers or choices, and return the positions of the trials on it."""
    if _is_numeric(values):
        if log:
            axes.set_xscale("log")
        return values.to_numpy(float)
    values = values.map(format_value)
    names = sorted(set(values))
    axes.set_xticks(range(len(names)), names, rotation=0 if max(map(len, names), default=0) < 9 else 20)
    axes.set_xlim(-0.5, max(len(names), 1) - 0.5)
    seen = dict.fromkeys(names, 0)
    positions = []
    for value in values:
        seen[value] += 1
        positions.append(names.index(value) + _SPREAD * ((seen[value] % 5) - 2) / 2)
    return np.array(positions)


def _is_numeric(values: pd.Series) -> bool:
    return all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in values)


@in_house_style
def parallel_coordinates(
    trials: pd.DataFrame, settings: Sequence[str], log: Sequence[str], objective: str, maximize: bool
) -> Figure:
    """Draw every complete trial as a line over all settings, coloured by its value; better trials are in front.

    Args:
        trials, log: as for slice_plot.
    """
    shown = trials[trials["state"] == "complete"].sort_values("value", ascending=maximize)
    figure = new_figure(max(7.2, 1.15 * (len(settings) + 1)), 4.8)
    axes = figure.subplots()
    columns = [_scaled(shown[setting], setting in log) for setting in settings]
    low, high = shown["value"].min(), shown["value"].max()
    scaled = (shown["value"].to_numpy(float) - low) / ((high - low) or 1)
    columns.append(scaled)
    for line in range(len(shown)):
        good = scaled[line] if maximize else 1 - scaled[line]
        heights = [column[line] for column in columns]
        at = [place for place, height in enumerate(heights) if math.isfinite(height)]
        axes.plot(
            at, [heights[place] for place in at], color=colormaps[SCORES](good), linewidth=1 + 1.6 * good, alpha=0.85
        )
    for position, setting in enumerate(settings):
        _label_axis(axes, position, shown[setting])
    for height, value in ((0, low), (1, high)):
        _tick_text(axes, len(settings), height, f"{value:.3g}")
    axes.set_xticks(range(len(columns)), [_broken(name) for name in (*settings, objective)])
    axes.set_xlim(-0.4, len(columns) - 0.4)
    axes.set_ylim(-0.09, 1.09)
    axes.yaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", length=0, labelsize=9)
    for position in range(len(columns)):
        axes.axvline(position, color=GREY, linewidth=0.8, zorder=0)
    return figure


def _scaled(values: pd.Series, log: bool) -> np.ndarray:
    """Scale a column to 0–1; NaN, a gap in the line, for a trial without the setting."""
    present = values[values.notna()]
    if _is_numeric(present):
        numbers = values.astype(float).to_numpy()
        numbers = np.log(numbers) if log else numbers
        low, high = np.nanmin(numbers, initial=np.inf), np.nanmax(numbers, initial=-np.inf)
        return (numbers - low) / ((high - low) or 1)
    names = sorted(set(map(format_value, present)))
    place = {name: index / max(1, len(names) - 1) for index, name in enumerate(names)}
    return np.array([place.get(format_value(value), math.nan) if value is not None else math.nan for value in values])


def _label_axis(axes: Axes, position: int, values: pd.Series) -> None:
    present = values[values.notna()]
    if _is_numeric(present):
        if len(present):
            for height, value in ((0, present.min()), (1, present.max())):
                _tick_text(axes, position, height, f"{value:.3g}")
        return
    names = sorted(set(map(format_value, present)))
    for index, name in enumerate(names):
        _tick_text(axes, position, index / max(1, len(names) - 1), name)


def _broken(name: str) -> str:
    """Break a setting's name into lines that fit an axis."""
    lines: list[str] = []
    for part in name.replace(".", ". ").replace("_", "_ ").split():
        if lines and len(lines[-1]) + len(part) <= _LINE and not lines[-1].endswith("."):
            lines[-1] += part
        else:
            lines.append(part)
    return "\n".join(lines)


def _tick_text(axes: Axes, position: float, height: float, text: str) -> None:
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    axes.text(position, height, text, ha="center", va="center", fontsize=8.5, bbox=box)


@in_house_style
def learning_curves(
    curves: Mapping[int, pd.Series], states: Mapping[int, str], best: int | None, ylabel: str
) -> Figure:
    """Draw the objective after every epoch, one line per trial; pruned trials end at a cross, the best is in front.

    Args:
        curves: trial → value by epochs done.
        states: trial → state.
        best: number of the best trial.
    """
    figure = new_figure(7.2, 4.6)
    axes = figure.subplots()
    labels: set[str] = set()
    for number, curve in curves.items():
        state = "best" if number == best else "pruned" if states[number] == "pruned" else "complete"
        label = {"best": f"best (trial {number})", "pruned": "pruned", "complete": "complete"}[state]
        colour, width = {"best": (VERMILLION, 2.6), "pruned": (GREY, 1.1), "complete": (BLUE, 1.2)}[state]
        shown = label if label not in labels else None
        labels.add(label)
        style: dict[str, Any] = {"color": colour, "linewidth": width, "zorder": 3 if state == "best" else 2}
        axes.plot(curve.index, curve.to_numpy(), label=shown, alpha=1 if state == "best" else 0.7, **style)
        if state == "pruned" or len(curve) == 1:
            marker = "x" if state == "pruned" else "o"
            axes.plot(curve.index[-1:], curve.to_numpy()[-1:], marker, color=colour, markersize=6)
    axes.set_xlabel("epochs done")
    axes.set_ylabel(ylabel)
    axes.grid(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@in_house_style
def pareto_front(trials: pd.DataFrame, objectives: Sequence[str], front: Sequence[int]) -> Figure:
    """Draw the first two objectives against each other, and the Pareto front.

    Args:
        trials: number and a column per objective, complete trials only.
        front: numbers of the trials on the front.
    """
    figure = new_figure(7.2, 4.8)
    axes = figure.subplots()
    first, second = objectives[:2]
    on = trials["number"].isin(list(front))
    axes.plot(trials[first][~on], trials[second][~on], "o", color=GREY, label="dominated")
    best = trials[on].sort_values(first)
    axes.plot(best[first], best[second], "o-", color=GREEN, label="Pareto front")
    for number, x, y in zip(best["number"], best[first], best[second], strict=True):
        axes.annotate(str(number), (x, y), textcoords="offset points", xytext=(6, 5), fontsize=10)
    axes.set_xlabel(first)
    axes.set_ylabel(second)
    axes.grid(True)
    figure.legend(loc="outside lower center", ncols=2)
    return figure
