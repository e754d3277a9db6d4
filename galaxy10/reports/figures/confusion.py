"""The confusion matrix as a heat map."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure

from galaxy10.reports.style import (
    SEQUENTIAL,
    SOFT,
    class_labels,
    in_house_style,
    label_width_in,
    new_figure,
    row_height_in,
    text_on,
)


@in_house_style
def confusion_heat_map(counts: np.ndarray, class_names: Sequence[str], title: str, by_row: bool = False) -> Figure:
    """Draw a confusion matrix with the number of galaxies at the right of each row.

    Args:
        counts: (C, C) numbers of galaxies; rows are true classes, columns are predicted classes.
        by_row: draw percentages of the row instead of counts; the row of a class without galaxies stays empty.
    """
    num_classes = len(class_names)
    size_pt, least_in, steep = (12, 0.56, False) if num_classes <= 12 else (10, 0.4, True)
    labels = class_labels(class_names)
    cell_in = row_height_in(labels, size_pt, least_in)
    slanted = not steep and max(len(name) for name in class_names) > 3
    reach = label_width_in(labels, size_pt)
    # The title of a matrix of two or three classes is wider than the matrix.
    side = max(cell_in * num_classes, 2.8)
    figure = new_figure(side + reach + 1.2, side + (reach if steep else 0.75 * reach) + 0.9)
    axes = figure.subplots()
    shown, norm = _row_percent(counts) if by_row else _square_root(counts)
    axes.imshow(shown, cmap=SEQUENTIAL, norm=norm, aspect="equal")
    _write_cells(axes, shown, norm, by_row, size_pt)
    axes.set_yticks(range(num_classes), labels, fontsize=size_pt)
    axes.set_xticks(
        range(num_classes),
        labels,
        fontsize=size_pt,
        rotation=90 if steep else 45 if slanted else 0,
        ha="right" if slanted else "center",
        va="top",
        rotation_mode="anchor" if slanted else "default",
    )
    _write_support(axes, counts.sum(axis=1), size_pt)
    # Lines between cells, so that adjacent dark cells can be counted.
    axes.set_xticks(np.arange(-0.5, num_classes), minor=True)
    axes.set_yticks(np.arange(-0.5, num_classes), minor=True)
    axes.grid(which="minor", color="#E0E0E0", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class", fontsize=size_pt)
    axes.set_ylabel("true class", fontsize=size_pt)
    axes.set_title(title, fontsize=size_pt + 1, pad=12)
    return figure


def _write_support(axes: Axes, support: np.ndarray, size_pt: float) -> None:
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(support)), [f"{n:,}" for n in support], fontsize=size_pt - 1, color=SOFT)
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    axes.annotate(
        "n",
        (1, 1),
        xytext=(5, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        color=SOFT,
        fontsize=size_pt - 1,
    )


def _square_root(counts: np.ndarray) -> tuple[np.ndarray, Normalize]:
    """Return counts with a square-root colour scale: a class of 30 stays visible beside a class of 3,000."""
    return counts.astype(float), PowerNorm(0.5, vmin=0, vmax=max(1, counts.max()))


def _row_percent(counts: np.ndarray) -> tuple[np.ndarray, Normalize]:
    support = counts.sum(axis=1, keepdims=True)
    return np.divide(100 * counts, support, out=np.full(counts.shape, np.nan), where=support > 0), Normalize(0, 100)


def _write_cells(axes: Axes, shown: np.ndarray, norm: Normalize, by_row: bool, size_pt: float) -> None:
    for row, column in zip(*np.nonzero(np.nan_to_num(shown)), strict=True):
        value = shown[row, column]
        text = f"{value:,.0f}" if value >= 0.5 or not by_row else "<1"
        cell = axes.text(column, row, text, ha="center", va="center", color=text_on(float(norm(value))))
        cell.set_fontsize(size_pt - (2 if len(text) > 3 else 1))
        # The text lies inside the axes; measuring 1,369 texts for the layout takes seconds.
        cell.set_in_layout(False)
