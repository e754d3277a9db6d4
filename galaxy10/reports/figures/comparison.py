"""Figures that compare experiments."""

from collections.abc import Sequence
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


def _readable_on(value: float) -> str:
    if not np.isfinite(value):
        return "black"
    red, green, blue, _ = colormaps[SCORES](value)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"
