"""Figures that compare experiments."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from galaxy10.reports.figures.curves import finish_epoch_axis
from galaxy10.reports.style import (
    CYCLE,
    MANY,
    SCORES,
    class_labels,
    in_house_style,
    label_width_in,
    new_figure,
    row_height_in,
    wrapped,
)

_LINES = list(product(("-", "--", ":", "-."), CYCLE))  # 28 experiments before two look alike


@in_house_style
def f1_heat_map(f1: np.ndarray, experiments: Sequence[str], class_names: Sequence[str]) -> Figure:
    """Draw the F1 of every class (rows) and experiment (columns), the best of each class in bold.

    Args:
        f1: (experiments, classes); NaN for a class without F1.

    Of more than MANY classes, those are drawn on which the experiments differ most.
    """
    if len(class_names) > MANY:
        spread = np.nan_to_num(np.ptp(np.nan_to_num(f1), axis=0) if len(f1) > 1 else -np.nan_to_num(f1[0], nan=1))
        kept = np.sort(np.argsort(-spread, kind="stable")[:MANY])
        f1, class_names = f1[:, kept], [class_names[k] for k in kept]
    rows, columns = class_labels(class_names), wrapped(experiments, 32)
    row_in, column_in = row_height_in(rows, 11, 0.4), row_height_in(columns, 11, 0.75)
    reach = label_width_in(columns, 11)
    figure = new_figure(
        column_in * len(columns) + label_width_in(rows, 11) + 1.0, row_in * len(rows) + 0.75 * reach + 0.5
    )
    axes = figure.subplots()
    axes.imshow(f1.T, cmap=SCORES, vmin=0, vmax=1, aspect="auto")
    best = np.nanmax(np.where(np.isfinite(f1), f1, -1), axis=0)
    for row, column in np.ndindex(f1.T.shape):
        value = float(f1[column, row])
        text = axes.text(column, row, f"{value:.2f}" if np.isfinite(value) else "–", ha="center", va="center")
        text.set(color=_readable_on(value), weight="bold" if value == best[row] and len(columns) > 1 else "normal")
        text.set_in_layout(False)
    axes.set_yticks(range(len(rows)), rows)
    if any("\n" in name for name in columns):  # slanted, names of several lines would cross each other
        axes.set_xticks(range(len(columns)), columns, rotation=90, ha="center", va="bottom")
    else:
        axes.set_xticks(range(len(columns)), columns, rotation=45, ha="left", va="bottom", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


@in_house_style
def curves_together(curves: dict[str, pd.DataFrame], ylabel: str, unit_range: bool) -> Figure:
    """Draw one curve per experiment: the mean over seeds, and the range of the seeds as a band.

    Args:
        curves: experiment → epoch, mean, low, high.
        unit_range: whether values lie between 0 and 1.
    """
    legend = wrapped(list(curves), 40)
    figure = new_figure(7.2, 4.4 + 0.13 * sum(text.count("\n") + 1 for text in legend))
    axes = figure.subplots()
    for (line, colour), label, curve in zip(_LINES * 9, legend, curves.values(), strict=False):
        marker = "o" if len(curve) <= 30 else None
        axes.plot(curve["epoch"], curve["mean"], color=colour, linestyle=line, marker=marker, label=label)
        axes.fill_between(curve["epoch"], curve["low"], curve["high"], color=colour, alpha=0.15, linewidth=0)
    axes.set_ylabel(ylabel)
    if unit_range:
        axes.set_ylim(0, 1.02)
    figure.legend(loc="outside lower center", ncols=2)
    finish_epoch_axis([axes], pd.concat([curve["epoch"] for curve in curves.values()]))
    return figure


@in_house_style
def metrics_by_labels(curves: dict[str, pd.DataFrame], metrics: dict[str, str]) -> Figure:
    """Draw metrics by the number of training images, one line per experiment, with intervals as bars.

    Args:
        curves: experiment → labels, and <metric>, <metric>_low, <metric>_high of each metric; NaN without an interval.
        metrics: column → label; one panel each.
    """
    legend = wrapped(list(curves), 40)
    figure = new_figure(5.2 * len(metrics), 4.4 + 0.13 * sum(text.count("\n") + 1 for text in legend))
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    ticks = sorted({round(labels) for curve in curves.values() for labels in curve["labels"]})
    for axes, (column, label) in zip(panels, metrics.items(), strict=True):
        for number, ((line, colour), name, curve) in enumerate(zip(_LINES * 9, legend, curves.values(), strict=False)):
            shift = 1.012 ** (number - (len(curves) - 1) / 2)  # bars of several experiments stand side by side
            low, high = curve[column] - curve[f"{column}_low"], curve[f"{column}_high"] - curve[column]
            axes.errorbar(
                curve["labels"] * shift,
                curve[column],
                yerr=np.nan_to_num(np.array([low, high])),
                color=colour,
                linestyle=line,
                marker="o",
                capsize=3,
                elinewidth=1.3,
                label=name if axes is panels[0] else None,
            )
        axes.set_xscale("log")
        far = [tick for n, tick in enumerate(ticks) if n in (0, len(ticks) - 1) or tick > 1.3 * ticks[n - 1]]
        axes.set_xticks(far, [f"{tick:,}" for tick in far])
        axes.minorticks_off()
        axes.set_xlabel("training images (log scale)")
        axes.set_ylabel(label)
        axes.grid(True)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@in_house_style
def ranking(
    names: Sequence[str], metrics: Mapping[str, tuple[Sequence[float], Sequence[tuple[float, float] | None]]]
) -> Figure:
    """Draw metrics of ranked experiments as points with intervals, the first experiment at the top.

    Args:
        metrics: label → values and intervals of the experiments; None for no interval. A panel each.
    """
    rows = wrapped(names, 40)
    height = row_height_in(rows, 11, 0.36) * len(rows) + 0.9
    figure = new_figure(3.6 * len(metrics) + label_width_in(rows, 11), height)
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, (label, (values, intervals)) in zip(panels, metrics.items(), strict=True):
        for place, (value, interval) in enumerate(zip(values, intervals, strict=True)):
            if interval is not None:
                axes.plot(interval, (place, place), color=CYCLE[0], linewidth=2.5, alpha=0.5, solid_capstyle="butt")
            axes.plot(value, place, "o", color=CYCLE[0])
        axes.set_xlabel(label)
        axes.grid(True, axis="x")
        axes.margins(x=0.08)
        axes.locator_params(axis="x", nbins=5)
    panels[0].set_yticks(range(len(rows)), rows)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def _readable_on(value: float) -> str:
    if not np.isfinite(value):
        return "black"
    red, green, blue, _ = colormaps[SCORES](value)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"
