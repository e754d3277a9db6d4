"""Training curves: loss, learning rate and metrics by epoch."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galaxy10.reports.style import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILLION, in_house_style, new_figure

TRAIN_STYLE = {"color": BLUE, "linestyle": "--"}
VAL_STYLE = {"color": VERMILLION, "linestyle": "-"}
# Column of metrics.csv → (legend, line). Training is dashed in all figures, so that it differs without colour.
METRIC_LINES = {
    "train/accuracy": ("accuracy, training", TRAIN_STYLE),
    "val/accuracy": ("accuracy", VAL_STYLE),
    "val/balanced_accuracy": ("balanced accuracy", {"color": GREEN, "linestyle": "-"}),
    "val/macro_f1": ("macro-F1", {"color": PURPLE, "linestyle": "-"}),
    "val/calibration_error": ("calibration error", {"color": ORANGE, "linestyle": ":"}),
}
_LOSS_LINES = {"train/loss": ("training", TRAIN_STYLE), "val/loss": ("validation", VAL_STYLE)}
_MOST_MARKED = 40  # with more epochs, markers overlap


def finite_columns(curves: pd.DataFrame, columns: list[str]) -> list[str]:
    """Return the columns that exist and contain at least one finite number."""
    return [c for c in columns if c in curves and np.isfinite(pd.to_numeric(curves[c], errors="coerce")).any()]


@in_house_style
def loss_curves(curves: pd.DataFrame, best_epoch: float | None = None) -> Figure | None:
    """Draw training and validation loss by epoch, and the learning rate below; return None if no loss is finite.

    Args:
        curves: epoch, train/loss, val/loss, lr; missing columns are left out.
        best_epoch: the epoch to mark, if any.
    """
    losses = finite_columns(curves, list(_LOSS_LINES))
    if not losses:
        return None
    with_rate = bool(finite_columns(curves, ["lr"]))
    figure = new_figure(7.2, 5.2 if with_rate else 4.2)
    panels = figure.subplots(
        2 if with_rate else 1, 1, sharex=True, squeeze=False, height_ratios=[3, 1] if with_rate else [1]
    )[:, 0]
    for column in losses:
        legend, line = _LOSS_LINES[column]
        draw_curve(panels[0], curves, column, legend, **line)
    panels[0].set_ylabel("loss (cross-entropy)")
    values = curves[losses].to_numpy(float)
    values = values[np.isfinite(values)]
    # On a linear axis, one diverged epoch would flatten the others.
    if values.min() > 0 and values.max() > 20 * np.median(values):
        panels[0].set_yscale("log")
    if with_rate:
        draw_curve(panels[1], curves, "lr", None, color=GREY, linestyle="-")
        panels[1].set_ylabel("learning rate")
        panels[1].set_ylim(bottom=0)
    _mark_best(panels, best_epoch)
    panels[0].legend(loc="best")
    finish_epoch_axis(panels, curves["epoch"])
    return figure


@in_house_style
def logged_curves(curves: pd.DataFrame, columns: dict[str, str]) -> Figure | None:
    """Draw the user's own metrics by epoch, one panel each; return None if no value is finite.

    columns: column of metrics.csv → axis label.
    """
    found = finite_columns(curves, list(columns))
    if not found:
        return None
    figure = new_figure(7.2, 1.2 + 1.6 * len(found))
    panels = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    for axes, column in zip(panels, found, strict=True):
        draw_curve(axes, curves, column, None, color=PURPLE, linestyle="-")
        axes.set_ylabel(columns[column])
    finish_epoch_axis(panels, curves["epoch"])
    return figure


@in_house_style
def metric_curves(curves: pd.DataFrame, best_epoch: float | None = None) -> Figure | None:
    """Draw validation metrics and training accuracy by epoch, 0–1; return None if no value is finite.

    Args:
        curves: epoch and any of the columns in METRIC_LINES.
        best_epoch: the epoch to mark, if any.
    """
    columns = finite_columns(curves, list(METRIC_LINES))
    if not columns:
        return None
    figure = new_figure(7.2, 5.0)
    axes = figure.subplots()
    for column in columns:
        legend, line = METRIC_LINES[column]
        draw_curve(axes, curves, column, legend, **line)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("metric on the validation galaxies")
    _mark_best([axes], best_epoch)
    figure.legend(loc="outside lower center", ncols=3)
    finish_epoch_axis([axes], curves["epoch"])
    return figure


def draw_curve(axes: Axes, curves: pd.DataFrame, column: str, legend: str | None, **line: str) -> None:
    """Draw one curve; few points get markers, so that a single epoch is visible."""
    values = pd.to_numeric(curves[column], errors="coerce").replace([np.inf, -np.inf], np.nan)
    marker = "o" if values.notna().sum() <= _MOST_MARKED else None
    axes.plot(curves["epoch"], values, marker=marker, label=legend, **line)  # type: ignore[arg-type]


def finish_epoch_axis(panels: list[Axes] | np.ndarray, epochs: pd.Series) -> None:
    """Set integer ticks and limits of the epoch axis, with a margin around a single epoch."""
    low, high = float(epochs.min()), float(epochs.max())
    margin = max(0.5, 0.03 * (high - low)) if high - low < 10 else 0.03 * (high - low)
    for axes in panels:
        axes.set_xlim(low - margin, high + margin)
        axes.grid(True)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[-1].set_xlabel("epoch (the first is 0)" if low == 0 else "epoch")


def _mark_best(panels: list[Axes] | np.ndarray, best_epoch: float | None) -> None:
    if best_epoch is None or not np.isfinite(best_epoch):
        return
    for number, axes in enumerate(panels):
        label = f"best epoch ({best_epoch:g})" if number == 0 else None
        axes.axvline(best_epoch, color=GREY, linewidth=1.2, zorder=0, label=label)
